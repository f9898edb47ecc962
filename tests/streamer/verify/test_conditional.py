"""Spread against error by class: honest classes have a ratio of one, dishonest ones stand out."""

from datetime import date

import numpy as np
import pytest

from streamer.verify.conditional import SpreadErrorScorer
from streamer.verify.scores import Scorer, area_weights

ROWS, COLUMNS, DRAWS = 60, 300, 5
EVEN = np.full(ROWS, 1 / ROWS)
DAYS = (date(2018, 10, 15), date(2018, 10, 16))
LATITUDES = np.broadcast_to(np.linspace(59.0, -59.0, ROWS)[:, None], (ROWS, COLUMNS))


def case(seed: int, spread: np.ndarray, honesty: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Draws and a truth about a centre; `spread` by point, draws `honesty` times as wide."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((DRAWS + 1, ROWS, COLUMNS)) * spread
    return honesty * noise[1:], noise[0]


def test_each_class_of_an_honest_ensemble_errs_by_what_it_spreads() -> None:
    scorer = SpreadErrorScorer(EVEN, DRAWS, range(-60, 61, 20))
    spread = 1.0 + np.abs(LATITUDES) / 20

    for i, day in enumerate(DAYS):
        scorer.add(day, LATITUDES, *case(i, spread))

    classes = scorer.classes()
    assert [(one.low, one.high) for one in classes] == [(x, x + 20) for x in range(-60, 60, 20)]
    for one in classes:
        assert one.ratio == pytest.approx(1.0, abs=0.03)
        assert one.share == pytest.approx(1 / 6)
        assert one.interval is not None
    assert classes[0].rmse > 2 * classes[3].rmse


def test_a_class_whose_draws_spread_half_as_much_stands_out() -> None:
    scorer = SpreadErrorScorer(EVEN, DRAWS, (-60, 0, 60))
    honesty = np.where(LATITUDES > 0, 0.5, 1.0)

    for i in range(4):
        draws, truth = case(i, np.ones((ROWS, COLUMNS)))
        scorer.add(DAYS[0], LATITUDES, honesty * draws, truth)

    south, north = scorer.classes()
    # The mean errs by 1 + 0.25 / D there, and the draws' variance is 0.25.
    expected = (6 / 5 * 0.25 / (1 + 0.25 / DRAWS)) ** 0.5
    assert south.ratio == pytest.approx(1.0, abs=0.02)
    assert north.ratio == pytest.approx(expected, abs=0.02)


def test_one_class_of_everything_is_the_score() -> None:
    weights = area_weights(LATITUDES[:, 0])
    scorer, whole = SpreadErrorScorer(weights, DRAWS, (-90, 90)), Scorer(weights, DRAWS)
    for i in range(3):
        draws, truth = case(i, np.exp(LATITUDES / 60), honesty=0.8)
        scorer.add(DAYS[0], LATITUDES, draws, truth)
        whole.add(draws, truth, truth)

    (one,) = scorer.classes()

    assert one.rmse == pytest.approx(whole.score().rmse)
    assert one.ratio == pytest.approx(whole.score().spread_skill)
    assert one.share == pytest.approx(1.0)
    assert one.interval is None


def test_values_on_an_edge_belong_above_it_and_values_outside_to_no_class() -> None:
    scorer = SpreadErrorScorer(EVEN, DRAWS, (0, 5, 10))
    by = np.zeros((ROWS, COLUMNS))
    by[:30], by[30:45], by[45:] = 5.0, 10.0, -1.0

    scorer.add(DAYS[0], by, *case(0, np.ones((ROWS, COLUMNS))))

    (one,) = scorer.classes()
    assert (one.low, one.high) == (5.0, 10.0)
    assert one.mean == pytest.approx(5.0)


def test_an_open_class_is_told_as_such() -> None:
    scorer = SpreadErrorScorer(EVEN, DRAWS, (0, np.inf))

    scorer.add(DAYS[0], np.ones((ROWS, COLUMNS)), *case(0, np.ones((ROWS, COLUMNS))))

    assert scorer.classes()[0].plain()["to"] is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1 draws have no spread"):
        SpreadErrorScorer(EVEN, 1, (0, 1))
    with pytest.raises(ValueError, match="wanted 5 draws"):
        SpreadErrorScorer(EVEN, DRAWS, (0, 1)).add(
            DAYS[0], LATITUDES, np.zeros((3, ROWS, COLUMNS)), np.zeros((ROWS, COLUMNS))
        )
    with pytest.raises(ValueError, match="no state"):
        SpreadErrorScorer(EVEN, DRAWS, (0, 1)).classes()
