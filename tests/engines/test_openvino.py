"""OpenVINO against a network that is known to the last number, and a bundle's golden vectors."""

import stat
from pathlib import Path

import numpy as np
import pytest

from engines.backends.openvino import OpenVinoDenoiser
from engines.bundle import open_manifest
from engines.choice import EngineChoice
from engines.denoiser import GaussianDenoiser
from engines.errors import BundleError, EngineError, UsageError
from engines.golden import check, read_golden, relative_error
from engines.open import open_bundle
from tests.engines import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_bundle(tmp_path / "tiny")


def test_an_opened_bundle_answers_as_the_formulas_say(folder: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, tiny.CHANNELS, *tiny.TILE)).astype(np.float32)
    shape = (1, tiny.CHANNELS + tiny.CONSTANTS, *tiny.TILE)
    condition = rng.standard_normal(shape).astype(np.float32)
    denoiser = open_bundle(folder, threads=1)

    for sigma in (0.02, 0.5, 7.0, 80.0):
        found = denoiser.denoise(x, np.array([sigma], np.float32), condition)

        wanted = tiny.answer(x[0], sigma, condition[0])[None]
        assert relative_error(found, wanted) < 2e-6


def test_two_engines_of_as_many_threads_give_the_same_bytes(folder: Path) -> None:
    cases = tiny.golden()

    first, second = (
        open_bundle(folder, threads=2).denoise(cases["x"], cases["sigma"], cases["condition"])
        for _ in range(2)
    )

    assert first.tobytes() == second.tobytes()


def test_an_engine_says_what_it_is(folder: Path) -> None:
    spec = open_bundle(folder, threads=1).spec

    assert (spec.backend, spec.precision, spec.device, spec.batch) == ("openvino", "f32", "cpu", 1)


def test_an_engine_that_answers_otherwise_may_not_serve(folder: Path) -> None:
    cases = tiny.golden()
    cases["denoised"][1, 0, 3, 4] *= 1.5
    np.savez(folder / "golden.npz", **cases)  # type: ignore[arg-type]
    tiny.write_sums(folder)

    with pytest.raises(EngineError) as refused:
        open_bundle(folder, threads=1)

    for part in (str(folder), "`denoised`[1]", "sigma 1", "relative error", "bound 1e-05"):
        assert part in str(refused.value)


def test_a_denoiser_that_is_not_the_network_fails_the_golden_check(folder: Path) -> None:
    with pytest.raises(EngineError, match="gaussian f32 does not reproduce"):
        check(GaussianDenoiser(), read_golden(open_manifest(folder)), "here")


def test_the_golden_check_tells_how_close_it_was(folder: Path) -> None:
    bundle = open_manifest(folder)

    worst = check(OpenVinoDenoiser(bundle, EngineChoice(threads=1)), read_golden(bundle), "here")

    assert 0.0 <= worst < 2e-6


def test_golden_vectors_of_another_tile_are_refused(folder: Path) -> None:
    cases = tiny.golden()
    np.savez(folder / "golden.npz", **{**cases, "x": cases["x"][..., 1:]})  # type: ignore[arg-type]
    tiny.write_sums(folder)

    with pytest.raises(BundleError, match=r"golden\.npz: array 'x' is float32"):
        open_bundle(folder)


def test_a_network_with_another_number_of_channels_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_bundle(tmp_path / "three", channels=["10u", "10v", "2t"])
    statistics = {**tiny.STATISTICS, "2t": tiny.STATISTICS["10u"]}
    (folder / "statistics.json").write_text(str(statistics).replace("'", '"'))
    tiny.write_sums(folder)

    with pytest.raises(EngineError, match=r"denoiser\.onnx: OpenVINO cannot load it"):
        OpenVinoDenoiser(open_manifest(folder))


def test_a_cache_of_compiled_networks_is_private(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    open_bundle(folder, threads=1, cache=cache)

    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert any(cache.iterdir())


def test_a_cache_that_others_may_write_to_is_refused(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)

    with pytest.raises(UsageError, match="has mode 0777"):
        open_bundle(folder, cache=cache)


def test_a_precision_that_openvino_has_not_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="precision 'fp16' is not known to the openvino backend"):
        OpenVinoDenoiser(open_manifest(folder), EngineChoice(precision="fp16"))


def test_the_gaussian_backend_needs_no_network(folder: Path) -> None:
    assert open_bundle(folder, backend="gaussian").spec.backend == "gaussian"
