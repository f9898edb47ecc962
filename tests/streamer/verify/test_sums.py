"""Sums tell what their definitions say, whatever the order and grouping of the states."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.verify.scores import Scorer, fair_crps
from streamer.verify.sums import Sums, points, sums

ROWS = np.array([0.1, 0.3, 0.4, 0.2])
SHAPE = (4, 6)


def state(seed: int, draws: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(280.0, 5.0, SHAPE)
    return truth + rng.normal(0.3, 1.0, (draws, *SHAPE)), truth, truth + rng.normal(0.0, 2.0, SHAPE)


def weighted(fields: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All states' values in one row, and the weight of each."""
    weights = np.broadcast_to(ROWS[:, None] / SHAPE[1], SHAPE).ravel()
    return np.concatenate([f.ravel() for f in fields]), np.tile(weights, len(fields)) / len(fields)


@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=4, unique=True))
def test_agreement_is_its_definition_over_all_points_of_all_states(seeds: list[int]) -> None:
    states = [state(seed) for seed in seeds]

    total = sums(*states[0], ROWS)
    for one in states[1:]:
        total += sums(*one, ROWS)
    scores = total.scores()

    mean, w = weighted([draws.mean(axis=0) for draws, _, _ in states])
    truth, _ = weighted([true for _, true, _ in states])
    error = mean - truth
    centred, true_centred = mean - w @ mean, truth - w @ truth
    assert scores.states == len(seeds)
    assert scores.mean.mae == pytest.approx(w @ np.abs(error))
    assert scores.mean.rmse == pytest.approx((w @ error**2) ** 0.5)
    assert scores.mean.bias == pytest.approx(w @ error)
    assert scores.mean.r2 == pytest.approx(1 - (w @ error**2) / (w @ true_centred**2), abs=1e-6)
    covariance = w @ (centred * true_centred)
    spread = (w @ centred**2) ** 0.5 * (w @ true_centred**2) ** 0.5
    assert scores.mean.pearson == pytest.approx(covariance / spread, abs=1e-6)


def test_crps_spread_and_baseline_are_those_of_the_bundles_scorer() -> None:
    scorer = Scorer(ROWS, 3)
    states = [state(seed) for seed in range(3)]

    for one in states:
        scorer.add(*one)
    scores = (sums(*states[0], ROWS) + sums(*states[1], ROWS) + sums(*states[2], ROWS)).scores()

    expected = scorer.score()
    assert scores.baseline is not None
    assert scores.crps == pytest.approx(expected.crps)
    assert scores.mean.mae == pytest.approx(expected.mae)
    assert scores.spread_skill == pytest.approx(expected.spread_skill)
    assert scores.baseline.rmse == pytest.approx(expected.baseline_rmse)
    assert scores.gain == pytest.approx(expected.gain)


def test_the_truth_itself_agrees_wholly() -> None:
    _, truth, _ = state(0)

    scores = sums(truth[None], truth, truth, ROWS).scores()

    assert (scores.mean.mae, scores.mean.rmse, scores.mean.bias) == (0.0, 0.0, 0.0)
    assert scores.mean.r2 == pytest.approx(1.0)
    assert scores.mean.pearson == pytest.approx(1.0)


def test_the_truths_own_mean_explains_nothing_and_correlates_with_nothing() -> None:
    _, truth, _ = state(1)
    mean = np.full(SHAPE, float(ROWS @ truth.mean(axis=-1)))

    found = sums(mean[None], truth, None, ROWS).scores().mean

    assert found.r2 == pytest.approx(0.0, abs=1e-9)
    assert found.pearson is None


def test_correlation_sees_neither_scale_nor_shift_but_the_sign() -> None:
    _, truth, _ = state(2)

    same = sums((3.0 * truth - 7.0)[None], truth, None, ROWS).scores().mean
    opposite = sums((-truth)[None], truth, None, ROWS).scores().mean

    assert same.pearson == pytest.approx(1.0)
    assert opposite.pearson == pytest.approx(-1.0)


def test_a_truth_that_does_not_vary_leaves_nothing_to_explain() -> None:
    found = sums(np.ones((1, *SHAPE)), np.full(SHAPE, 2.0), None, ROWS).scores().mean

    assert (found.r2, found.pearson) == (None, None)
    assert found.bias == pytest.approx(-1.0)


def test_a_single_draw_has_its_absolute_error_in_place_of_a_crps() -> None:
    draws, truth, baseline = state(3, draws=1)

    scores = sums(draws, truth, baseline, ROWS).scores()

    assert (scores.crps, scores.spread, scores.spread_skill) == (None, None, None)
    assert scores.error == scores.mean.mae
    assert scores.baseline is not None
    assert scores.gain == pytest.approx(scores.mean.mae / scores.baseline.mae)


def test_points_are_what_the_sums_are_means_of() -> None:
    draws, truth, baseline = state(4)

    found = points(draws, truth, baseline)

    np.testing.assert_allclose(found.crps, fair_crps(draws, truth))
    np.testing.assert_allclose(found.error, draws.mean(axis=0) - truth)
    scores = sums(draws, truth, baseline, ROWS, found).scores()
    assert scores.crps == pytest.approx(float(found.crps.mean(axis=-1) @ ROWS))


def test_states_of_other_numbers_of_draws_do_not_add() -> None:
    one, other = sums(*state(0, draws=2), ROWS), sums(*state(1, draws=3), ROWS)

    with pytest.raises(ValueError, match="do not add"):
        one + other
    with pytest.raises(ValueError, match=r"draws \(3, 4, 6\), truth \(4, 5\)"):
        sums(state(0)[0], np.zeros((4, 5)), None, ROWS)


def test_every_score_has_the_baselines_beside_it_in_json() -> None:
    plain = sums(*state(5), ROWS).scores().plain()

    for name in ("mae", "rmse", "bias", "r2", "pearson", "crps"):
        assert set(plain[name]) == {"forecast", "baseline"}
        assert None not in plain[name].values()
    assert plain["crps"]["baseline"] == plain["mae"]["baseline"]
    bare: Sums = sums(state(5)[0], state(5)[1], None, ROWS)
    assert bare.scores().plain()["mae"]["baseline"] is None
    assert bare.scores().gain is None
