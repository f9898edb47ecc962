"""A bundle is read whole or refused with what was found, what was wanted and where."""

import hashlib
import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from engines.bundle import FILES, open_manifest, shipped_names
from engines.errors import BundleError, UsageError
from engines.manifest import Normalisation
from engines.multistep import MultistepSettings
from engines.onnx_guard import external_tensors
from tests.engines import tiny

#: A table whose only row starts above what networks of the kind `ve` know.
LEVELS_TOO_HIGH = {
    "rows": [{"sampler": {"solver": "multistep", "levels": [200.0]}, "calls": 1}],
    "profiles": {"fast": 0},
    "default": "fast",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_bundle(tmp_path / "tiny")


def test_a_bundle_is_read_as_it_was_written(folder: Path) -> None:
    bundle = open_manifest(folder)

    assert (bundle.name, bundle.channels, bundle.shape) == ("tiny", ("10u", "10v"), (15, 24))
    assert (bundle.tile, bundle.overlap, bundle.periodic) == ((8, 12), (1, 2), True)
    assert bundle.normalisation[1] == Normalisation(-1.0, 4.0, -0.5, 4.5, 0.5)
    assert bundle.preconditioning.sigma_data == 0.5
    assert (bundle.sampler.steps, bundle.sampler.s_max) == (3, math.inf)
    assert bundle.constants.shape == (3, 15, 24)
    assert bundle.grib == {"grid": {"rows": 15}}
    assert bundle.path == folder


def test_a_table_of_samplers_is_read_where_there_is_one(folder: Path, tmp_path: Path) -> None:
    given = {**LEVELS_TOO_HIGH, "told": {"days": 4}}

    table = open_manifest(tiny.write_bundle(tmp_path / "other", calibration=given)).calibration

    assert open_manifest(folder).calibration is None
    assert table is not None
    assert table.row("fast").sampler == MultistepSettings((200.0,))
    assert table.told == {"days": 4}


def test_the_digest_is_that_of_the_sums(folder: Path) -> None:
    wanted = hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()

    assert open_manifest(folder).digest == wanted


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found_in_any_file(folder: Path, name: str) -> None:
    raw = bytearray((folder / name).read_bytes())
    wanted = hashlib.sha256(raw).hexdigest()
    raw[len(raw) // 2] ^= 1
    (folder / name).write_bytes(raw)

    with pytest.raises(BundleError) as refused:
        open_manifest(folder)

    for part in (str(folder), name, wanted, hashlib.sha256(raw).hexdigest()):
        assert part in str(refused.value)


def test_the_sums_are_those_of_sha256sum(folder: Path) -> None:
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("sha256sum is not installed")

    checked = subprocess.run(
        [program, "-c", "SHA256SUMS"], cwd=folder, capture_output=True, check=False
    )

    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(BundleError, match=f"{name}: missing"):
        open_manifest(folder)


def test_a_file_that_the_sums_leave_out_is_named(folder: Path) -> None:
    (folder / "golden.npz").rename(folder.parent / "golden.npz")
    tiny.write_sums(folder)
    (folder.parent / "golden.npz").rename(folder / "golden.npz")

    with pytest.raises(BundleError, match=r"golden\.npz: not in SHA256SUMS"):
        open_manifest(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname"])
def test_a_sum_for_a_file_elsewhere_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_bytes(b"secret")
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(b'secret').hexdigest()}  {name}\n")

    with pytest.raises(BundleError, match="points outside the bundle"):
        open_manifest(folder)


def test_a_link_that_leads_out_of_the_bundle_is_refused(folder: Path) -> None:
    outside = folder.parent / "outside.npz"
    (folder / "constants.npz").rename(outside)
    (folder / "constants.npz").symlink_to(outside)

    with pytest.raises(BundleError, match=r"constants\.npz: points outside the bundle"):
        open_manifest(folder)


def test_the_bundle_itself_may_be_a_link(folder: Path) -> None:
    link = folder.parent / "current"
    link.symlink_to(folder)

    assert open_manifest(str(link)).name == "tiny"


def test_a_network_with_data_in_another_file_is_refused(folder: Path) -> None:
    model = tiny.network(tiny.kernel())
    convert_model_to_external_data(model, location="elsewhere.bin", size_threshold=0)
    onnx.save(model, str(folder / "denoiser.onnx"))
    tiny.write_sums(folder)

    with pytest.raises(BundleError, match=r"denoiser\.onnx: tensor 'weights' keeps its data"):
        open_manifest(folder)


def test_external_data_is_found_inside_constants_and_branches() -> None:
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32), "hidden")
    onnx.external_data_helper.set_external_data(tensor, "elsewhere.bin")
    constant = onnx.helper.make_node("Constant", [], ["y"], value=tensor)
    branch = onnx.helper.make_graph([constant], "branch", [], [])
    choice = onnx.helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    model = onnx.helper.make_model(onnx.helper.make_graph([choice], "outer", [], []))

    assert external_tensors(model.SerializeToString()) == ["hidden", "hidden"]


@pytest.mark.parametrize("raw", [b"\xff" * 40, b"\x3a\x7f", b"\x0b"])
def test_bytes_that_are_no_network_are_refused(raw: bytes) -> None:
    with pytest.raises(BundleError, match="cannot be read as ONNX"):
        external_tensors(raw)


def test_every_fault_of_the_manifest_is_listed(tmp_path: Path) -> None:
    folder = tiny.write_bundle(
        tmp_path / "faulty",
        shape=[15],
        periodic="yes",
        preconditioning={"kind": "cosine", "sigma_data": 0},
        sampler={"steps": 0, "sigma": 4},
        licence=None,
    )
    (folder / "statistics.json").write_text(json.dumps({"10u": {"coarse_mean": 1.0}}))
    tiny.write_sums(folder)

    with pytest.raises(BundleError) as refused:
        open_manifest(folder)

    for part in (
        "shape is [15]", "periodic is 'yes'", "kind is 'cosine'", "sigma_data is 0", "sampler",
        "licence is None", "10u.coarse_std is None", "10v is None",
    ):  # fmt: skip
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "format is 3, this version reads 1 and 2"),
        ({"format": True}, "format is True, this version reads"),
        ({"format": None}, "format is None, this version reads"),
        ({"network": {"inputs": 9}}, "network.inputs is 9, .* needs 7"),
        ({"network": {"tile": [8, 16]}}, r"network.tile is \[8, 16\], .* needs \[8, 12\]"),
        ({"network": "ddpmpp"}, "network is 'ddpmpp', wanted an object"),
        ({"calibration": []}, r"model.json: calibration is \[\], wanted an object"),
        (
            {"calibration": LEVELS_TOO_HIGH, "preconditioning": {"kind": "ve", "sigma_data": 1.0}},
            r"calibration.rows\[0\]: .* levels go from 200 to 200, but the network knows 0.02",
        ),
        ({"tile": [16, 12]}, r"tile \(16, 12\) is larger than the grid"),
        ({"overlap": [8, 2]}, r"overlap \(8, 2\) leaves nothing"),
        ({"channels": ["10u", "10u"]}, "wanted names that differ"),
        ({"constants": ["orography"]}, r"array 'constants' is float32 \(3, 15, 24\), wanted"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        open_manifest(tiny.write_bundle(tmp_path / "faulty", **changes))


def test_pickled_arrays_are_refused(folder: Path) -> None:
    np.savez(folder / "constants.npz", constants=np.array([{"a": 1}], dtype=object))
    tiny.write_sums(folder)

    with pytest.raises(BundleError, match=r"constants\.npz: cannot be read as arrays"):
        open_manifest(folder)


def test_constants_that_are_not_finite_are_refused(folder: Path) -> None:
    values = np.full((3, 15, 24), np.nan, dtype=np.float32)
    np.savez(folder / "constants.npz", constants=values)
    tiny.write_sums(folder)

    with pytest.raises(BundleError, match="not finite"):
        open_manifest(folder)


def test_a_folder_that_is_no_bundle_is_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SHA256SUMS"):
        open_manifest(tmp_path)


def test_an_unknown_name_tells_what_ships() -> None:
    with pytest.raises(BundleError, match=", ".join(shipped_names()) or "none"):
        open_manifest("no-such-bundle")


@pytest.mark.parametrize("name", shipped_names() or ["none"])
def test_what_ships_can_be_opened_by_name(name: str) -> None:
    if name == "none":
        pytest.skip("no bundle ships yet")

    assert open_manifest(name).name == name
