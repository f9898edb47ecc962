"""Takes state after state of one parameter and adds up every score; holds sums and three maps."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import add
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer.domain import Grid
from streamer.verify.distribution import Distribution
from streamer.verify.quantiles import ORDERS, ensemble_quantiles, quantile_scores
from streamer.verify.ranks import RankCounter
from streamer.verify.reliability import ExceedanceScorer
from streamer.verify.scores import Array, area_weights
from streamer.verify.spectra import belts, row_power
from streamer.verify.sums import Sums, points, refuse_unfit, sums
from streamer.verify.variogram import variogram
from streamer.verify.verified import SHARES, Beside, Maps, Spectrum, Verified

Array64 = NDArray[np.float64]
Group = TypeVar("Group", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is verified: a parameter on a grid, of so many draws, against thresholds."""

    name: str
    units: str
    grid: Grid
    draws: int
    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """One state: draws (D, H, W), truth and baseline (H, W), all in one unit.

    day: its valid time's. minutes: its lead time.
    """

    day: date
    minutes: int
    draws: Array
    truth: Array
    baseline: Array | None = None


class Verifier:
    """Verifies one parameter. All states have a baseline, or none has."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        grid, draws = subject.grid, subject.draws
        self._rows = area_weights(grid.latitudes)
        self._sums: dict[tuple[date, int], Sums] = {}
        self._ranks = RankCounter(self._rows, draws) if draws > 1 else None
        # One draw gives no probability.
        limits = subject.thresholds if draws > 1 else ()
        self._exceeding = [ExceedanceScorer(self._rows, draws, limit) for limit in limits]
        self._power: dict[str, Array64] = {}
        self._variograms: dict[str, Array64] = {}
        self._pinball: dict[str, Array64] = {}
        self._values: dict[str, Distribution] = defaultdict(Distribution)
        self._maps: dict[str, Array64] = {}

    def add(self, state: State) -> None:
        """Add a state; ValueError if its shapes, draws or baseline are not those of the rest."""
        refuse_unfit(state.draws, state.truth, state.baseline)
        if len(state.draws) != self._subject.draws or state.truth.shape != self._subject.grid.shape:
            raise ValueError(
                f"draws {state.draws.shape}, wanted {self._subject.draws} on {self._subject.grid}"
            )
        scored = points(state.draws, state.truth, state.baseline)
        one = sums(state.draws, state.truth, state.baseline, self._rows, scored)
        group = state.day, state.minutes
        self._sums[group] = self._sums[group] + one if group in self._sums else one
        _gather(self._maps, {"bias": scored.error, "crps": scored.crps})
        if scored.missed is not None:
            _gather(self._maps, {"missed": np.abs(scored.missed)})
        if self._ranks is not None:
            self._ranks.add(state.day, state.draws, state.truth)
        for threshold in self._exceeding:
            threshold.add(state.day, state.draws, state.truth, state.baseline)
        self._add_fields(state)

    def verified(self) -> Verified:
        """Return everything that the states so far tell; ValueError before the first."""
        if not self._sums:
            raise ValueError("no state was added, wanted at least one")
        subject, states = self._subject, sum(one.states for one in self._sums.values())
        missed = self._maps.get("missed")
        return Verified(
            name=subject.name,
            units=subject.units,
            grid=subject.grid,
            scores=reduce(add, self._sums.values()).scores(),
            by_lead={k: one.scores() for k, one in self._grouped(lambda key: key[1]).items()},
            by_day={k: one.scores() for k, one in self._grouped(lambda key: key[0]).items()},
            ranks=None if self._ranks is None else self._ranks.histogram(),
            reliability=tuple(one.reliability() for one in self._exceeding),
            spectra=self._spectra(states),
            variograms=_scaled(self._variograms, states),
            orders=ORDERS,
            quantile_scores=_scaled(self._pinball, states),
            quantiles={name: one.quantiles(SHARES) for name, one in self._values.items()},
            maps=Maps(
                bias=self._maps["bias"] / states,
                crps=self._maps["crps"] / states,
                missed=None if missed is None else missed / states,
            ),
        )

    def _add_fields(self, state: State) -> None:
        """Add what is measured of each field alone, the truth's and the forecast's alike."""
        grid, rows = self._subject.grid, self._rows
        fields: dict[str, Array] = {
            "truth": state.truth,
            "draws": state.draws,
            "mean": state.draws.mean(axis=0),
        }
        guesses = {"draws": np.asarray(ensemble_quantiles(state.draws, ORDERS), dtype=float)}
        if state.baseline is not None:
            fields["baseline"] = state.baseline
            guesses["baseline"] = np.asarray(state.baseline, dtype=float)
        for name, field in fields.items():
            _gather(self._power, {name: row_power(field, grid)})
            _gather(self._variograms, {name: variogram(field, grid)})
            self._values[name].add(field, rows)
        for name, guess in guesses.items():
            _gather(self._pinball, {name: quantile_scores(guess, state.truth, ORDERS, rows)})

    def _spectra(self, states: int) -> tuple[Spectrum, ...]:
        power = _scaled(self._power, states)
        return tuple(
            Spectrum(belt, {name: belt.rows @ rows for name, rows in power.items()})
            for belt in belts(self._subject.grid)
        )

    def _grouped(self, group: Callable[[tuple[date, int]], Group]) -> Mapping[Group, Sums]:
        found: dict[Group, Sums] = {}
        for key, one in sorted(self._sums.items(), key=lambda item: item[0]):
            name = group(key)
            found[name] = found[name] + one if name in found else one
        return found


def _gather(into: dict[str, Array64], found: Mapping[str, Array64]) -> None:
    for name, values in found.items():
        into[name] = into[name] + values if name in into else values


def _scaled(gathered: Mapping[str, Array64], states: int) -> Beside:
    return {name: values / states for name, values in gathered.items()}
