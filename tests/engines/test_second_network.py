"""A bundle may hold a second network: found, proven and kept apart from the first."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from engines.build import engine_key, forget, prove
from engines.bundle import NETWORKS, TUNED, Bundle, open_manifest
from engines.cache import private_folder
from engines.choice import EngineChoice
from engines.errors import BundleError, EngineError
from engines.golden import check, read_golden
from engines.loading import load
from engines.open import open_bundle
from streamer.commands.main import main
from tests.engines import tiny

CHOICE = EngineChoice("openvino", "f32", threads=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.add_tuned(tiny.write_bundle(tmp_path / "tiny"))


@pytest.fixture
def bundle(folder: Path) -> Bundle:
    return open_manifest(folder)


def test_a_bundle_is_seen_through_its_first_network_unless_asked(bundle: Bundle) -> None:
    tuned = bundle.of(TUNED)

    assert bundle.networks == tuned.networks == ("denoiser", "tuned")
    assert (bundle.network_name, tuned.network_name) == ("denoiser", "tuned")
    assert (bundle.digest, bundle.channels) == (tuned.digest, tuned.channels)
    assert bundle.of(TUNED).of("denoiser").network_path == bundle.network_path


def test_a_bundle_without_a_second_network_says_so(tmp_path: Path) -> None:
    bundle = open_manifest(tiny.write_bundle(tmp_path / "tiny"))

    assert bundle.networks == ("denoiser",)
    with pytest.raises(BundleError, match="no network 'tuned', it has denoiser"):
        bundle.of(TUNED)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_each_network_gives_its_own_answers(bundle: Bundle, backend: str) -> None:
    given = tiny.golden()
    asked = given["x"][1:2], given["sigma"][1:2], given["condition"][1:2]

    first = open_bundle(bundle, backend, threads=1).denoise(*asked)
    second = open_bundle(bundle.of(TUNED), backend, threads=1).denoise(*asked)

    skip = tiny.SIGMA_DATA**2 / (1.0 + tiny.SIGMA_DATA**2) * asked[0]
    assert np.allclose(second - skip, 0.5 * (first - skip), atol=1e-6)


def test_a_network_is_held_against_its_own_golden_vectors(bundle: Bundle) -> None:
    first = load(bundle, CHOICE)

    with pytest.raises(EngineError, match=r"tuned_golden\.npz: .*does not reproduce"):
        check(first, read_golden(bundle.of(TUNED)), str(bundle.of(TUNED).golden_path))


@pytest.mark.parametrize("name", NETWORKS[TUNED].all)
def test_a_second_network_is_whole_or_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    tiny.write_sums(folder)

    with pytest.raises(BundleError, match=f"{name}: not in SHA256SUMS"):
        open_manifest(folder)


@pytest.mark.parametrize("name", NETWORKS[TUNED].all)
def test_one_flipped_bit_in_the_second_network_is_found(folder: Path, name: str) -> None:
    raw = bytearray((folder / name).read_bytes())
    raw[-1] ^= 1
    (folder / name).write_bytes(raw)

    with pytest.raises(BundleError, match=f"{name}: SHA-256 is"):
        open_manifest(folder)


def test_what_the_sums_do_not_list_is_no_network(tmp_path: Path) -> None:
    folder = tiny.write_bundle(tmp_path / "tiny")
    (folder / "tuned.onnx").write_bytes(b"somebody's")

    assert open_manifest(folder).networks == ("denoiser",)


def test_the_engines_of_two_networks_are_kept_apart(bundle: Bundle, tmp_path: Path) -> None:
    cache = private_folder(tmp_path / "cache")
    keys = [engine_key(one, CHOICE, os.environ) for one in (bundle, bundle.of(TUNED))]

    assert keys[0].folder != keys[1].folder
    first, second = (prove(one, CHOICE, cache, load) for one in (bundle, bundle.of(TUNED)))

    # The trial itself opened the right network: the other one's answers are out of bounds.
    assert (first.proof.key.network, second.proof.key.network) == ("denoiser", "tuned")
    assert max(first.proof.error, second.proof.error) <= 1e-5
    assert forget(bundle, cache) == 2


def test_verify_proves_both_networks(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    grib = open_manifest("gfs-wind-4to1").grib
    sound = tiny.write_bundle(folder.parent / "sound", (181, 360), grib=dict(grib))
    tiny.add_tuned(sound)

    assert main(["bundle", "verify", str(sound), "--json"]) == 0

    found = json.loads(capfd.readouterr().out)
    assert found["networks"] == ["denoiser", "tuned"]
    assert [case["network"] for case in found["cases"]] == ["denoiser"] * 3 + ["tuned"] * 3


def test_verify_refuses_a_second_network_that_answers_wrongly(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grib = open_manifest("gfs-wind-4to1").grib
    wrong = tiny.write_bundle(folder.parent / "wrong", (181, 360), grib=dict(grib))
    tiny.add_tuned(wrong)
    (wrong / "tuned.onnx").write_bytes((wrong / "denoiser.onnx").read_bytes())
    tiny.write_sums(wrong)

    assert main(["bundle", "verify", str(wrong)]) == 1
    assert "does not reproduce" in capfd.readouterr().err
