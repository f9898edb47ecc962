"""What is written is what is read, and nothing else is ever overwritten."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from engines.bundle import open_manifest
from engines.bundle_writer import BundleParts, rewrite, write_bundle
from engines.errors import BundleError, UsageError
from engines.golden import read_golden
from engines.manifest import Normalisation
from tests.engines import tiny

STATISTICS = {"2t": Normalisation(280.0, 20.0, 281.0, 21.0, 0.1)}
WEIGHTS = {"enc.8x12_conv.weight": np.arange(12, dtype=np.float32).reshape(3, 4)}


def parts(**changes: object) -> BundleParts:
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.standard_normal(shape, dtype=np.float32)

    model = {
        "name": "small",
        "channels": ["2t"],
        "shape": [8, 12],
        "tile": [8, 12],
        "overlap": [0, 0],
        "periodic": False,
        "constants": ["z"],
        "labels": [],
        "preconditioning": {"kind": "edm", "sigma_data": 1.0},
        "sampler": {"steps": 3, "sigma_max": 10.0, "s_max": None},
        "grib": {"grid": {"rows": 8}},
        "licence": "Apache-2.0",
        "attribution": "nobody",
        "training": {"scores": {}},
        **changes,
    }
    golden = {
        "x": some(2, 1, 8, 12),
        "sigma": np.array([0.1, 2.0], dtype=np.float32),
        "condition": some(2, 2, 8, 12),
        "denoised": some(2, 1, 8, 12),
    }
    return BundleParts(
        model=model,
        statistics=STATISTICS,
        constants=some(1, 8, 12),
        golden=golden,
        golden_bound=1e-4,
        # An empty ONNX model: the reader only looks for tensors outside the file.
        network=b"",
        weights=WEIGHTS,
        card="# small\n",
    )


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = parts()

    write_bundle(tmp_path / "small", written)

    bundle = open_manifest(tmp_path / "small")
    golden = read_golden(bundle)
    assert bundle.normalisation == (STATISTICS["2t"],)
    assert np.array_equal(bundle.constants, written.constants)
    assert np.array_equal(golden.denoised, written.golden["denoised"])
    assert golden.bound == pytest.approx(1e-4)
    weights = load_file(bundle.path / "weights.safetensors")
    assert np.array_equal(weights["enc.8x12_conv.weight"], WEIGHTS["enc.8x12_conv.weight"])


def test_a_newer_bundle_replaces_an_older_one_whole(tmp_path: Path) -> None:
    write_bundle(tmp_path / "small", parts())
    write_bundle(tmp_path / "small", parts(attribution="somebody"))

    assert open_manifest(tmp_path / "small").attribution == "somebody"
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "thesis.txt").write_text("years of work")

    with pytest.raises(UsageError, match="holds something that is not a bundle"):
        write_bundle(tmp_path / "small", parts())

    assert (tmp_path / "small" / "thesis.txt").read_text() == "years of work"


def test_what_the_reader_would_refuse_shows_when_it_is_read(tmp_path: Path) -> None:
    write_bundle(tmp_path / "small", parts(tile=[16, 12]))

    with pytest.raises(BundleError, match="tile"):
        open_manifest(tmp_path / "small")


def test_a_bundle_is_written_again_with_one_file_changed_and_nothing_else(tmp_path: Path) -> None:
    source = tiny.write_bundle(tmp_path / "tiny")
    before = {path.name: path.read_bytes() for path in source.iterdir()}

    rewrite(source, source, {"README.md": b"Another card.\n"})

    after = {path.name: path.read_bytes() for path in source.iterdir()}
    assert after.pop("README.md") == b"Another card.\n"
    assert after.pop("SHA256SUMS") != before.pop("SHA256SUMS")
    assert after == {name: kept for name, kept in before.items() if name != "README.md"}
    open_manifest(source)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_bundle_may_be_written_again_elsewhere(tmp_path: Path) -> None:
    source = tiny.write_bundle(tmp_path / "tiny")

    rewrite(source, tmp_path / "copy", {"notes.txt": b"kept too"})

    assert open_manifest(tmp_path / "copy").digest != open_manifest(source).digest
    assert (tmp_path / "copy" / "notes.txt").read_bytes() == b"kept too"


def test_changes_that_make_no_sound_bundle_leave_the_old_one(tmp_path: Path) -> None:
    source = tiny.write_bundle(tmp_path / "tiny")
    digest = open_manifest(source).digest

    with pytest.raises(BundleError, match="cannot be read as JSON"):
        rewrite(source, source, {"model.json": b"{"})

    assert open_manifest(source).digest == digest
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_folder_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    source = tiny.write_bundle(tmp_path / "tiny")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")

    with pytest.raises(UsageError, match="is not a bundle"):
        rewrite(source, tmp_path / "mine", {})

    assert (tmp_path / "mine" / "letter.txt").exists()
