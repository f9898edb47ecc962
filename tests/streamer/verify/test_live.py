"""Draws and analyses meet by valid time, whichever comes first, in bounded memory."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain import Grid
from streamer.verify.live import LiveScores, LiveSettings, Published
from streamer.verify.scores import area_weights
from streamer.verify.sums import sums

GLOBE = Grid(90.0, 0.0, 10.0, 10.0, 19, 36)
REGION = Grid(60.0, -20.0, 10.0, 10.0, 4, 6)
NOON = datetime(2018, 10, 8, 12, tzinfo=UTC)
NOW = NOON + timedelta(hours=5)
HOUR = timedelta(hours=1)


def published(
    seed: int = 0,
    *,
    grid: Grid = GLOBE,
    valid: datetime = NOON,
    draws: int = 3,
    parameter: str = "10u",
) -> Published:
    rng = np.random.default_rng(seed)
    fields = rng.normal(size=(draws + 1, *grid.shape)).astype(np.float32)
    return Published((seed, "draws"), parameter, valid, grid, fields[:-1], fields[-1])


def analysis(seed: int = 100, grid: Grid = GLOBE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=grid.shape).astype(np.float32)


def expected(one: Published, truth: np.ndarray) -> float:
    scores = sums(one.draws, truth, one.baseline, area_weights(one.grid.latitudes)).scores()
    assert scores.crps is not None
    return scores.crps


@pytest.mark.parametrize("analysis_first", [True, False])
def test_whichever_comes_first_the_scores_are_those_of_both(analysis_first: bool) -> None:
    live, one, truth = LiveScores(), published(), analysis()

    if analysis_first:
        live.analyse("10u", NOON, GLOBE, truth, NOW)
    live.publish(one, NOW)
    if not analysis_first:
        assert live.scores(NOW) == {}
        live.analyse("10u", NOON, GLOBE, truth, NOW)

    scores = live.scores(NOW)["10u"]
    assert scores.crps == pytest.approx(expected(one, truth), rel=1e-6)
    assert scores.baseline is not None
    assert live.counts.matched == 1


@given(st.permutations(range(8)))
def test_the_order_of_arrivals_changes_no_score(order: list[int]) -> None:
    live = LiveScores()
    truths = [analysis(100), analysis(101)]

    for i in order:
        if i < 6:
            live.publish(published(i, valid=NOON + (i % 2) * HOUR), NOW)
        else:
            live.analyse("10u", NOON + (i - 6) * HOUR, GLOBE, truths[i - 6], NOW)

    found = live.scores(NOW)["10u"]
    mean = np.mean([expected(published(i), truths[i % 2]) for i in range(6)])
    assert found.states == 6
    assert found.crps == pytest.approx(mean, rel=1e-6)


def test_parameters_and_valid_times_are_kept_apart() -> None:
    live = LiveScores()
    live.publish(published(0), NOW)
    live.publish(published(1, valid=NOON + HOUR), NOW)
    live.publish(published(2, parameter="10v"), NOW)

    live.analyse("10u", NOON + HOUR, GLOBE, analysis(), NOW)

    found = live.scores(NOW)
    assert set(found) == {"10u"}
    assert found["10u"].states == 1


def test_a_region_is_scored_where_it_lies_in_the_analysis_across_greenwich() -> None:
    live, one, truth = LiveScores(), published(grid=REGION), analysis()
    live.publish(one, NOW)

    live.analyse("10u", NOON, GLOBE, truth, NOW)

    part = np.concatenate([truth[3:7, 34:], truth[3:7, :4]], axis=1)
    assert live.scores(NOW)["10u"].crps == pytest.approx(expected(one, part), rel=1e-6)


def test_an_analysis_without_the_points_leaves_the_draws_waiting_for_one_that_has_them() -> None:
    live, one = LiveScores(), published()
    live.publish(one, NOW)

    live.analyse("10u", NOON, REGION, analysis(grid=REGION), NOW)
    assert (live.counts.unfit, live.counts.matched) == (1, 0)
    live.analyse("10u", NOON, GLOBE, analysis(), NOW)

    assert live.counts.matched == 1


def test_draws_published_again_replace_the_first_ones() -> None:
    live, truth = LiveScores(), analysis()
    live.publish(published(0), NOW)
    held = live.waiting_bytes

    again = published(0)
    live.publish(again, NOW)

    assert live.waiting_bytes == held
    live.analyse("10u", NOON, GLOBE, truth, NOW)
    assert live.scores(NOW)["10u"].states == 1


def test_scored_draws_are_let_go_and_an_analysis_scores_them_once() -> None:
    live = LiveScores()
    live.publish(published(), NOW)

    live.analyse("10u", NOON, GLOBE, analysis(), NOW)
    live.analyse("10u", NOON, GLOBE, analysis(101), NOW)

    assert live.scores(NOW)["10u"].states == 1
    assert live.waiting_bytes == analysis().nbytes


def test_what_waits_stays_within_its_bytes_and_the_oldest_valid_time_goes_first() -> None:
    size = published().draws.nbytes * 4 // 3
    live = LiveScores(LiveSettings(waiting_bytes=3 * size))

    for i in range(10):
        live.publish(published(i, valid=NOON + i * HOUR), NOW)
        assert live.waiting_bytes <= 3 * size

    assert live.counts.let_go == 7
    for i in range(10):
        live.analyse("10u", NOON + i * HOUR, GLOBE, analysis(), NOW)
    # Analyses of old valid times go before draws of newer ones.
    assert live.scores(NOW)["10u"].states == 3


def test_scores_reach_a_day_back_from_when_they_were_matched() -> None:
    live = LiveScores()
    for i in range(2):
        live.publish(published(i, valid=NOON + i * HOUR), NOW)
        live.analyse("10u", NOON + i * HOUR, GLOBE, analysis(), NOW + 10 * i * HOUR)

    assert live.scores(NOW + 23 * HOUR)["10u"].states == 2
    assert live.scores(NOW + 25 * HOUR)["10u"].states == 1
    assert live.scores(NOW + 40 * HOUR) == {}


def test_what_never_meets_is_let_go_in_time() -> None:
    live = LiveScores()
    live.publish(published(), NOW)
    live.analyse("2t", NOON, GLOBE, analysis(), NOW)

    live.scores(NOW + timedelta(days=8))

    assert live.waiting_bytes == 0
    assert live.counts.let_go == 1


def test_large_fields_are_thinned_to_what_was_asked_and_score_alike() -> None:
    fine = Grid(89.5, 0.0, 1.0, 1.0, 180, 360)
    rows = np.cos(np.deg2rad(fine.latitudes))[:, None]
    rng = np.random.default_rng(0)
    # Errors that depend on the latitude, so that wrong weights would show.
    draws = (rows * rng.normal(size=(4, *fine.shape))).astype(np.float32)
    truth = (rows * rng.normal(size=fine.shape)).astype(np.float32)
    one = Published("a", "10u", NOON, fine, draws, None)
    live = LiveScores(LiveSettings(points=5000))

    live.publish(one, NOW)
    assert live.waiting_bytes <= 4 * 4 * 5000
    live.analyse("10u", NOON, fine, truth, NOW)

    assert live.scores(NOW)["10u"].crps == pytest.approx(expected(one, truth), rel=0.05)


def test_numbers_of_draws_do_not_mix() -> None:
    live = LiveScores()
    for seed, draws in ((0, 2), (1, 3), (2, 3)):
        live.publish(published(seed, draws=draws), NOW)

    live.analyse("10u", NOON, GLOBE, analysis(), NOW)

    found = live.scores(NOW)["10u"]
    assert (found.draws, found.states) == (3, 2)


def test_what_does_not_fit_its_grid_is_refused() -> None:
    live = LiveScores()

    with pytest.raises(ValueError, match="on a grid"):
        live.publish(Published("a", "10u", NOON, REGION, published().draws), NOW)
    with pytest.raises(ValueError, match="its grid"):
        live.analyse("10u", NOON, REGION, analysis(), NOW)
    with pytest.raises(ValueError, match="wanted more than 0"):
        LiveSettings(points=0)
