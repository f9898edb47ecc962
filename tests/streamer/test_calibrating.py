"""Rows of the table by hand and by a denoiser of closed form, and what the profiles take."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.bundle import Bundle, open_manifest
from engines.calibration import Calibration, Row, parse_calibration, to_plain
from engines.denoiser import GaussianDenoiser
from engines.multistep import MultistepSettings
from engines.sampler import Sampler, SamplerSettings
from streamer.archive import StateKey
from streamer.calibrating import (
    REFERENCE,
    Candidate,
    calibration,
    choose,
    compare,
    heun_at,
    is_honest,
    measure,
    seconds_a_call,
)
from streamer.skill import Trial, measured, trial_from

ONE_CALL = MultistepSettings((3.0,))


def row(calls: int, change: float, network: str = "denoiser", **odd: Any) -> Row:
    """A row that is honest unless `odd` says otherwise, of a sampler of so many calls."""
    sampler: Sampler = MultistepSettings.two_m(np.geomspace(10.0, 0.1, calls))
    parameter = {
        "spread_skill_ratio": 1.0,
        "bands_vs_reference": [[1, 60, 1.0], [61, 120, 1.0], [121, 180, 1.0]],
        **odd,
    }
    told = {"crps_change": change, "parameters": {"10u": parameter, "10v": {**row_of_ten_v()}}}
    return Row(sampler, calls, network, told)


def row_of_ten_v() -> dict[str, Any]:
    return {"spread_skill_ratio": 1.0, "bands_vs_reference": []}


def test_profiles_are_the_cheapest_within_their_limits() -> None:
    rows = [row(35, 0.0), row(2, 0.03), row(3, 0.012), row(4, 0.004), row(5, -0.001)]

    assert choose(rows) == {"fast": 2, "standard": 3, "reference": 0}


def test_of_two_of_one_cost_the_better_is_taken() -> None:
    assert choose([row(35, 0.0), row(3, 0.004), row(3, 0.002)])["standard"] == 2


def test_where_no_few_calls_will_do_the_reference_is_every_profile() -> None:
    assert choose([row(35, 0.0), row(3, 0.3)]) == {"fast": 0, "standard": 0, "reference": 0}


@pytest.mark.parametrize(
    "odd",
    [
        {"spread_skill_ratio": 0.94},
        {"spread_skill_ratio": 1.06},
        {"bands_vs_reference": [[1, 60, 1.16], [61, 180, 1.0]]},
        {"bands_vs_reference": [[1, 60, 1.0], [61, 120, 0.84], [121, 180, 1.0]]},
    ],
)
def test_a_good_score_does_not_excuse_a_wrong_spread_or_spectrum(odd: dict[str, Any]) -> None:
    rows = [row(35, 0.0), row(3, -0.1, **odd)]

    assert choose(rows)["fast"] == 0
    assert not is_honest(rows[1])


def test_bands_above_two_thirds_of_the_highest_wavenumber_are_told_and_not_judged() -> None:
    assert is_honest(row(3, 0.0, bands_vs_reference=[[1, 120, 1.0], [121, 180, 0.5]]))


def test_a_tuned_network_is_fast_only_where_it_serves_and_never_standard() -> None:
    rows = [row(35, 0.0), row(2, -0.02, "tuned"), row(4, 0.001)]

    assert choose(rows) == {"fast": 2, "standard": 2, "reference": 0}
    assert choose(rows, tuned_serves=True) == {"fast": 1, "standard": 2, "reference": 0}


def test_a_table_is_ordered_by_cost_and_survives_its_file() -> None:
    rows = [row(35, 0.0), row(7, 0.001), row(3, 0.01)]

    table = calibration(rows, {"days": "two"})

    assert [one.calls for one in table.rows] == [3, 7, 35]
    assert table.profiles == {"fast": 0, "standard": 1, "reference": 2}
    assert table.default == "standard"
    faults: list[str] = []
    again = parse_calibration(to_plain(table), faults)
    assert not faults
    assert again is not None
    assert to_plain(again) == to_plain(table)


def test_a_tuned_network_that_served_serves_again() -> None:
    rows = [row(35, 0.0), row(2, -0.02, "tuned"), row(4, 0.001)]
    served = Calibration(tuple(rows), {"fast": 1, "reference": 0}, "fast")
    idle = replace(served, profiles={"reference": 0}, default="reference")

    assert calibration(rows, {}, served).default == "fast"
    assert calibration(rows, {}, served).row("fast").network == "tuned"
    assert calibration(rows, {}, idle).row("fast").network == "denoiser"
    # Where it no longer keeps the limits, another is fast, and nobody takes it unasked.
    worse = [rows[0], row(2, 0.05, "tuned"), rows[2]]
    assert calibration(worse, {}, served).default == "standard"


def test_heun_stands_at_odd_costs_in_units_of_the_residual() -> None:
    found = heun_at(range(1, 9), 0.5)

    assert [2 * one.steps - 1 for one in found] == [3, 5, 7]
    assert all(one.sigma_max < 5.0 for one in found)
    assert heun_at([3], 1.0)[0].sigma_max == 2 * heun_at([3], 0.5)[0].sigma_max


@pytest.fixture
def bundle(small_wind_bundle: Path) -> Bundle:
    return open_manifest(small_wind_bundle)


@pytest.fixture
def trial(bundle: Bundle) -> Trial:
    """Three states on two days whose truth is what the Gaussian denoiser thinks it is."""
    start = datetime(2018, 10, 15, tzinfo=UTC)
    keys = tuple(StateKey(start + timedelta(hours=12 * i), "0", 0) for i in range(3))
    rng = np.random.default_rng(0)
    truth = rng.normal(2.0, 3.0, (3, 2, *bundle.shape)).astype(np.float32)
    found = trial_from(keys, truth, bundle)
    scale = [n.residual_std * n.fine_std for n in bundle.normalisation]
    noise = rng.standard_normal(truth.shape) * np.array(scale)[:, None, None]
    centre = [
        n.fine_mean + n.fine_std * found.condition[:, c] for c, n in enumerate(bundle.normalisation)
    ]
    return replace(found, truth=(np.stack(centre, axis=1) + noise).astype(np.float32))


def rows_of(bundle: Bundle, trial: Trial, *samplers: Sampler) -> tuple[Row, ...]:
    candidates = [Candidate(sampler) for sampler in samplers]
    return measure(candidates, {"denoiser": (bundle, GaussianDenoiser())}, trial, 4)


def test_the_reference_differs_from_itself_by_nothing(bundle: Bundle, trial: Trial) -> None:
    first, again = rows_of(bundle, trial, REFERENCE, REFERENCE)

    for found in (first.measured, again.measured):
        assert found["crps_change"] == found["patch_energy_change"] == 0.0
        assert found["interval"] == [0.0, 0.0]
        assert found["spread_skill_ratio"] == 1.0
        assert found["parameters"]["10v"]["gradient_crps_change"] == 0.0
        assert all(ratio == 1.0 for _, _, ratio in found["bands_vs_reference"])


def test_draws_without_spread_lose_by_what_they_lack(bundle: Bundle, trial: Trial) -> None:
    # One call from a middle level gives nearly the mean: little spread, and a CRPS near its MAE.
    reference, flat = rows_of(bundle, trial, REFERENCE, ONE_CALL)

    assert (reference.calls, flat.calls) == (35, 1)
    assert 0.9 < reference.measured["spread_skill"] < 1.1
    assert flat.measured["spread_skill_ratio"] < 0.6
    # A flat ensemble at the mean scores the mean's absolute error, root 2 of an honest CRPS.
    assert 0.15 < flat.measured["crps_change"] < 0.42
    assert flat.measured["patch_energy_change"] > 0.1
    low, high = flat.measured["interval"]
    assert low < flat.measured["crps_change"] < high
    assert set(flat.measured["days"]) == {"2018-10-15", "2018-10-16"}
    assert max(ratio for _, _, ratio in flat.measured["bands_vs_reference"]) < 1.0
    assert choose([reference, flat]) == {"fast": 0, "standard": 0, "reference": 0}


def test_seconds_are_calls_times_what_one_takes(bundle: Bundle, trial: Trial) -> None:
    reference, flat = rows_of(bundle, trial, REFERENCE, ONE_CALL)

    assert reference.measured["seconds"] == pytest.approx(35 * flat.measured["seconds"])
    assert 0.0 < seconds_a_call(bundle, GaussianDenoiser()) < 1.0


def test_progress_counts_calls_and_reaches_its_end(bundle: Bundle, trial: Trial) -> None:
    told: list[tuple[int, int]] = []
    engines = {"denoiser": (bundle, GaussianDenoiser())}

    measure([Candidate(REFERENCE), Candidate(ONE_CALL)], engines, trial, 2,
            lambda *at: told.append(at))  # fmt: skip

    assert told[:3] == [(35, 108), (70, 108), (105, 108)]
    assert told[-1] == (108, 108)


def test_a_bundle_of_one_parameter_has_its_change(bundle: Bundle, trial: Trial) -> None:
    way = SamplerSettings(steps=2, sigma_min=0.5, sigma_max=3.0)
    these, those = (
        measured(bundle, GaussianDenoiser(), sampler, trial, 3) for sampler in (way, REFERENCE)
    )
    these, those = (
        tuple(replace(s, parameters={"10u": s.parameters["10u"]}, speed=None) for s in states)
        for states in (these, those)
    )

    found = compare(these, those, 3)

    assert found["crps_change"] == pytest.approx(found["parameters"]["10u"]["crps_change"])
    assert found["p99_9_ratio"] == found["parameters"]["10u"]["p99_9_ratio"]
