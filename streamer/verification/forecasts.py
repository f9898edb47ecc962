"""Holds published forecasts to the truth of their valid times, and the coarse field beside them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from streamer.domain import Grid, Statistic
from streamer.verification.analyses import Truth
from streamer.verification.baselines import Baseline
from streamer.verification.catalogue import Entry, Moment
from streamer.verification.published import Ensemble, Summary, ensembles, from_inputs, summaries
from streamer.verify.told import StatisticScorer, Told
from streamer.verify.verified import Verified
from streamer.verify.verifier import State, Subject, Verifier

Array64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was verified, and how many steps of a parameter were not.

    without_truth: at whose valid time nothing is known. other_draws: with fewer or more draws than
    most. without_baseline: whose coarse field was not found, where others' were.
    """

    results: tuple[Verified, ...]
    statistics: tuple[Told, ...] = ()
    without_truth: int = 0
    other_draws: int = 0
    without_baseline: int = 0

    @property
    def days(self) -> tuple[date, ...]:
        """The calendar days of the valid times."""
        drawn = {day for one in self.results for day in one.by_day}
        return tuple(sorted(drawn | {day for one in self.statistics for day in one.days}))

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
            "statistics": [one.plain() for one in self.statistics],
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

    def wants(self, name: str, moment: Moment) -> bool:
        """Whether a parameter of a step is asked for."""
        return (not self.names or name in self.names) and (
            not self.minutes or moment.minutes in self.minutes
        )


class _Sources:
    """Reads truth and baseline of a forecast; counts what has a truth and no baseline."""

    def __init__(self, truth: Truth, baseline: Baseline | None) -> None:
        self._truth, self._baseline = truth, baseline
        self.bare = 0

    def read(self, name: str, moment: Moment, grid: Grid) -> tuple[Array64, Array64 | None] | None:
        """Return truth and baseline, None where there is one for others and not for this one."""
        baseline = self._baseline
        beside = None
        if baseline is not None:
            beside = from_inputs(lambda one: baseline.values(one, moment, grid), name)
            if beside is None:
                self.bare += 1
                return None
        true = self._truth.values(name, moment, grid)
        assert true is not None  # only what has a truth is read
        return true, beside


def verify(
    forecasts: Sequence[Entry], truth: Truth, baseline: Baseline | None, wish: Wish
) -> Outcome:
    """Verify every parameter and grid of the forecasts, draws and statistics.

    Raises UsageError where no step has a truth, where two fields claim to be the same draw, and
    for truth on another grid.
    """
    drawn = [one for one in ensembles(forecasts) if wish.wants(one.name, one.moment)]
    told = [one for one in summaries(forecasts) if wish.wants(one.name, one.moment)]
    known = [one for one in drawn if truth.has(one.name, one.moment)]
    known_told = [one for one in told if truth.has(one.name, one.moment)]
    if not known and not known_told:
        raise UsageError(_nothing([*drawn, *told], truth))
    usual = _usual_draws(known)
    kept = [one for one in known if one.count == usual[one.name, one.grid]]
    sources = _Sources(truth, baseline)
    results, statistics = _of_draws(kept, sources, wish), _of_statistics(known_told, sources)
    if not results and not statistics:
        raise UsageError(f"none of {sources.bare} fields with a truth has a coarse one beside it")
    return Outcome(
        results=results,
        statistics=statistics,
        without_truth=len(drawn) + len(told) - len(known) - len(known_told),
        other_draws=len(known) - len(kept),
        without_baseline=sources.bare,
    )


def _of_draws(found: Sequence[Ensemble], sources: _Sources, wish: Wish) -> tuple[Verified, ...]:
    verifiers: dict[tuple[str, Grid], Verifier] = {}
    for one in found:
        read = sources.read(one.name, one.moment, one.grid)
        if read is None:
            continue
        limits = wish.thresholds.get(one.name, ())
        subject = Subject(one.name, one.units, one.grid, one.count, limits)
        verifier = verifiers.setdefault((one.name, one.grid), Verifier(subject))
        day = one.moment.valid_time.date()
        verifier.add(State(day, one.moment.minutes, one.values(), *read))
    return tuple(one.verified() for one in verifiers.values())


def _of_statistics(found: Sequence[Summary], sources: _Sources) -> tuple[Told, ...]:
    scorers: dict[tuple[str, Statistic, Grid], StatisticScorer] = {}
    for one in found:
        read = sources.read(one.name, one.moment, one.grid)
        if read is None:
            continue
        made = StatisticScorer(one.name, one.units, one.grid, one.statistic)
        scorer = scorers.setdefault((one.name, one.statistic, one.grid), made)
        scorer.add(one.moment.valid_time.date(), one.values(), *read)
    return tuple(one.told() for one in scorers.values())


def _usual_draws(found: Sequence[Ensemble]) -> Mapping[tuple[str, Grid], int]:
    """Return how many draws most steps have; of two that are as frequent the larger."""
    counts: dict[tuple[str, Grid], Counter[int]] = defaultdict(Counter)
    for one in found:
        counts[one.name, one.grid][one.count] += 1
    return {key: max(count, key=lambda n: (count[n], n)) for key, count in counts.items()}


def _nothing(found: Sequence[Ensemble | Summary], truth: Truth) -> str:
    """Say why nothing can be verified."""
    if not found:
        return "the forecasts hold no draw and no statistic that is asked for"
    times = sorted(one.moment.valid_time for one in found)
    names = ", ".join(sorted({one.name for one in found}))
    known = sorted({entry.name for entry in truth.entries}) or ["nothing"]
    ends = sorted(entry.moment.valid_time for entry in truth.entries)
    span = f", {ends[0]:%Y-%m-%d %H:%M} to {ends[-1]:%Y-%m-%d %H:%M}" if ends else ""
    return (
        f"no step has a truth: the forecasts hold {names}, valid {times[0]:%Y-%m-%d %H:%M} to "
        f"{times[-1]:%Y-%m-%d %H:%M}; the truth holds {', '.join(known)}{span}"
    )
