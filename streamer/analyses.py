"""What is known to be true: analyses in files, by parameter and valid time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from streamer.catalogue import Entry, Moment
from streamer.domain import Grid
from streamer.downscale.derived import DERIVED
from streamer.grib.grids import reach
from streamer.published import from_inputs
from streamer.verify.matching import window

Array64 = NDArray[np.float64]


@dataclass(slots=True)
class Truth:
    """Analyses by parameter, valid time, and how long they gather; of two the younger one."""

    entries: dict[tuple[str, datetime, int], Entry] = field(default_factory=dict)

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


def _when(name: str, moment: Moment) -> tuple[str, datetime, int]:
    return name, moment.valid_time, moment.duration
