"""`downscaled bundle` makes a bundle that verifies, and says what is wrong in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engines.backends.torch_network import read_weights
from engines.bundle import open_manifest
from engines.training.__main__ import main as fit_elsewhere
from engines.training.fit import Until, fit
from engines.training.fitted import write_fitted
from streamer.commands.main import main
from tests.engines.training.known import TASK, known_lesson

#: Three days, one state each, from the real archive.
STATES = ("2018100712", "2018100812", "2018100912")


@pytest.fixture(scope="module")
def archive(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for state in STATES:
        name = f"gfs.t00z.pgrb2.1p00.f000.{state}.grib2"
        shutil.copy(shared_data / "gfs-wind-1deg" / "train" / name, folder / name)
    return folder


def train(archive: Path, shared_data: Path, output: Path, *more: str) -> int:
    constants = shared_data / "constants" / "era5-z-lsm-0p25.nc"
    paths = f"--constants {constants} --output {output}"
    small = "--hold-back-days 1 --steps 2 --width 16 --multipliers 1 2 --blocks 1 --draws 2"
    tiles = "--tile 64 120 --held-back-tiles 4 --overlap 4 4 --sampler-steps 2"
    return main(["bundle", "train", str(archive), *f"{paths} {small} {tiles}".split(), *more])


@pytest.fixture(scope="module")
def trained(archive: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundles") / "winds"
    assert train(archive, shared_data, output, "--attribution", "NOAA and Copernicus") == 0
    return output


def test_two_steps_of_training_give_a_whole_bundle(trained: Path) -> None:
    bundle = open_manifest(trained)

    assert (bundle.name, bundle.channels) == ("winds", ("10u", "10v"))
    assert (bundle.shape, bundle.tile, bundle.periodic) == ((181, 360), (64, 120), True)
    assert bundle.training["held_back_days"] == ["2018-10-09"]
    assert bundle.training["states"] == {"learnt": 2, "held_back": 1}
    assert bundle.grib["parameters"]["10u"]["vector"] == {"partner": "10v", "component": "u"}
    assert bundle.attribution == "NOAA and Copernicus"
    # Two steps teach nothing, but the baseline is what it is.
    assert 0.5 < bundle.training["scores"]["10u"]["baseline_mae"] < 1.5


def test_the_scores_are_taken_apart_and_a_regression_stands_beside_them(trained: Path) -> None:
    found = open_manifest(trained).training["scores"]["10v"]

    assert list(found["days"]) == ["2018-10-09"]
    assert found["interval"] is None
    assert [low for low, _, _ in found["bands"]][:4] == [1, 2, 3, 4]
    # Two days teach a regression little; it is at least no worse than a multiple of the baseline.
    assert 0.5 < found["ridge_rmse"] / found["baseline_rmse"] < 2.0
    card = (trained / "README.md").read_text()
    assert "power of single draws" in card
    assert "poleward of 75 degrees" in card


def test_weights_that_were_fitted_elsewhere_become_the_same_bundle(
    archive: Path, shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pairs, weights = tmp_path / "pairs", tmp_path / "weights"
    assert train(archive, shared_data, tmp_path / "none", "--pairs-to", str(pairs)) == 0
    assert json.loads(capfd.readouterr().out)["bytes"] == pairs.stat().st_size
    assert not (tmp_path / "none").exists()
    fit = "--steps 3 --width 16 --multipliers 1 2 --blocks 1 --tile 64 120 --held-back-tiles 4"
    files = f"{pairs} --output {weights} --checkpoint {tmp_path}/checkpoint"
    assert fit_elsewhere(f"{files} {fit}".split()) == 0

    assert train(archive, shared_data, tmp_path / "bundle", "--weights", str(weights)) == 0

    bundle = open_manifest(tmp_path / "bundle")
    assert (bundle.training["steps"], bundle.training["fit"]["steps"]) == (3, 3)
    assert bundle.training["fitted_by"].startswith("python -m engines.training")
    assert bundle.training["levels"][0]["sigma"] == 0.05
    assert main(["bundle", "verify", str(bundle.path)]) == 0


def test_weights_that_learnt_from_something_else_are_refused(
    archive: Path, shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lesson = known_lesson()
    fitted = fit(lesson, TASK, tmp_path / "checkpoint", Until())
    write_fitted(tmp_path / "weights", fitted)

    status = train(
        archive, shared_data, tmp_path / "bundle", "--weights", str(tmp_path / "weights")
    )

    assert status == 2
    assert f"learnt from material {lesson.material[:12]}" in capfd.readouterr().err


def test_a_fit_may_begin_with_another_bundle(
    archive: Path, shared_data: Path, trained: Path, tmp_path: Path
) -> None:
    begin = ("--start", str(trained), "--learning-rate", "0")
    assert train(archive, shared_data, tmp_path / "again", *begin) == 0

    again, before = open_manifest(tmp_path / "again"), open_manifest(trained)
    assert again.training["start"]["digest"] == before.digest
    assert before.digest[:12] in (again.path / "README.md").read_text()
    old = read_weights(before)
    for name, found in read_weights(again).items():
        # The averages blend equal weights: rounding is all that differs.
        np.testing.assert_allclose(found, old[name], rtol=1e-5, atol=1e-7)


def test_a_bundle_of_another_size_is_no_beginning(
    archive: Path, shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(archive, shared_data, tmp_path / "no", "--start", "gfs-wind-4to1") == 2
    assert "must be the same" in capfd.readouterr().err


def test_a_trained_bundle_verifies(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "verify", str(trained), "--json"]) == 0

    found = json.loads(capfd.readouterr().out)
    assert found["bundle"] == "winds"
    assert found["golden_cases"] == 3
    assert found["largest_error"] <= found["bound"]


def test_info_shows_the_model_card(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "info", str(trained)]) == 0

    page = capfd.readouterr().out
    for words in ("# winds", "10u", "m s**-1", "grid-box-average", "NOAA and Copernicus", "MB"):
        assert words in page


def test_a_flipped_bit_fails_to_verify(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    raw = bytearray((broken / "denoiser.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (broken / "denoiser.onnx").write_bytes(raw)

    assert main(["bundle", "verify", str(broken)]) == 2
    assert "denoiser.onnx" in capfd.readouterr().err


def test_the_bundle_that_ships_verifies(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "verify", "gfs-wind-4to1"]) == 0

    assert "gfs-wind-4to1" in capfd.readouterr().out


def test_one_state_is_not_enough_to_learn_from(
    archive: Path, shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    shutil.copy(min(archive.iterdir()), folder)

    assert train(folder, shared_data, tmp_path / "bundle") == 2
    error = capfd.readouterr().err
    assert "one state only" in error
    assert "Traceback" not in error


def test_constants_that_are_no_netcdf_are_named(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "z.nc").write_text("no")

    options = f"--constants {tmp_path}/z.nc --output {tmp_path}/bundle --hold-back-days 1"
    status = main(["bundle", "train", str(archive), *options.split()])

    assert status == 2
    assert "z.nc" in capfd.readouterr().err
