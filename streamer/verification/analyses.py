"""What is known to be true: analyses in files, by parameter and valid time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from streamer.domain import Grid
from streamer.downscale.derived import DERIVED
from streamer.grib.grids import reach
from streamer.verification.catalogue import Entry, Moment
from streamer.verification.published import from_inputs
from streamer.verification.shelf import Shelf
from streamer.verify.matching import window

Array64 = NDArray[np.float64]


class Truth:
    """Analyses by parameter and valid time; of several the one of the shortest lead time."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._shelf = Shelf(entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything that may be truth."""
        return self._shelf.entries

    def has(self, name: str, moment: Moment) -> bool:
        """Whether the truth for a forecast's parameter and moment is known."""
        inputs = DERIVED[name].inputs if name in DERIVED else ()
        return bool(self._shelf.spans(name, moment)) or (
            bool(inputs) and all(self._shelf.spans(one, moment) for one in inputs)
        )

    def values(self, name: str, moment: Moment, grid: Grid) -> Array64 | None:
        """Decode it: (H, W) on a grid whose points it has; None where there is none.

        Raises UsageError if the truth is on another grid.
        """

        def read(one: str) -> Array64 | None:
            spans = self._shelf.spans(one, moment)
            return spans[0].values(lambda entry: on_grid(entry, grid)) if spans else None

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
