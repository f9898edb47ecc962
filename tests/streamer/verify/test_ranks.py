"""Rank histograms: flat for honest ensembles, and the known shapes for dishonest ones."""

from datetime import date
from math import erf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.verify.ranks import RankCounter
from streamer.verify.scores import area_weights

ROWS, COLUMNS, DRAWS = 40, 250, 7
EVEN = np.full(ROWS, 1 / ROWS)
DAYS = (date(2018, 10, 15), date(2018, 10, 16))


def normals(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, ROWS, COLUMNS))


def counted(draws: np.ndarray, truth: np.ndarray, weights: np.ndarray = EVEN) -> RankCounter:
    counter = RankCounter(weights, len(draws))
    counter.add(DAYS[0], draws, truth)
    return counter


def test_an_honest_ensemble_has_a_flat_histogram() -> None:
    everything = normals(DRAWS + 1)

    found = counted(everything[1:], everything[0]).histogram()

    error = (1 / 8 * 7 / 8 / (ROWS * COLUMNS)) ** 0.5
    np.testing.assert_allclose(found.shares, 1 / 8, atol=4.5 * error)
    assert found.outside == pytest.approx(1.0, abs=0.05)
    assert found.lean == pytest.approx(0.0, abs=0.01)


def test_draws_of_half_the_spread_leave_the_truth_outside_as_often_as_the_normal_law_says() -> None:
    everything = normals(3)

    found = counted(0.5 * everything[1:], everything[0]).histogram()

    # The truth lies below both of two draws: X < min(Y / 2, Z / 2). With X = x the chance is
    # (1 - Phi(2 x))^2; over the normal law of x it is 1 / 4 + asin(rho) / (2 pi), where
    # rho = 1 / (1 + 0.25) is the correlation of Y / 2 - X and Z / 2 - X.
    below = 0.25 + np.arcsin(1 / 1.25) / (2 * np.pi)
    assert found.shares[[0, 2]] == pytest.approx([below, below], abs=0.015)
    assert found.outside == pytest.approx(3 * below, abs=0.03)


def test_draws_that_are_too_low_lean() -> None:
    everything = normals(2)

    found = counted(everything[1:] - 1.0, everything[0]).histogram()

    # P(truth > draw) = Phi(1 / sqrt(2)); the mean rank of one draw is just that.
    expected = 0.5 * (1 + erf(0.5)) - 0.5
    assert found.lean == pytest.approx(expected, abs=0.015)
    assert found.uneven == pytest.approx(expected, abs=0.015)


def test_ties_count_in_equal_parts_at_every_rank_they_may_have() -> None:
    truth = np.zeros((ROWS, COLUMNS))
    draws = np.stack([truth - 1, truth, truth, truth + 1])

    found = counted(draws, truth).histogram()

    assert found.shares == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0], abs=1e-12)


def test_all_equal_is_flat() -> None:
    truth = np.zeros((ROWS, COLUMNS))

    assert counted(np.stack([truth] * 3), truth).histogram().uneven == pytest.approx(0.0)


@given(st.integers(2, 5), st.integers(0, 2**32))
def test_the_histogram_is_counting_written_out(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, 4, (count, 3, 4)).astype(float)
    truth = rng.integers(0, 4, (3, 4)).astype(float)
    weights = np.array([0.2, 0.3, 0.5])

    expected = np.zeros(count + 1)
    for row, column in np.ndindex(3, 4):
        point = draws[:, row, column]
        low = int((point < truth[row, column]).sum())
        ties = int((point == truth[row, column]).sum())
        expected[low : low + ties + 1] += weights[row] / 4 / (ties + 1)

    found = counted(draws, truth, weights).histogram()
    np.testing.assert_allclose(found.shares, expected, atol=1e-14)


def test_rows_count_by_their_area() -> None:
    weights = area_weights(np.linspace(90.0, -27.0, ROWS))
    truth = np.zeros((ROWS, COLUMNS))
    draws = np.ones((2, ROWS, COLUMNS))
    draws[:, :10] = -1.0

    found = counted(draws, truth, weights).histogram()

    assert found.shares == pytest.approx([weights[10:].sum(), 0.0, weights[:10].sum()])


def test_days_give_the_interval_and_the_order_of_states_does_not_matter() -> None:
    counters = [RankCounter(EVEN, 2), RankCounter(EVEN, 2)]
    fields = [normals(3, seed) for seed in range(4)]
    for counter, order in zip(counters, ((0, 1, 2, 3), (3, 1, 0, 2)), strict=True):
        for i in order:
            counter.add(DAYS[i // 2], fields[i][1:], fields[i][0])

    ahead, other = (counter.histogram() for counter in counters)

    np.testing.assert_allclose(ahead.shares, other.shares)
    for share, within in zip(ahead.shares, ahead.intervals, strict=True):
        assert within is not None
        assert within[0] <= share <= within[1]


def test_draws_of_another_number_are_refused_and_nothing_tells_nothing() -> None:
    with pytest.raises(ValueError, match="wanted \\(2, 40, 250\\)"):
        RankCounter(EVEN, 2).add(DAYS[0], normals(3), normals(1)[0])
    with pytest.raises(ValueError, match="no state"):
        RankCounter(EVEN, 2).histogram()
