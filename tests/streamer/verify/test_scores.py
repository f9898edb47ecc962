"""Scores: closed forms of normal ensembles, identities, and weights that measure the globe."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.verify.scores import Score, Scorer, area_weights, fair_crps

ROWS, COLUMNS = 30, 400
EVEN = np.full(ROWS, 1 / ROWS)


def honest(draws: int, sigma: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws and a truth that are alike: independent normals around one centre."""
    rng = np.random.default_rng(seed)
    everything = rng.normal(3.0, sigma, (draws + 1, ROWS, COLUMNS))
    return everything[:-1], everything[-1]


@pytest.mark.parametrize("draws", [2, 3, 8])
def test_the_fair_crps_of_an_honest_normal_ensemble_is_the_same_for_any_number_of_draws(
    draws: int,
) -> None:
    sigma = 2.0

    found = fair_crps(*honest(draws, sigma))

    # E|X - Y| - E|X - X'| / 2 with all of them N(m, sigma^2): half of 2 sigma / sqrt(pi).
    error = found.std() / np.sqrt(found.size)
    assert found.mean() == pytest.approx(sigma / np.sqrt(np.pi), abs=4 * error)


def test_the_crps_of_many_draws_is_that_of_the_normal_distribution() -> None:
    rng = np.random.default_rng(1)
    draws, truth = rng.normal(0.0, 1.0, (20_000, 1, 1)), np.array([[0.7]])

    # Gneiting et al. 2005, equation 5: sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)).
    expected = 0.7 * (2 * 0.758036 - 1) + 2 * 0.312254 - 1 / np.sqrt(np.pi)
    assert fair_crps(draws, truth)[0, 0] == pytest.approx(expected, abs=0.02)


@given(st.integers(2, 7), st.integers(0, 2**32))
def test_the_fair_crps_is_its_definition_written_out(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    draws, truth = rng.normal(size=(count, 2, 3)), rng.normal(size=(2, 3))

    pairs = np.abs(draws[:, None] - draws[None]).sum(axis=(0, 1)) / (2 * count * (count - 1))
    expected = np.abs(draws - truth).mean(axis=0) - pairs

    np.testing.assert_allclose(fair_crps(draws, truth), expected, atol=1e-12)


@pytest.mark.parametrize("draws", [2, 4, 16])
def test_an_honest_ensemble_has_a_spread_skill_of_one_whatever_its_size(draws: int) -> None:
    scorer = Scorer(EVEN, draws)

    for seed in range(5):
        ensemble, truth = honest(draws, 1.5, seed)
        scorer.add(ensemble, truth, truth)

    assert scorer.score().spread_skill == pytest.approx(1.0, abs=0.02)


def test_an_ensemble_of_half_the_spread_has_half_the_spread_skill_in_the_limit() -> None:
    rng = np.random.default_rng(2)
    centre, count = rng.normal(size=(ROWS, COLUMNS)), 50
    truth = centre + rng.normal(size=centre.shape)
    scorer = Scorer(EVEN, count)

    scorer.add(centre + 0.5 * rng.normal(size=(count, *centre.shape)), truth, centre)

    # The mean errs by 1 + 0.25 / D, the variance is 0.25.
    expected = np.sqrt((count + 1) / count * 0.25 / (1 + 0.25 / count))
    assert scorer.score().spread_skill == pytest.approx(expected, rel=0.02)


def test_errors_are_those_of_the_mean_and_of_the_baseline() -> None:
    truth = np.zeros((ROWS, COLUMNS))
    scorer = Scorer(EVEN, 2)

    scorer.add(np.stack([truth + 1.0, truth + 3.0]), truth, truth - 4.0)
    score = scorer.score()

    assert (score.mae, score.rmse) == pytest.approx((2.0, 2.0))
    assert (score.baseline_mae, score.baseline_rmse) == pytest.approx((4.0, 4.0))
    assert score.crps == pytest.approx(1.0)  # (1 + 3) / 2 - |1 - 3| / 2
    assert score.spread_skill == pytest.approx(np.sqrt(3 / 2 * 2.0 / 4.0))


def test_scores_do_not_depend_on_the_order_of_the_steps() -> None:
    steps = [honest(3, sigma, seed) for seed, sigma in enumerate((0.5, 1.0, 4.0))]
    forward, backward = Scorer(EVEN, 3), Scorer(EVEN, 3)

    for draws, truth in steps:
        forward.add(draws, truth, truth + 1)
    for draws, truth in reversed(steps):
        backward.add(draws, truth, truth + 1)

    ahead, back = forward.score().plain(), backward.score().plain()
    assert ahead == pytest.approx(back, rel=1e-12)


def test_the_rmse_is_the_root_of_the_mean_over_all_steps() -> None:
    zero = np.zeros((ROWS, COLUMNS))
    scorer = Scorer(EVEN, 1)

    scorer.add(zero[None] + 3.0, zero, zero)
    scorer.add(zero[None] + 4.0, zero, zero)

    assert scorer.score().rmse == pytest.approx(np.sqrt((9 + 16) / 2))


def test_one_draw_has_neither_crps_nor_spread() -> None:
    zero = np.zeros((ROWS, COLUMNS))
    scorer = Scorer(EVEN, 1)

    scorer.add(zero[None], zero, zero)

    assert scorer.score().crps is None
    assert scorer.score().spread_skill is None


def test_fields_that_do_not_fit_are_refused_with_both_shapes() -> None:
    zero = np.zeros((ROWS, COLUMNS))

    with pytest.raises(ValueError, match=r"draws \(3, 30, 400\).*wanted 2 draws"):
        Scorer(EVEN, 2).add(np.zeros((3, ROWS, COLUMNS)), zero, zero)


def test_without_a_step_there_is_no_score() -> None:
    with pytest.raises(ValueError, match="no step"):
        Scorer(EVEN, 2).score()


@pytest.mark.parametrize("spacing", [1.0, 4.0, 2.5])
def test_weights_measure_the_sphere(spacing: float) -> None:
    count = round(180 / spacing) + 1
    latitudes = 90.0 - spacing * np.arange(count)

    weights = area_weights(latitudes)

    assert weights.sum() == pytest.approx(1.0)
    # The mean of sin^2(latitude) over a sphere is 1/3.
    squares = np.sin(np.deg2rad(latitudes)) ** 2
    assert weights @ squares == pytest.approx(1 / 3, abs=2e-3)
    assert weights[0] == pytest.approx((1 - np.cos(np.deg2rad(spacing / 2))) / 2)


def test_the_gain_is_the_crps_over_the_baselines_absolute_error() -> None:
    score = Score(0.6, 0.8, 1.1, 1.0, draws=4, baseline_mae=1.0, baseline_rmse=1.4)

    assert score.gain == pytest.approx(0.6)


def test_the_gain_of_a_single_draw_is_its_absolute_error_which_is_its_crps() -> None:
    score = Score(None, 0.8, 1.1, None, draws=1, baseline_mae=1.0, baseline_rmse=1.4)

    assert score.gain == pytest.approx(0.8)
