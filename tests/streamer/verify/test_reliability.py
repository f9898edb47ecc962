"""Exceedance: probabilities that are kept, the Brier score and its parts, exactly."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.verify.reliability import ExceedanceScorer, Reliability

ROWS, COLUMNS = 50, 400
EVEN = np.full(ROWS, 1 / ROWS)
DAYS = (date(2018, 10, 15), date(2018, 10, 16))
LIMIT = 17.2


def chances(seed: int, draws: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws and truth that exceed with each point's own chance, evenly spread over 0 to 1."""
    rng = np.random.default_rng(seed)
    chance = rng.random((ROWS, COLUMNS))
    everything = np.where(rng.random((draws + 1, ROWS, COLUMNS)) < chance, LIMIT + 1, LIMIT - 1)
    return everything[1:], everything[0], chance


def scored(draws: np.ndarray, truth: np.ndarray, baseline: np.ndarray | None = None) -> Reliability:
    scorer = ExceedanceScorer(EVEN, len(draws), LIMIT)
    scorer.add(DAYS[0], draws, truth, truth if baseline is None else baseline)
    return scorer.reliability()


def test_honest_chances_come_true_as_often_as_the_law_of_succession_says() -> None:
    draws, truth, _ = chances(0, 4)

    found = scored(draws, truth)

    # Of evenly spread chances, k of D draws tell (k + 1) / (D + 2), as Laplace found.
    expected = (np.arange(5) + 1) / 6
    np.testing.assert_allclose(found.frequencies, expected, atol=0.025)
    assert found.observed == pytest.approx(0.5, abs=0.02)
    assert found.forecast == pytest.approx(0.5, abs=0.02)


def test_each_draw_in_turn_as_the_truth_shows_what_honest_frequencies_are() -> None:
    draws, truth, _ = chances(1, 5)

    probabilities, honest = scored(draws, truth).honest

    np.testing.assert_allclose(probabilities, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(honest, (np.arange(5) + 1) / 6, atol=0.025)


@pytest.mark.parametrize("draws", [2, 4, 16])
def test_the_fair_brier_score_is_that_of_the_chance_itself_for_any_number_of_draws(
    draws: int,
) -> None:
    found = scored(*chances(2, draws)[:2])

    # The mean of p (1 - p) over evenly spread chances.
    assert found.fair_brier == pytest.approx(1 / 6, abs=0.01)
    assert found.brier == pytest.approx(1 / 6 * (1 + 1 / draws), abs=0.01)


@given(st.integers(2, 6), st.integers(0, 2**32))
def test_the_brier_score_is_its_definition_and_the_sum_of_its_parts(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    draws = rng.normal(LIMIT, 1.0, (count, 3, 4))
    truth, baseline = rng.normal(LIMIT, 1.0, (2, 3, 4))
    weights = np.array([0.2, 0.3, 0.5])
    scorer = ExceedanceScorer(weights, count, LIMIT)

    scorer.add(DAYS[0], draws, truth, baseline)
    found = scorer.reliability()

    missed = ((draws > LIMIT).mean(axis=0) - (truth > LIMIT)) ** 2
    assert found.brier == pytest.approx(weights @ missed.mean(axis=-1))
    reliability, resolution, uncertainty = found.parts
    assert found.brier == pytest.approx(reliability - resolution + uncertainty)
    wrong = ((baseline > LIMIT) != (truth > LIMIT)).mean(axis=-1)
    assert found.baseline is not None
    assert found.baseline[0] == pytest.approx(weights @ wrong)


def test_days_give_an_interval_about_each_frequency() -> None:
    scorer = ExceedanceScorer(EVEN, 3, LIMIT)
    for i in range(6):
        draws, truth, _ = chances(i, 3)
        scorer.add(DAYS[i % 2], draws, truth, truth)

    found = scorer.reliability()

    for frequency, within in zip(found.frequencies, found.intervals, strict=True):
        assert within is not None
        assert within[0] <= frequency <= within[1]


def test_a_class_that_never_occurs_has_no_frequency() -> None:
    calm = np.zeros((ROWS, COLUMNS))

    found = scored(np.stack([calm, calm, calm]), calm)

    assert found.frequencies[0] == 0.0
    assert np.isnan(found.frequencies[1:]).all()
    assert found.plain()["frequencies"] == [0.0, None, None, None]
    assert (found.brier, found.intervals[1]) == (0.0, None)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1 draws give no probability"):
        ExceedanceScorer(EVEN, 1, LIMIT)
    with pytest.raises(ValueError, match="wanted 2 draws on one grid"):
        ExceedanceScorer(EVEN, 2, LIMIT).add(
            DAYS[0], np.zeros((3, 2, 2)), np.zeros((2, 2)), np.zeros((2, 2))
        )
    with pytest.raises(ValueError, match="no state"):
        ExceedanceScorer(EVEN, 2, LIMIT).reliability()
