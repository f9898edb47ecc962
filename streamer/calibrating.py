"""Hold samplers against the reference, state by state, and choose what the profiles name."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engines.batches import batching
from engines.bundle import Bundle
from engines.calibration import Calibration, Row
from engines.denoiser import Denoiser
from engines.sampler import Sampler, SamplerSettings, calls
from streamer.skill import StateMeasures, Trial, measured
from streamer.verify.measures import Measures, change, pooled

#: What others are held against: many levels, clamped to what the kind of network knows.
REFERENCE = SamplerSettings(steps=18, sigma_min=0.002, sigma_max=80.0, rho=7.0)
#: Of Heun's few levels, by their number: the highest and the lowest, in units of the residual's
#: deviation, and how they crowd. Fewer levels start lower: from high up, steps are too wide.
HEUN = {
    2: (2.0, 0.4, 5.0),
    3: (3.0, 0.3, 5.0),
    4: (5.0, 0.2, 5.0),
    5: (8.0, 0.12, 5.0),
    6: (10.0, 0.1, 5.0),
}
#: How much more than the reference a profile may err, as a share of its CRPS.
STANDARD, FAST = 0.005, 0.02
#: How far spread/skill and the power of any band may lie from the reference's.
SPREAD, BAND = 0.05, 0.15
#: Bands count up to this share of the highest wavenumber; above it is noise of the grid.
BANDS_UP_TO = 2 / 3
#: How many calls the engine is timed for, after one that warms it.
_TIMED = 7

#: Told how many network calls a tile and draw, times states, are done of how many.
Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A sampler to be measured, on which of the bundle's networks."""

    sampler: Sampler
    network: str = "denoiser"

    def calls(self, bundle: Bundle) -> int:
        """How many network calls a draw of one tile takes."""
        return calls(self.sampler, bundle.preconditioning.kind)


def heun_at(costs: Sequence[int], deviation: float) -> tuple[SamplerSettings, ...]:
    """Return Heun's samplers at those of the costs that it can have, which are odd.

    deviation: of the network's residual, in whose units the levels are meant.
    """
    found = []
    for cost in costs:
        steps = (cost + 1) // 2
        if cost % 2 and steps > 1:
            high, low, rho = HEUN.get(steps, HEUN[max(HEUN)])
            found.append(SamplerSettings(steps, low * deviation, high * deviation, rho))
    return tuple(found)


def measure(
    candidates: Sequence[Candidate],
    engines: Mapping[str, tuple[Bundle, Denoiser]],
    trial: Trial,
    draws: int,
    report: Report | None = None,
) -> tuple[Row, ...]:
    """Return a row for each candidate, the first of which is the reference.

    engines: by network, the bundle seen through it and its engine. Every candidate draws every
    state with the same noise, so that what is compared are pairs.
    """
    costs = [one.calls(engines[one.network][0]) for one in candidates]
    states = len(trial.keys)
    seconds = {name: seconds_a_call(*engine) for name, engine in engines.items()}
    rows: list[Row] = []
    reference: tuple[StateMeasures, ...] = ()
    for i, (candidate, cost) in enumerate(zip(candidates, costs, strict=True)):
        before = sum(costs[:i]) * states

        def told(state: int, _: int, before: int = before, cost: int = cost) -> None:
            if report is not None:
                report(before + cost * state, sum(costs) * states)

        found = measured(*engines[candidate.network], candidate.sampler, trial, draws, told)
        reference = reference or found
        told_of = compare(found, reference, draws) | {"seconds": cost * seconds[candidate.network]}
        rows.append(Row(candidate.sampler, cost, candidate.network, told_of))
    return tuple(rows)


def compare(
    these: Sequence[StateMeasures], those: Sequence[StateMeasures], draws: int
) -> dict[str, Any]:
    """Return what a row of the table holds: draws of some states against a reference's.

    `crps` over all parameters is in units of the interpolated field's error; by parameter in its
    own. Changes are fractions of the reference's, `interval` 95 % from how days differ. Over all
    parameters each counts the same.
    """
    names = list(these[0].parameters)
    by_name = {
        name: _compared(
            [state.parameters[name] for state in these],
            [state.parameters[name] for state in those],
            [state.day for state in these],
            draws,
        )
        for name in names
    }
    scale = {name: np.mean([s.parameters[name].crps for s in those]) for name in names}
    both = [
        [float(np.mean([s.parameters[n].crps / scale[n] for n in names])) for s in states]
        for states in (these, those)
    ]
    days = [state.day for state in these]
    crps = change(both[0], both[1], days)
    patches = change([s.patch_energy for s in these], [s.patch_energy for s in those], days)
    gains = [pooled([state.parameters[name] for state in these]).gain for name in names]
    keys = ("spread_skill", "spread_skill_ratio", "gradient_crps_change", "lag_correlation",
            "true_lag_correlation")  # fmt: skip
    return {
        "crps": float(np.mean(gains)),
        "crps_change": crps.value,
        "interval": _listed(crps.interval),
        "days": dict(crps.days),
        "patch_energy_change": patches.value,
        "patch_energy_interval": _listed(patches.interval),
        **{key: float(np.mean([one[key] for one in by_name.values()])) for key in keys},
        "p99_9_ratio": _upper_ratio(these, by_name),
        **{key: _mean_bands([one[key] for one in by_name.values()]) for key in _BAND_KEYS},
        "parameters": by_name,
    }


def choose(
    rows: Sequence[Row], reference: int = 0, *, tuned_serves: bool = False
) -> dict[str, int]:
    """Return the index of each profile's row; a profile that none qualifies for is missing.

    The reference is the reference. `standard` is the cheapest row of the untuned network whose
    CRPS is within 0.5 % of the reference's, `fast` the cheapest within 2 %; both keep every
    parameter's spread/skill within 5 % of the reference's and the power of its draws, in bands up
    to two thirds of the highest wavenumber, within 15 %. tuned_serves: whether a tuned network
    has passed what is asked of one, and may be `fast`.
    """
    found: dict[str, int] = {}
    both = ("denoiser", "tuned") if tuned_serves else ("denoiser",)
    for profile, most, networks in (("fast", FAST, both), ("standard", STANDARD, both[:1])):
        fits = [
            i
            for i, row in enumerate(rows)
            if row.network in networks and row.measured["crps_change"] <= most and is_honest(row)
        ]
        if fits:
            found[profile] = min(
                fits, key=lambda i: (rows[i].calls, rows[i].measured["crps_change"])
            )
    return {**found, "reference": reference}


def is_honest(row: Row) -> bool:
    """Whether a row's spread and spectrum are the reference's, parameter by parameter."""
    for one in row.measured["parameters"].values():
        if abs(one["spread_skill_ratio"] - 1.0) > SPREAD:
            return False
        bands = one["bands_vs_reference"]
        highest = bands[-1][1] if bands else 0
        counted = [ratio for _, last, ratio in bands if last <= BANDS_UP_TO * highest]
        if any(abs(ratio - 1.0) > BAND for ratio in counted):
            return False
    return True


def calibration(
    rows: Sequence[Row], told: Mapping[str, Any], before: Calibration | None = None
) -> Calibration:
    """Return the table of measured rows, the first of which is the reference, by rising cost.

    before: the bundle's older table. A tuned network that was `fast` there may be so again, and
    is then still what is taken where nothing is said.
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i].calls, i))
    tuned_serves = before is not None and _is_tuned(before, "fast")
    profiles = choose(rows, tuned_serves=tuned_serves)
    table = Calibration(
        rows=tuple(rows[i] for i in order),
        profiles={name: order.index(index) for name, index in profiles.items()},
        default="standard" if "standard" in profiles else "reference",
        told=dict(told),
    )
    if before is not None and before.default == "fast" and _is_tuned(table, "fast"):
        return replace(table, default="fast")
    return table


def seconds_a_call(bundle: Bundle, denoiser: Denoiser) -> float:
    """Return how long the engine takes for a tile, alone, when its batch is full: the median."""
    size = batching(denoiser.spec, reproducible=True).limit
    channels, beside = len(bundle.channels), len(bundle.channels) + len(bundle.constants)
    x = np.zeros((size, channels, *bundle.tile), np.float32)
    condition = np.zeros((size, beside, *bundle.tile), np.float32)
    labels = np.zeros((size, len(bundle.labels)), np.float32) if bundle.labels else None
    taken = []
    for _ in range(_TIMED + 1):
        started = time.perf_counter()
        denoiser.denoise(x, np.ones(size, np.float32), condition, labels)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:]) / size


_BAND_KEYS = ("bands", "bands_vs_reference")


def _is_tuned(table: Calibration, profile: str) -> bool:
    return profile in table.profiles and table.row(profile).network == "tuned"


def _compared(
    these: Sequence[Measures], those: Sequence[Measures], days: Sequence[Any], draws: int
) -> dict[str, Any]:
    """Return what a row tells of one parameter."""
    here, there = pooled(these), pooled(those)
    crps = change([one.crps for one in these], [one.crps for one in those], days)
    patches, slopes = (
        change([getattr(one, key) for one in these], [getattr(one, key) for one in those], days)
        for key in ("patch_energy", "gradient_crps")
    )
    against = replace(here, true_power=there.power)
    own_lag, true_lag = here.lag_correlations
    return {
        "crps": float(here.crps),
        "crps_change": crps.value,
        "interval": _listed(crps.interval),
        "patch_energy_change": patches.value,
        "gradient_crps_change": slopes.value,
        "spread_skill": here.spread_skill(draws),
        "spread_skill_ratio": here.spread_skill(draws) / there.spread_skill(draws),
        "lag_correlation": own_lag,
        "true_lag_correlation": true_lag,
        "p99_9_ratio": float(here.upper_ratio),
        "bands": [[one.lowest, one.highest, one.ratio] for one in here.bands],
        "bands_vs_reference": [[one.lowest, one.highest, one.ratio] for one in against.bands],
    }


def _upper_ratio(states: Sequence[StateMeasures], by_name: Mapping[str, Any]) -> float:
    """Return the strongest winds of draws over the truth's, or the mean over the parameters."""
    speeds = [state.speed for state in states if state.speed is not None]
    if not speeds:
        return float(np.mean([one["p99_9_ratio"] for one in by_name.values()]))
    return float(np.sum([drawn for drawn, _ in speeds]) / np.sum([true for _, true in speeds]))


def _mean_bands(tables: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Return the mean over parameters of each band that all of them have."""
    common = set.intersection(*({(low, high) for low, high, _ in bands} for bands in tables))
    means: list[list[float]] = []
    for band in sorted(common):
        ratios = [ratio for bands in tables for low, high, ratio in bands if (low, high) == band]
        means.append([*band, float(np.mean(ratios))])
    return means


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [float(end) for end in interval]
