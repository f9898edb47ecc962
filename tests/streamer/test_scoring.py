"""Scoring a folder of results: the known baseline of real days, and what cannot be scored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.downscale.condition import interpolated
from streamer.grib import codes
from streamer.grib.encode import Draw, FieldTarget, encode, prepare
from streamer.grib.manifest import read_manifest
from streamer.grib.wants import Wants
from streamer.scoring import Results, complete_steps, file_name, read_known, score_results
from tests.streamer.downscale.small import bundle_of
from tests.streamer.grib.conftest import parameter, wind_part
from tests.wind import GLOBE, wind_message

BUNDLE = bundle_of(shape=(181, 360), grib=wind_part())
MANIFEST = read_manifest(wind_part())
WANTS = Wants(MANIFEST)


@pytest.fixture(scope="module")
def analyses(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "gfs-wind-1deg" / "validate").iterdir())


def publish(files: list[Path], fine: Path, error: float) -> Results:
    """Publish, as two draws, the truth of each step plus and minus an error."""
    for step in complete_steps(files, WANTS):
        messages = []
        for field in step.fields:
            with codes.opened(field.message) as handle:
                true = handle.values().reshape(181, 360)
            target = FieldTarget(step.key, field.parameter, MANIFEST.grid)
            template = prepare(field.message, target)
            for draw, sign in enumerate((1, -1)):
                values = (true + sign * error).astype(np.float32)
                messages.append(encode(values, template, Draw(draw, 2)))
        (fine / file_name(step.key.text)).write_bytes(b"".join(messages))
    return Results(fine, tuple(files))


def test_the_baseline_of_the_september_days_is_the_one_that_is_known(
    analyses: list[Path], tmp_path: Path
) -> None:
    results = publish(analyses, tmp_path, error=0.5)
    known = read_known(analyses, MANIFEST)

    scores = score_results(results, known, BUNDLE, WANTS)

    # Measured before this code was written, over the same 21 states: MAE and RMSE in m/s.
    expected = {"10u": (0.973, 1.504), "10v": (0.910, 1.380)}
    for name, (mae, rmse) in expected.items():
        assert scores[name].baseline_mae == pytest.approx(mae, abs=6e-4)
        assert scores[name].baseline_rmse == pytest.approx(rmse, abs=6e-4)
        # Two draws at +-0.5: |draw - truth| is 0.5, half of what lies between them is 0.5 too.
        assert scores[name].crps == pytest.approx(0.0, abs=2e-3)
        assert scores[name].mae == pytest.approx(0.0, abs=2e-3)
        assert scores[name].draws == 2


def test_results_without_a_truth_at_their_time_are_said_to_have_none(
    analyses: list[Path], tmp_path: Path
) -> None:
    results = publish(analyses[:1], tmp_path, error=0.5)
    known = read_known(analyses[5:6], MANIFEST)

    with pytest.raises(UsageError, match=r"none of its 1 steps, valid 2018-09-14 18:00"):
        score_results(results, known, BUNDLE, WANTS)


def test_truth_on_another_grid_is_refused_before_anything_is_scored(shared_data: Path) -> None:
    other = shared_data / "era5-south-america" / "surface-20240203.grib"

    with pytest.raises(UsageError, match=r"301 x 241 points.*wanted 181 x 360 points"):
        read_known([other], MANIFEST)


def test_each_step_is_yielded_once_and_broken_files_are_passed_by(
    shared_data: Path, analyses: list[Path]
) -> None:
    broken = sorted((shared_data / "gfs-wind-1deg" / "broken").iterdir())
    files = [broken[0], analyses[0], *broken[1:], analyses[0], analyses[1]]

    steps = list(complete_steps(files, WANTS))

    assert len({step.key for step in steps}) == len(steps) == 2
    assert interpolated(steps[0], BUNDLE).shape == (2, 181, 360)


def test_accumulations_have_no_score_since_a_truth_may_gather_over_other_hours(
    tmp_path: Path,
) -> None:
    part = wind_part()
    wind = {k: v for k, v in part["parameters"]["10u"].items() if k != "vector"}
    rain = parameter(228, [-0.001, 0.5], accumulation={"per": "hour"})
    part |= {"interpolation": "linear", "parameters": {"10u": wind, "tp": rain}}
    bundle = replace(bundle_of(shape=(181, 360), grib=part), channels=("10u", "tp"))
    with codes.opened(wind_message("10u", 6, globe=GLOBE)) as handle:
        told = handle.message()
        handle.set("paramId", 228)
        handle.set("stepRange", "0-6")
        handle.set_values(np.abs(handle.values()) / 1000)
        given = tmp_path / "given.grib2"
        given.write_bytes(told + handle.message())
    wants = Wants(read_manifest(part))
    (step,) = complete_steps([given], wants)
    (tmp_path / file_name(step.key.text)).write_bytes(given.read_bytes())

    known = read_known([given], wants.manifest)
    scores = score_results(Results(tmp_path, (given,)), known, bundle, wants)

    assert list(scores) == ["10u"]
