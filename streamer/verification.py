"""Holds published forecasts to the truth of their valid times, and the coarse field beside them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from streamer.baselines import Baseline
from streamer.catalogue import Entry, Moment
from streamer.domain import Grid
from streamer.downscale.derived import DERIVED
from streamer.grib.grids import reach
from streamer.published import Ensemble, ensembles, from_inputs
from streamer.verify.matching import window
from streamer.verify.verified import Verified
from streamer.verify.verifier import State, Subject, Verifier

Array64 = NDArray[np.float64]


@dataclass(slots=True)
class Truth:
    """Analyses by parameter, valid time, and how long they gather; of two the younger one."""

    entries: dict[tuple[str, object, int], Entry] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Truth":
        """Take what may be truth out of a catalogue: no statistics, and the lowest member."""
        truth = cls()
        for entry in entries:
            if entry.statistic is not None:
                continue
            key = _when(entry.name, entry.moment)
            known = truth.entries.get(key)
            rank = (entry.moment.minutes, entry.member)
            if known is None or rank < (known.moment.minutes, known.member):
                truth.entries[key] = entry
        return truth

    def has(self, name: str, moment: Moment) -> bool:
        """Whether the truth for a forecast's parameter and moment is known."""
        inputs = DERIVED[name].inputs if name in DERIVED else (name,)
        return _when(name, moment) in self.entries or all(
            _when(one, moment) in self.entries for one in inputs
        )

    def values(self, name: str, moment: Moment, grid: Grid) -> Array64 | None:
        """Decode it: (H, W) on a grid whose points it has; None where there is none.

        Raises UsageError if the truth is on another grid.
        """

        def read(one: str) -> Array64 | None:
            entry = self.entries.get(_when(one, moment))
            return None if entry is None else on_grid(entry, grid)

        return from_inputs(read, name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was verified, and how many steps of a parameter were not.

    without_truth: at whose valid time nothing is known. other_draws: with fewer or more draws than
    most. without_baseline: whose coarse field was not found, where others' were.
    """

    results: tuple[Verified, ...]
    without_truth: int = 0
    other_draws: int = 0
    without_baseline: int = 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was left out, in words."""
        counts = (
            (self.without_truth, "without a truth"),
            (self.other_draws, "with another number of draws than most"),
            (self.without_baseline, "without a coarse field"),
        )
        return tuple(f"{count} fields of steps {why}" for count, why in counts if count)

    def plain(self) -> dict[str, object]:
        """Return what JSON holds."""
        return {
            "results": [{"parameter": one.name, **one.plain()} for one in self.results],
            "steps_without_truth": self.without_truth,
            "steps_with_other_draws": self.other_draws,
            "steps_without_baseline": self.without_baseline,
        }


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be verified. thresholds: by parameter. names, minutes: empty for all."""

    thresholds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    minutes: tuple[int, ...] = ()

    def wants(self, ensemble: Ensemble) -> bool:
        """Whether a parameter of a step is asked for."""
        return (not self.names or ensemble.name in self.names) and (
            not self.minutes or ensemble.moment.minutes in self.minutes
        )


def verify(
    forecasts: Sequence[Entry], truth: Truth, baseline: Baseline | None, wish: Wish
) -> Outcome:
    """Verify every parameter and grid of the forecasts.

    Raises UsageError where no step has a truth, where two fields claim to be the same draw, and
    for truth on another grid.
    """
    found = [one for one in ensembles(forecasts) if wish.wants(one)]
    known = [one for one in found if truth.has(one.name, one.moment)]
    if not known:
        raise UsageError(_nothing(found, truth))
    usual = _usual_draws(known)
    kept = [one for one in known if one.count == usual[one.name, one.grid]]
    verifiers: dict[tuple[str, Grid], Verifier] = {}
    bare = 0
    for one in kept:
        beside = _beside(baseline, one)
        if baseline is not None and beside is None:
            bare += 1
            continue
        limits = wish.thresholds.get(one.name, ())
        subject = Subject(one.name, one.units, one.grid, one.count, limits)
        verifier = verifiers.setdefault((one.name, one.grid), Verifier(subject))
        true = truth.values(one.name, one.moment, one.grid)
        assert true is not None
        day = one.moment.valid_time.date()
        verifier.add(State(day, one.moment.minutes, one.values(), true, beside))
    if not verifiers:
        raise UsageError(f"none of {len(kept)} steps with a truth has a coarse field to compare")
    return Outcome(
        results=tuple(one.verified() for one in verifiers.values()),
        without_truth=len(found) - len(known),
        other_draws=len(known) - len(kept),
        without_baseline=bare,
    )


def on_grid(entry: Entry, grid: Grid) -> Array64:
    """Decode a field and cut out of it a grid's points; UsageError if it lacks some."""
    found = window(entry.grid, grid) if entry.grid else None
    if found is None:
        raise UsageError(
            f"{entry.path}: {entry.name} is on {entry.where}; wanted the forecast's points, "
            f"{grid.rows}x{grid.columns}, {reach(grid)}, by {grid.spacing_lat:g}x"
            f"{grid.spacing_lon:g} degrees"
        )
    rows, columns = found
    values: Array64 = entry.values()[np.ix_(rows, columns)]
    return values


def _beside(baseline: Baseline | None, one: Ensemble) -> Array64 | None:
    if baseline is None:
        return None
    return from_inputs(lambda name: baseline.values(name, one.moment, one.grid), one.name)


def _when(name: str, moment: Moment) -> tuple[str, object, int]:
    return name, moment.valid_time, moment.duration


def _usual_draws(found: Sequence[Ensemble]) -> Mapping[tuple[str, Grid], int]:
    """Return how many draws most steps have; of two that are as frequent the larger."""
    counts: dict[tuple[str, Grid], Counter[int]] = defaultdict(Counter)
    for one in found:
        counts[one.name, one.grid][one.count] += 1
    return {key: max(count, key=lambda n: (count[n], n)) for key, count in counts.items()}


def _nothing(found: Sequence[Ensemble], truth: Truth) -> str:
    """Say why nothing can be verified."""
    if not found:
        return "the forecasts hold no draw that is asked for"
    times = sorted(one.moment.valid_time for one in found)
    names = ", ".join(sorted({one.name for one in found}))
    known = sorted({name for name, _, _ in truth.entries}) or ["nothing"]
    ends = sorted(entry.moment.valid_time for entry in truth.entries.values())
    span = f", {ends[0]:%Y-%m-%d %H:%M} to {ends[-1]:%Y-%m-%d %H:%M}" if ends else ""
    return (
        f"no step has a truth: the forecasts hold {names}, valid {times[0]:%Y-%m-%d %H:%M} to "
        f"{times[-1]:%Y-%m-%d %H:%M}; the truth holds {', '.join(known)}{span}"
    )
