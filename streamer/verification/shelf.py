"""Finds fields of a catalogue by what they are true for, amounts by when they fell.

Some centres' amounts gather from the start of a run: what fell in between is the difference of
two of them, as in the daemon.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from streamer.verification.catalogue import Entry, Moment

Array64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Span:
    """A field, less what had gathered before; `before` is None where it needs no difference."""

    entry: Entry
    before: Entry | None = None

    def values(self, read: Callable[[Entry], Array64]) -> Array64:
        """Read it, in the entry's units: amounts, or amounts an hour where it has those."""
        if self.before is None:
            return read(self.entry)
        late, early = self.entry.moment.duration / 60, self.before.moment.duration / 60
        if not self.entry.per_hour:
            return read(self.entry) - read(self.before)
        return (read(self.entry) * late - read(self.before) * early) / (late - early)


class Shelf:
    """Fields that are forecasts or analyses themselves; statistics are left aside."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._ends: dict[tuple[str, datetime], list[Entry]] = defaultdict(list)
        self._known: dict[tuple[str, Moment, int], Entry] = {}
        for entry in entries:
            if entry.statistic is None:
                self._ends[entry.name, entry.moment.valid_time].append(entry)
                self._known.setdefault((entry.name, entry.moment, entry.member), entry)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything that is on it."""
        return tuple(entry for many in self._ends.values() for entry in many)

    def spans(self, name: str, moment: Moment) -> list[Span]:
        """Return all that is true when a moment is, of whatever run, the shortest lead first."""
        found = []
        for entry in self._ends.get((name, moment.valid_time), ()):
            span = self._span(entry, moment.duration)
            if span is not None:
                found.append(span)
        return sorted(found, key=lambda one: (one.entry.moment.minutes, one.entry.member))

    def _span(self, entry: Entry, duration: int) -> Span | None:
        own = entry.moment
        if own.duration == duration:
            return Span(entry)
        if not 0 < duration < own.duration:
            return None
        before = Moment(own.reference_time, own.minutes - duration, own.begins)
        earlier = self._known.get((entry.name, before, entry.member))
        return None if earlier is None else Span(entry, earlier)
