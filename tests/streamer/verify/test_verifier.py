"""A parameter verified: honest ensembles look honest, and the truth beats everything."""

import json
from datetime import date

import numpy as np
import pytest

from streamer.domain import Grid
from streamer.verify.scores import area_weights, fair_crps
from streamer.verify.verified import SHARES
from streamer.verify.verifier import State, Subject, Verifier

GLOBE = Grid(90.0, 0.0, 10.0, 10.0, 19, 36)
REGION = Grid(60.0, -10.0, 2.0, 2.0, 12, 20)
DAYS = (date(2018, 10, 8), date(2018, 10, 9))


def states(grid: Grid, draws: int = 4, count: int = 6, *, beside: bool = True) -> list[State]:
    """Draws and truth around one centre, alike; the baseline is the centre."""
    found = []
    for i in range(count):
        rng = np.random.default_rng(i)
        centre = rng.normal(0.0, 3.0, grid.shape)
        everything = centre + rng.normal(0.0, 1.0, (draws + 1, *grid.shape))
        baseline = centre if beside else None
        found.append(State(DAYS[i % 2], 180 * (i % 3), everything[:-1], everything[-1], baseline))
    return found


def verifier(grid: Grid, draws: int = 4, *thresholds: float) -> Verifier:
    return Verifier(Subject("10u", "m s**-1", grid, draws, thresholds))


@pytest.mark.parametrize("grid", [GLOBE, REGION])
def test_an_honest_ensemble_is_found_honest(grid: Grid) -> None:
    found = verifier(grid, 4, 1.0)
    for state in states(grid, count=12):
        found.add(state)

    one = found.verified()

    assert one.scores.spread_skill == pytest.approx(1.0, abs=0.05)
    assert one.ranks is not None
    np.testing.assert_allclose(one.ranks.shares, 0.2, atol=0.03)
    for spectrum in one.spectra:
        drawn, true = spectrum.power["draws"].sum(), spectrum.power["truth"].sum()
        assert drawn / true == pytest.approx(1.0, abs=0.15)
    np.testing.assert_allclose(one.variograms["draws"], one.variograms["truth"], rtol=0.1)
    np.testing.assert_allclose(one.quantiles["draws"], one.quantiles["truth"], atol=1.2)
    # The fair CRPS of N(0, 1) is 1 / sqrt(pi), the centre's absolute error sqrt(2 / pi).
    assert one.scores.gain == pytest.approx(1 / 2**0.5, abs=0.02)


def test_steps_and_days_hold_what_all_hold_together() -> None:
    found = verifier(GLOBE)
    given = states(GLOBE)
    for state in given:
        found.add(state)

    one = found.verified()

    assert sorted(one.by_lead) == [0, 180, 360]
    assert sorted(one.by_day) == list(DAYS)
    for groups in (one.by_lead, one.by_day):
        assert sum(group.states for group in groups.values()) == 6
        mean = np.mean([group.crps for group in groups.values()])
        assert one.scores.crps == pytest.approx(mean)
    rows = area_weights(GLOBE.latitudes)
    by_hand = [float(fair_crps(s.draws, s.truth).mean(axis=-1) @ rows) for s in given]
    assert one.scores.crps == pytest.approx(np.mean(by_hand))
    within = one.gain_interval
    assert within is not None
    assert one.scores.gain is not None
    assert within[0] < one.scores.gain < within[1]


def test_maps_are_means_over_states() -> None:
    found = verifier(REGION)
    given = states(REGION)
    for state in given:
        found.add(state)

    maps = found.verified().maps

    errors = [state.draws.mean(axis=0) - state.truth for state in given]
    np.testing.assert_allclose(maps.bias, np.mean(errors, axis=0))
    missed = [np.abs(s.baseline - s.truth) for s in given if s.baseline is not None]
    assert maps.missed is not None
    np.testing.assert_allclose(maps.missed, np.mean(missed, axis=0))


def test_json_holds_every_score_and_nothing_that_json_does_not_know() -> None:
    found = verifier(GLOBE, 4, 0.0, 99.0)
    for state in states(GLOBE):
        found.add(state)

    plain = json.loads(json.dumps(found.verified().plain(), allow_nan=False))

    names = ("mae", "rmse", "bias", "r2", "pearson", "crps", "spread_skill", "ranks")
    structure = ("reliability", "spectra", "variogram", "quantile_scores", "quantiles", "tails")
    assert {*names, *structure} <= plain.keys()
    assert [one["threshold"] for one in plain["reliability"]] == [0.0, 99.0]
    assert plain["reliability"][0]["baseline_brier"] is not None
    assert len(plain["quantiles"]["truth"]) == len(SHARES)
    assert {"truth", "draws_over_truth", "mean_over_truth", "baseline_over_truth"} <= plain[
        "spectra"
    ][0].keys()
    assert [one["share"] for one in plain["tails"]] == [0.001, 0.01, 0.99, 0.999]


def test_without_a_baseline_nothing_stands_beside() -> None:
    found = verifier(GLOBE, 4, 0.0)
    for state in states(GLOBE, beside=False):
        found.add(state)

    one = found.verified()

    assert one.scores.baseline is None
    assert one.gain_interval is None
    assert one.maps.missed is None
    assert "baseline" not in one.quantile_scores
    assert one.reliability[0].plain()["baseline_brier"] is None


def test_a_single_draw_has_neither_ranks_nor_probabilities() -> None:
    found = verifier(REGION, 1, 0.0)
    for state in states(REGION, draws=1):
        found.add(state)

    one = found.verified()

    assert one.ranks is None
    assert one.reliability == ()
    json.dumps(one.plain(), allow_nan=False)


def test_states_of_other_draws_or_grids_are_refused() -> None:
    found = verifier(GLOBE)

    with pytest.raises(ValueError, match="wanted 4 on"):
        found.add(states(GLOBE, draws=3)[0])
    with pytest.raises(ValueError, match="wanted 4 on"):
        found.add(states(REGION)[0])
    with pytest.raises(ValueError, match="no state"):
        found.verified()
