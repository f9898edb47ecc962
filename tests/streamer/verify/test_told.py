"""Published statistics are scored as what they are, the interpolated field in their place."""

import json
from datetime import date

import numpy as np
import pytest

from streamer.domain import Grid, Statistic
from streamer.verify.told import StatisticScorer, Told

GRID = Grid(60.0, 0.0, 10.0, 10.0, 4, 36)
DAY = date(2018, 10, 8)


def told(statistic: Statistic, *states: tuple[np.ndarray, np.ndarray, np.ndarray | None]) -> Told:
    scorer = StatisticScorer("10si", "m s**-1", GRID, statistic)
    for state in states:
        scorer.add(DAY, *state)
    return scorer.told()


def full(value: float) -> np.ndarray:
    return np.full(GRID.shape, value)


def test_a_mean_errs_as_a_field_does() -> None:
    found = told(Statistic("mean"), (full(3.0), full(1.0), full(0.0)))

    assert found.scores["mae"].forecast == pytest.approx(2.0)
    assert found.scores["bias"].forecast == pytest.approx(2.0)
    assert found.scores["rmse"].baseline == pytest.approx(1.0)
    assert found.scores["r2"].forecast is None


def test_a_quantile_pays_as_the_pinball_says_and_is_reached_as_often_as_its_order() -> None:
    rng = np.random.default_rng(0)
    truths = [rng.normal(size=GRID.shape) for _ in range(60)]

    found = told(Statistic("quantile", 0.9), *((full(1.281552), t, full(0.0)) for t in truths))

    # Of N(0, 1) at its own quantile q the expected score is the density there, phi(q).
    assert found.scores["quantile_score"].forecast == pytest.approx(0.17550, abs=0.01)
    assert found.scores["reached"].forecast == pytest.approx(0.9, abs=0.02)
    # The median in its place costs E|X| / 2 = 1 / sqrt(2 pi).
    assert found.scores["quantile_score"].baseline == pytest.approx(0.39894, abs=0.02)
    assert found.scores["reached"].baseline == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("kind", "sign"), [("above", 1.0), ("below", -1.0)])
def test_a_probability_has_a_brier_score_and_is_kept_or_not(kind: str, sign: float) -> None:
    rng = np.random.default_rng(1)
    states = []
    for _ in range(60):
        p = rng.integers(0, 11, GRID.shape) / 10
        truth = sign * np.where(rng.random(GRID.shape) < p, 1.0, -1.0)
        states.append((p, truth, sign * full(1.0)))

    found = told(Statistic(kind, 0.0), *states)  # type: ignore[arg-type]

    # Of probabilities that are kept, E p (1 - p) over 0, 0.1, ... 1.
    assert found.scores["brier"].forecast == pytest.approx(0.15, abs=0.01)
    assert found.scores["observed"].forecast == pytest.approx(0.5, abs=0.02)
    # Who always says yes is wrong on half the surface.
    assert found.scores["brier"].baseline == pytest.approx(0.5, abs=0.02)
    assert len(found.reliability) == 11
    for _, said, came in found.reliability:
        assert came == pytest.approx(said, abs=0.06)
    assert sum(share for share, _, _ in found.reliability) == pytest.approx(1.0)


def test_json_names_the_statistic_as_keys_and_records_do() -> None:
    found = told(Statistic("above", 17.2), (full(0.25), full(20.0), None))

    plain = json.loads(json.dumps(found.plain(), allow_nan=False))

    assert (plain["parameter"], plain["statistic"]) == ("10si", "above-17.2")
    assert plain["brier"] == {"forecast": pytest.approx(0.5625), "baseline": None}
    assert found.days == (DAY,)


def test_what_has_no_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="spread"):
        StatisticScorer("10si", "m s**-1", GRID, Statistic("spread"))
    with pytest.raises(ValueError, match="no state"):
        told(Statistic("mean"))
