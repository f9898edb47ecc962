"""Measures by state: equal to the scores they stand for, and compared in pairs."""

from datetime import date

import numpy as np
import pytest

from streamer.domain import Grid
from streamer.verify.details import DetailScorer
from streamer.verify.measures import Measures, change, measure, pooled
from streamer.verify.scores import Scorer, area_weights

GLOBE = Grid(90.0, 0.0, 5.0, 5.0, 37, 72)
#: Draws, truth and twin.
Fields = tuple[np.ndarray, np.ndarray, np.ndarray]
DAYS = (date(2018, 10, 15), date(2018, 10, 16))


def state(seed: int, grid: Grid = GLOBE, spread: float = 1.0) -> Fields:
    """Draws about a centre that the truth lies about too, and the centre as the coarse twin."""
    rng = np.random.default_rng(seed)
    twin = 5.0 + rng.standard_normal(grid.shape)
    truth = twin + rng.standard_normal(grid.shape)
    return twin + spread * rng.standard_normal((6, *grid.shape)), truth, twin


def states(count: int, spread: float = 1.0) -> list[Measures]:
    return [measure(*state(seed, spread=spread), GLOBE) for seed in range(count)]


def test_pooled_measures_are_the_scores_of_all_states() -> None:
    scorer = Scorer(area_weights(GLOBE.latitudes), 6)
    details = DetailScorer(GLOBE)
    for seed in range(3):
        scorer.add(*state(seed))
        details.add(DAYS[0], *state(seed))

    found, score = pooled(states(3)), scorer.score()

    assert found.crps == pytest.approx(score.crps)
    assert found.gain == pytest.approx(score.gain)
    assert found.absolute == pytest.approx(score.mae)
    assert found.square**0.5 == pytest.approx(score.rmse)
    assert found.missed == pytest.approx(score.baseline_mae)
    assert found.missed_square**0.5 == pytest.approx(score.baseline_rmse)
    assert found.spread_skill(6) == pytest.approx(score.spread_skill)
    expected = [band.ratio for band in details.details().bands]
    assert [band.ratio for band in found.bands] == pytest.approx(expected)


def test_an_honest_ensemble_is_like_its_truth_in_every_ratio() -> None:
    found = pooled(states(12))

    assert found.spread_skill(6) == pytest.approx(1.0, abs=0.03)
    assert found.upper_ratio == pytest.approx(1.0, abs=0.1)
    assert found.lag_correlations == pytest.approx((0.0, 0.0), abs=0.02)


def test_a_limited_area_has_measures_but_no_spectrum() -> None:
    grid = Grid(60.0, -10.0, 1.0, 1.0, 20, 30)

    found = measure(*state(0, grid), grid)

    assert found.bands == ()
    assert found.crps > 0


def test_a_change_is_the_ratio_of_sums_with_an_interval_by_day() -> None:
    found = change([1.1, 1.1, 2.4], [1.0, 1.0, 2.0], [DAYS[0], DAYS[0], DAYS[1]])

    assert found.value == pytest.approx(4.6 / 4.0 - 1)
    assert dict(found.days) == pytest.approx({"2018-10-15": 0.1, "2018-10-16": 0.2})
    # The mean of 0.1 and 0.2, and t at 97.5 % with one degree of freedom, 12.706.
    assert found.interval == pytest.approx((0.15 - 12.706 * 0.05, 0.15 + 12.706 * 0.05), rel=1e-3)
    assert change([1.1], [1.0], DAYS[:1]).interval is None


def test_pairs_tell_a_change_that_days_would_hide() -> None:
    weather = np.random.default_rng(0).uniform(0.5, 2.0, 10)
    days = [date(2018, 10, 10 + i) for i in range(10)]

    found = change((weather * 1.01).tolist(), weather.tolist(), days)

    assert found.value == pytest.approx(0.01)
    assert found.interval == pytest.approx((0.01, 0.01))


def test_scores_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 scores of 2 states"):
        change([1.0, 1.0], [1.0], DAYS)
    with pytest.raises(ValueError, match="no state"):
        pooled([])
