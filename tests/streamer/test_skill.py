"""Scores agree with their closed forms."""

import numpy as np
import pytest

from streamer.skill import Score, fair_crps


def test_the_fair_crps_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    draws, truth = rng.standard_normal((5, 3, 4)), rng.standard_normal((3, 4))

    to_truth = np.abs(draws - truth).mean(axis=0)
    between = np.abs(draws[:, None] - draws[None]).sum(axis=(0, 1)) / (2 * 5 * 4)
    assert fair_crps(draws, truth) == pytest.approx(to_truth - between)


@pytest.mark.parametrize("draws", [2, 8])
def test_the_fair_crps_of_an_honest_ensemble_does_not_depend_on_its_size(draws: int) -> None:
    rng = np.random.default_rng(draws)
    drawn, truth = rng.standard_normal((draws, 400, 400)), rng.standard_normal((400, 400))

    # Truth and draws from N(0, 1): the CRPS is 1 / sqrt(pi).
    assert fair_crps(drawn, truth).mean() == pytest.approx(1 / np.sqrt(np.pi), rel=0.01)


def test_a_certain_ensemble_has_the_absolute_error_as_crps() -> None:
    truth = np.array([[1.0, -2.0]])
    draws = np.zeros((3, 1, 2))

    assert fair_crps(draws, truth).tolist() == [[1.0, 2.0]]


def test_the_gain_is_against_the_baselines_absolute_error() -> None:
    score = Score(
        crps=0.6, mae=0.8, rmse=1.1, spread_skill=1.0, baseline_mae=1.0, baseline_rmse=1.4
    )

    assert score.gain == pytest.approx(0.6)
