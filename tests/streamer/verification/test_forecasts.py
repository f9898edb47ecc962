"""Forecasts in files meet their truth by valid time, on their own grid, beside the coarse field."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.domain import Array, Grid, Interval, Statistic
from streamer.downscale.derived import wind_speed
from streamer.grib import codes
from streamer.grib.known import resized_globe
from streamer.grib.manifest import read_manifest
from streamer.training_set import interpolated_twin
from streamer.verification.analyses import Truth
from streamer.verification.baselines import BundleFiles, CoarseFiles, CoarsenedTruth
from streamer.verification.catalogue import Entry, catalogue
from streamer.verification.forecasts import Wish, verify
from streamer.verify.scores import area_weights
from streamer.verify.sums import sums
from tests.end_to_end.six import NAMES, coarse_message, ecmwf, gfs, weather
from tests.streamer.grib_files import GLOBE, fine, summary, written
from tests.wind import SMALL, Globe, wind_message

COARSE = Globe(20, 20)
MANIFEST = read_manifest(SMALL.grib)
REGION = Grid(60.0, -20.0, 10.0, 10.0, 4, 6)


def values_of(message: bytes) -> Array:
    with codes.opened(message) as handle:
        return handle.values().reshape(SMALL.shape).astype(np.float32)


def drawn(seed: int, grid: Grid = GLOBE, draws: int = 3) -> Array:
    return np.random.default_rng(seed).normal(0, 8, (draws, *grid.shape)).astype(np.float32)


def listed(folder: Path, **files: bytes) -> tuple[Entry, ...]:
    return catalogue(written(folder, files))


def analysis(name: str, hour: int, **keys: Any) -> bytes:
    """An analysis of that hour of the 8th."""
    return wind_message(name, 0, dataTime=100 * hour, **keys)


def coarse(name: str, step: int) -> bytes:
    return wind_message(name, step, globe=COARSE)


def test_scores_are_those_of_the_fields_that_are_valid_at_once(tmp_path: Path) -> None:
    draws = drawn(0)
    truth = analysis("10u", 6)
    forecasts = listed(tmp_path / "f", a=fine(wind_message("10u", 6), draws))
    known = listed(tmp_path / "t", a=truth, b=analysis("10u", 12))

    outcome = verify(forecasts, Truth(known), None, Wish())

    (one,) = outcome.results
    expected = sums(draws, values_of(truth), None, area_weights(GLOBE.latitudes)).scores()
    assert one.scores.crps == pytest.approx(expected.crps, rel=1e-4)
    assert one.scores.mean.bias == pytest.approx(expected.mean.bias, abs=1e-4)
    assert (one.draws, list(one.by_lead)) == (3, [360])


def test_of_two_analyses_the_one_of_the_shortest_lead_counts(tmp_path: Path) -> None:
    forecasts = listed(tmp_path / "f", a=fine(wind_message("10u", 6), drawn(0, draws=1)))
    young, old = analysis("10u", 6), wind_message("10u", 3, dataTime=300, mean=50.0)

    for order in ((young, old), (old, young)):
        known = listed(tmp_path / "t", a=b"".join(order))
        (one,) = verify(forecasts, Truth(known), None, Wish()).results
        assert abs(one.scores.mean.bias) < 10.0


def test_a_region_is_held_to_its_part_of_the_globe(tmp_path: Path) -> None:
    draws, truth = drawn(1, REGION), analysis("10u", 6)
    forecasts = listed(tmp_path / "f", a=fine(wind_message("10u", 6), draws, REGION))
    known = listed(tmp_path / "t", a=truth)

    baseline = CoarseFiles(listed(tmp_path / "c", a=coarse("10u", 6)))
    (one,) = verify(forecasts, Truth(known), baseline, Wish()).results

    whole = values_of(truth)
    part = np.concatenate([whole[3:7, 34:], whole[3:7, :4]], axis=1)
    expected = sums(draws, part, None, area_weights(REGION.latitudes)).scores()
    assert one.grid == REGION
    assert one.scores.crps == pytest.approx(expected.crps, rel=1e-4)
    assert one.scores.baseline is not None


def test_a_region_and_the_globe_are_results_of_their_own(tmp_path: Path) -> None:
    message = wind_message("10u", 6)
    part = fine(message, drawn(1, REGION), REGION)
    forecasts = listed(tmp_path / "f", a=fine(message, drawn(0)), b=part)

    outcome = verify(forecasts, Truth(listed(tmp_path / "t", a=analysis("10u", 6))), None, Wish())

    assert {one.grid for one in outcome.results} == {GLOBE, REGION}


def test_speed_is_derived_draw_by_draw_in_forecast_truth_and_baseline(tmp_path: Path) -> None:
    u, v = drawn(0), drawn(1)
    forecasts = listed(
        tmp_path / "f", a=fine(wind_message("10u", 6), u),
        b=fine(wind_message("10v", 6), v, parameter="10v"),
    )  # fmt: skip
    truth = [analysis(name, 6) for name in ("10u", "10v")]
    known = Truth(listed(tmp_path / "t", a=b"".join(truth)))
    baseline = CoarseFiles(listed(tmp_path / "c", a=coarse("10u", 6) + coarse("10v", 6)))

    outcome = verify(forecasts, known, baseline, Wish(thresholds={"10si": (10.0,)}))

    found = {one.name: one for one in outcome.results}
    assert set(found) == {"10u", "10v", "10si"}
    true = wind_speed(*(values_of(one) for one in truth))
    expected = sums(wind_speed(u, v), true, None, area_weights(GLOBE.latitudes)).scores()
    assert found["10si"].scores.crps == pytest.approx(expected.crps, rel=1e-4)
    assert found["10si"].units == "m s**-1"
    assert [one.threshold for one in found["10si"].reliability] == [10.0]
    assert found["10si"].scores.baseline is not None
    assert found["10si"].scores.baseline != found["10u"].scores.baseline


def test_the_three_baselines_are_the_same_field_where_all_are_known(tmp_path: Path) -> None:
    """Coarse files as a bundle takes them, by themselves, and made of the truth."""
    truth = analysis("10u", 6)
    twin = interpolated_twin(
        values_of(truth)[None, None], MANIFEST.grid, MANIFEST.coarse, MANIFEST.interpolation
    )[0, 0]
    known = Truth(listed(tmp_path / "t", a=truth))
    (entry,) = listed(tmp_path / "c", a=wind_message("10u", 6))
    # The coarse file has the truth's own values: the bundle averages them into its boxes.
    with codes.opened(entry.message) as handle:
        handle.set_values(values_of(truth).ravel().astype(float))
        entries = listed(tmp_path / "c", a=handle.message())

    of_truth = CoarsenedTruth(known, MANIFEST).values("10u", entry.moment, GLOBE)
    of_files = BundleFiles(entries, MANIFEST).values("10u", entry.moment, GLOBE)

    assert of_truth is not None
    assert of_files is not None
    np.testing.assert_allclose(of_truth, twin, atol=1e-4)
    np.testing.assert_allclose(of_files, twin, atol=1e-2)
    part = CoarsenedTruth(known, MANIFEST).values("10u", entry.moment, REGION)
    assert part is not None
    np.testing.assert_array_equal(part[:, 2:], of_truth[3:7, :4])
    assert BundleFiles(entries, MANIFEST).values("10v", entry.moment, GLOBE) is None


def test_speed_in_a_coarsened_truth_is_that_of_its_coarse_components(tmp_path: Path) -> None:
    messages = [fine(wind_message(n, 6), drawn(0), parameter=n) for n in ("10u", "10v")]
    forecasts = listed(tmp_path / "f", a=b"".join(messages))
    known = Truth(listed(tmp_path / "t", a=b"".join(analysis(n, 6) for n in ("10u", "10v"))))
    baseline = CoarsenedTruth(known, MANIFEST)
    moment = forecasts[0].moment

    outcome = verify(forecasts, known, baseline, Wish(names=("10si",)))

    u, v = (baseline.values(name, moment, GLOBE) for name in ("10u", "10v"))
    true = known.values("10si", moment, GLOBE)
    assert u is not None
    assert v is not None
    assert true is not None
    speed = np.hypot(u, v)
    rows = area_weights(GLOBE.latitudes)
    found = outcome.results[0].scores.baseline
    assert found is not None
    assert found.bias == pytest.approx(float((speed - true).mean(axis=-1) @ rows), abs=1e-4)


def test_a_coarse_field_is_interpolated_through_its_own_points(tmp_path: Path) -> None:
    entries = listed(tmp_path / "c", a=coarse("10u", 6))

    found = CoarseFiles(entries).values("10u", entries[0].moment, GLOBE)

    assert found is not None
    np.testing.assert_allclose(found[::2, ::2], entries[0].values(), atol=1e-3)


@pytest.mark.parametrize("sender", [ecmwf((37, 72)), gfs((37, 72))], ids=["ecmwf", "gfs"])
def test_rain_is_held_to_what_fell_in_its_own_interval(tmp_path: Path, sender: Any) -> None:
    shape = (37, 72)
    grid = Grid(90.0, 0.0, 5.0, 5.0, *shape)
    manifest = read_manifest(resized_globe(NAMES, shape))
    messages = {f"{step}": coarse_message("tp", step, sender) for step in (3, 6)}
    amount = weather("tp", 6, shape) - weather("tp", 3, shape)
    forecast = fine(
        messages["6"], amount[None] * sender.rain_per_metre, grid, "tp", Interval(180, 360)
    )
    forecasts = catalogue(written(tmp_path / "f", {"a": forecast}), manifest)
    entries = catalogue(written(tmp_path / "t", messages), manifest)

    baseline = BundleFiles(entries, manifest)
    (one,) = verify(forecasts, Truth(entries), baseline, Wish()).results

    rate = amount / 3
    assert one.scores.mean.mae == pytest.approx(0.0, abs=1e-4 * rate.max())
    assert one.quantiles["draws"][-1] == pytest.approx(np.quantile(rate, 0.999), rel=0.2)
    assert one.scores.baseline is not None
    assert 0.0 < one.scores.baseline.mae < rate.max()


def test_statistics_are_scored_beside_the_draws(tmp_path: Path) -> None:
    message, truth = wind_message("10u", 6), analysis("10u", 6)
    forecasts = listed(
        tmp_path / "f",
        a=fine(message, drawn(0)),
        b=summary(message, np.full(GLOBE.shape, 2.0), Statistic("mean")),
        c=summary(message, np.full(GLOBE.shape, 0.25), Statistic("above", 5.0)),
        d=summary(message, np.full(GLOBE.shape, 2.0), Statistic("spread")),
    )

    outcome = verify(forecasts, Truth(listed(tmp_path / "t", a=truth)), None, Wish())

    assert [one.name for one in outcome.results] == ["10u"]
    mean, above = outcome.statistics
    rows, true = area_weights(GLOBE.latitudes), values_of(truth)
    expected = float(np.abs(2.0 - true).mean(axis=-1) @ rows)
    assert mean.scores["mae"].forecast == pytest.approx(expected, rel=1e-4)
    passes = (true > 5.0).astype(float)
    brier = float(((0.25 - passes) ** 2).mean(axis=-1) @ rows)
    assert above.scores["brier"].forecast == pytest.approx(brier, rel=1e-3)


def test_steps_without_truth_or_with_other_draws_are_left_out_and_counted(tmp_path: Path) -> None:
    forecasts = listed(
        tmp_path / "f",
        **{f"s{step}": fine(wind_message("10u", step), drawn(step)) for step in (0, 6, 12)},
        s18=fine(wind_message("10u", 18), drawn(18, draws=2)),
    )
    known = listed(tmp_path / "t", **{f"a{h}": analysis("10u", h) for h in (0, 6, 18)})

    outcome = verify(forecasts, Truth(known), None, Wish())

    assert outcome.results[0].scores.states == 2
    assert (outcome.without_truth, outcome.other_draws) == (1, 1)
    assert len(outcome.remarks) == 2
    only = verify(forecasts, Truth(known), None, Wish(minutes=(360,)))
    assert list(only.results[0].by_lead) == [360]


def test_nothing_in_common_says_what_both_sides_hold(tmp_path: Path) -> None:
    forecasts = listed(tmp_path / "f", a=fine(wind_message("10u", 6), drawn(0)))

    known = Truth(listed(tmp_path / "t", a=analysis("10v", 6)))
    with pytest.raises(UsageError, match=r"hold 10u, valid 2018-10-08 06:00.*the truth holds 10v"):
        verify(forecasts, known, None, Wish())
    with pytest.raises(UsageError, match="no draw and no statistic that is asked for"):
        verify(forecasts, known, None, Wish(names=("2t",)))


def test_a_truth_on_other_points_is_refused_with_both_grids(tmp_path: Path) -> None:
    forecasts = listed(tmp_path / "f", a=fine(wind_message("10u", 6), drawn(0)))
    known = Truth(listed(tmp_path / "t", a=analysis("10u", 6, globe=COARSE)))

    with pytest.raises(UsageError, match=r"regular_ll 10x18 .*wanted the forecast's points, 19x36"):
        verify(forecasts, known, None, Wish())


def test_the_same_draw_twice_is_refused_with_both_files(tmp_path: Path) -> None:
    message = fine(wind_message("10u", 6), drawn(0))
    forecasts = listed(tmp_path / "f", a=message, b=message)

    with pytest.raises(UsageError, match=r"both hold draw 0 of 10u.*one product at a time"):
        verify(forecasts, Truth(listed(tmp_path / "t", a=analysis("10u", 6))), None, Wish())
