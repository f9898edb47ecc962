"""Which runs are open, and when one has ended: every step that it should have has an outcome."""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from streamer.domain import RunKey, StepKey
from streamer.intake.events import EndedRun, EndedStep, Outcome, RunEnded

Expected = Callable[[RunKey], tuple[int, ...]]

_NAMES_STEP = re.compile(rb"(?:[^/]*/){5}\d+m?")


def names_step(key: bytes | None) -> bool:
    """Whether a record's key ends in the step: its run may then lie in several partitions."""
    return key is not None and _NAMES_STEP.fullmatch(key) is not None


@dataclass(slots=True)
class _Run:
    """A run as far as it is known. expected: minutes; active: of steps open or in flight."""

    partition: int
    newest: datetime
    expected: set[int]
    is_spread: bool = False
    active: set[int] = field(default_factory=set)
    outcomes: dict[int, Outcome] = field(default_factory=dict)


class Runs:
    """Runs by key, one member each: open ones, and ended ones as far as the repeat horizon.

    expected: the lead times in minutes that a run should have.
    A run whose records may lie in several partitions is spread: it never ends, nobody sees all.
    """

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._open: dict[RunKey, _Run] = {}
        self._ended: dict[RunKey, _Run] = {}

    @property
    def open_count(self) -> int:
        """How many runs are open and will end."""
        return sum(not run.is_spread for run in self._open.values())

    def begin(self, key: StepKey, partition: int, time: datetime, *, is_spread: bool) -> None:
        """Note that a step of a run keeps a field: the run is open, again if need be."""
        run = self._open.get(key.run) or self._reopened(key.run)
        if run is None:
            run = self._open[key.run] = _Run(partition, time, set(self._expected(key.run)))
        run.is_spread |= is_spread or run.partition != partition
        run.newest = max(run.newest, time)
        run.expected.add(key.minutes)
        run.active.add(key.minutes)
        run.outcomes.pop(key.minutes, None)

    def end_step(self, key: StepKey, outcome: Outcome, newest: datetime) -> RunEnded | None:
        """Note a step's end; return the run's, where that was the last step.

        newest: record time of what came for the step, which may have been another step's.
        """
        run = self._open[key.run]
        run.newest = max(run.newest, newest)
        run.active.discard(key.minutes)
        run.outcomes[key.minutes] = outcome
        return self.end(key.run)

    def end(self, key: RunKey) -> RunEnded | None:
        """End a run of which every step has ended; None where it is not so."""
        run = self._open[key]
        if not _can_end(run) or not run.expected <= run.outcomes.keys():
            return None
        self._ended[key] = self._open.pop(key)
        return RunEnded(key, run.partition, tuple(sorted(run.outcomes.items())), run.newest)

    def is_spread(self, key: RunKey) -> bool:
        """Whether a run's records may lie in several partitions."""
        run = self._open.get(key) or self._ended.get(key)
        return run is not None and run.is_spread

    def partition_of(self, key: RunKey) -> int | None:
        """Return the partition of an open run's first record; None where no such run is open."""
        run = self._open.get(key)
        return None if run is None else run.partition

    def awaits(self, key: StepKey) -> bool:
        """Whether a step of which nothing came yet will end with its run, at the latest."""
        run = self._open.get(key.run)
        if run is None or run.is_spread or key.minutes in run.active:
            return False
        return key.minutes in run.expected and key.minutes not in run.outcomes

    def silent(self, partition: int, since: datetime) -> list[RunKey]:
        """Return the open runs of a partition with no record after a time and no active step."""
        return [
            key
            for key, run in self._open.items()
            if run.partition == partition and run.newest <= since and _can_end(run)
        ]

    def idle(self) -> list[RunKey]:
        """Return all open runs with no active step."""
        return [key for key, run in self._open.items() if _can_end(run)]

    def unseen(self, key: RunKey) -> tuple[list[StepKey], int, datetime]:
        """Return an open run's steps without an outcome, its partition, its newest record time."""
        run = self._open[key]
        steps = [StepKey(key, minutes) for minutes in sorted(run.expected - run.outcomes.keys())]
        return steps, run.partition, run.newest

    def restore(
        self, steps: Iterable[EndedStep], runs: Iterable[EndedRun], partitions: Collection[int]
    ) -> None:
        """Rebuild from published records, told in any order, which runs of partitions are open.

        A run is open when a step of it has records newer than the run's own: it was reopened.
        """
        elsewhere = set()
        for step in steps:
            if step.partition in partitions:
                self._recall(step)
            else:
                elsewhere.add(step.key.run)
        for key in elsewhere & self._open.keys():
            self._open[key].is_spread = True
        for ended in runs:
            run = self._open.get(ended.key)
            if run is None or run.partition not in partitions or run.active:
                continue
            if run.newest <= ended.newest_record_time:
                self._ended[ended.key] = self._open.pop(ended.key)

    def forget(self, partition: int) -> None:
        """Forget the runs of a partition that left; spread ones may have steps elsewhere."""
        self._open = {
            key: run
            for key, run in self._open.items()
            if run.partition != partition or run.is_spread
        }
        self._ended = {k: r for k, r in self._ended.items() if r.partition != partition}

    def prune(self, partition: int, oldest: datetime) -> None:
        """Forget runs of a partition that ended, and all spread ones, silent since `oldest`."""
        self._ended = {
            key: run
            for key, run in self._ended.items()
            if run.partition != partition or run.newest >= oldest
        }
        self._open = {
            key: run
            for key, run in self._open.items()
            if not run.is_spread or run.active or run.newest >= oldest
        }

    def _reopened(self, key: RunKey) -> _Run | None:
        """Open an ended run again; only steps that are known count, others were told before."""
        run = self._ended.pop(key, None)
        if run is not None:
            run.expected = set(run.outcomes)
            self._open[key] = run
        return run

    def _recall(self, step: EndedStep) -> None:
        key = step.key.run
        run = self._open.get(key)
        if run is None:
            expected = set(self._expected(key))
            run = _Run(step.partition, step.newest_record_time, expected)
            self._open[key] = run
        run.is_spread |= step.is_run_spread or run.partition != step.partition
        run.newest = max(run.newest, step.newest_record_time)
        run.outcomes[step.key.minutes] = step.outcome


def _can_end(run: _Run) -> bool:
    return not run.is_spread and not run.active
