"""Writes a regridding down as a matrix, found by asking for it a few times with single points.

MIR makes its weights anew for every field, 9 ms for cubic ones to 1 degree and 3 ms for box
averages from there; with the matrix it is 1 ms and 0.2 ms.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from streamer.domain import Grid

Values = NDArray[np.float64]
#: Takes a field (h, w) of one grid to another, (H, W).
Apply = Callable[[Values], Values]

#: Points that are asked for together lie so many spacings of the coarser grid apart: a cubic
#: stencil reaches two.
_APART = 6
#: A finer grid would take longer to ask than its fields to come.
_MOST_CALLS = 16
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Which points of the source are asked for together.

    Two grids that go round the globe look the same after a shift by `phases` columns of the
    source and `shift` of the target, so the first `phases` columns tell all. Rows `apart` from
    each other are asked in one column, others of the same call `wide` columns further on.
    """

    source: Grid
    target: Grid
    phases: int
    shift: int
    apart: int
    wide: int

    @property
    def slots(self) -> int:
        """Columns that are asked in one call; none opposite another, since stencils cross poles."""
        return self.source.columns // 2 // self.wide

    @property
    def calls(self) -> int:
        """How often the regridding is asked."""
        return math.ceil(self.apart * self.phases / self.slots)

    def starts(self, call: int) -> list[tuple[int, int]]:
        """Return first row and column of each slot in a call."""
        first = call * self.slots
        every = range(first, min(first + self.slots, self.apart * self.phases))
        return [(i % self.apart, (i - first) * self.wide + i // self.apart) for i in every]


def written_down(apply: Apply, source: Grid, target: Grid) -> csr_array | None:
    """Return a linear regridding as a matrix, (H * W, h * w), or None where that fails.

    Both grids must go round the globe, and no point may reach far. The matrix must repeat `apply`
    on a field of noise to 1e-9.
    """
    pattern = _pattern(source, target)
    if pattern is None or pattern.calls > _MOST_CALLS:
        return None
    parts = [_ask(apply, pattern, call) for call in range(pattern.calls)]
    weights, into, out_of = (np.concatenate(part) for part in zip(*parts, strict=True))
    size = (target.rows * target.columns, source.rows * source.columns)
    matrix = csr_array((weights, (into, out_of)), shape=size)
    noise = np.random.default_rng(0).standard_normal(source.shape)
    found = (matrix @ noise.ravel()).reshape(target.shape)
    return matrix if np.abs(found - apply(noise)).max() < _TOLERANCE else None


def _pattern(source: Grid, target: Grid) -> _Pattern | None:
    if not (source.is_periodic and target.is_periodic):
        return None
    turns = math.gcd(source.columns, target.columns)
    phases, shift = source.columns // turns, target.columns // turns
    apart = math.ceil(_APART * max(1.0, target.spacing_lat / source.spacing_lat))
    wide = math.ceil(_APART * max(1.0, target.spacing_lon / source.spacing_lon) + phases)
    if 2 * wide > source.columns:
        return None
    return _Pattern(source, target, phases, shift, min(apart, source.rows), wide)


def _ask(
    apply: Apply, pattern: _Pattern, call: int
) -> tuple[Values, NDArray[np.int64], NDArray[np.int64]]:
    """Return weights with their places in target and source, for one call's points and shifts."""
    source, target = pattern.source, pattern.target
    asked = np.zeros(source.shape)
    starts = np.array(pattern.starts(call))
    for row, column in starts:
        asked[row :: pattern.apart, column] = 1.0
    response = apply(asked)
    at_row, at_column = np.nonzero(response)
    slot = _nearest_slot(at_column, starts[:, 1], source, target)
    row = _nearest_row(at_row, starts[slot, 0], pattern)
    turns = np.arange(source.columns // pattern.phases)
    column = starts[slot, 1, None] + pattern.phases * turns
    column_there = at_column[:, None] + pattern.shift * turns
    into = at_row[:, None] * target.columns + column_there % target.columns
    out_of = row[:, None] * source.columns + column % source.columns
    weights = np.broadcast_to(response[at_row, at_column][:, None], into.shape)
    return weights.ravel(), into.ravel(), out_of.ravel()


def _nearest_slot(
    at_column: NDArray[np.int64], columns: NDArray[np.int64], source: Grid, target: Grid
) -> NDArray[np.int64]:
    """Find which asked column a response belongs to: the nearest, on this or the other side."""
    along = (target.west - source.west + at_column * target.spacing_lon) / source.spacing_lon
    half = source.columns / 2
    away = np.abs((along[:, None] - columns + half / 2) % half - half / 2)
    return np.asarray(away.argmin(axis=1), dtype=np.int64)


def _nearest_row(
    at_row: NDArray[np.int64], first: NDArray[np.int64], pattern: _Pattern
) -> NDArray[np.int64]:
    """Find which asked row a response belongs to: of those from `first` on, the nearest."""
    source, target = pattern.source, pattern.target
    down = (source.north - target.north + at_row * target.spacing_lat) / source.spacing_lat
    turn = np.rint((down - first) / pattern.apart).astype(np.int64)
    last = (source.rows - 1 - first) // pattern.apart
    return np.asarray(first + pattern.apart * np.clip(turn, 0, last), dtype=np.int64)
