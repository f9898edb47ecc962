"""Lays tiles along one direction of a grid, and gives each its share of every point."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

#: The largest part of a block that a grid's rest may be without getting a block of its own.
_REST = 0.1


@dataclass(frozen=True, slots=True)
class Axis:
    """The tiles along rows or along columns.

    starts: first point of each tile. weights: (tiles, size), the tiles' shares at each of their
    points; the shares of all tiles that cover a point add up to 1. A point that no tile covers
    gets 0 when tiles are blended: what blocks leave over, and all beyond a window.
    """

    length: int
    size: int
    starts: tuple[int, ...]
    weights: NDArray[np.float32] = field(compare=False)

    def moved(self, points: int, length: int) -> "Axis":
        """Return it as a part of a longer axis, so many points further on; it may wrap."""
        starts = tuple((start + points) % length for start in self.starts)
        return Axis(length, self.size, starts, self.weights)


def edged(length: int, size: int, overlap: int, offset: int = 0) -> Axis:
    """Tiles between two edges: the first begins at one, the last ends at the other."""
    last = length - size
    count = 1 + math.ceil(last / (size - overlap))
    starts = [round(i * last / max(count - 1, 1)) for i in range(count)]
    if count > 1:
        # Further than to the next tile would leave a hole that one tile more cannot fill.
        moved = [start + offset % starts[1] for start in starts]
        starts = sorted({0, last, *(start for start in moved if 0 < start < last)})
    shared = [first + size - second for first, second in pairwise(starts)]
    # An edge of the grid has nobody to share with: no ramp there.
    return Axis(length, size, tuple(starts), _weights(length, size, starts, [0, *shared, 0]))


def all_round(length: int, size: int, overlap: int, offset: int = 0) -> Axis:
    """Tiles all the way round a circle of points."""
    count = math.ceil(length / (size - overlap))
    if count == 1:
        # One tile that meets itself at its own edge shares nothing.
        return Axis(length, size, (offset % length,), np.ones((1, size), dtype=np.float32))
    starts = sorted((round(i * length / count) + offset) % length for i in range(count))
    following = [*starts[1:], starts[0] + length]
    shared = [first + size - second for first, second in zip(starts, following, strict=True)]
    return Axis(length, size, tuple(starts), _weights(length, size, starts, [shared[-1], *shared]))


def edge_to_edge(length: int, size: int) -> Axis:
    """Tiles one behind the other, none of which shares a point."""
    count, rest = divmod(length, size)
    starts = [i * size for i in range(count)]
    weights = np.ones((count, size), dtype=np.float32)
    if rest > _REST * size:
        starts.append(length - size)
        last = (np.arange(size) >= size - rest).astype(np.float32)
        weights = np.vstack((weights, last))
    return Axis(length, size, tuple(starts), weights)


def _weights(
    length: int, size: int, starts: Sequence[int], shared: Sequence[int]
) -> NDArray[np.float32]:
    """Return each tile's share, (tiles, size): raised cosines, divided by their sum.

    shared: points that the tile before the first, the first and the second, ... have in common.
    """
    windows = np.stack([_window_of(size, shared[i], shared[i + 1]) for i in range(len(starts))])
    places = (np.asarray(starts)[:, None] + np.arange(size)) % length
    total = np.zeros(length)
    np.add.at(total, places, windows)
    return (windows / total[places]).astype(np.float32)


def _window_of(size: int, before: int, after: int) -> NDArray[np.float64]:
    """Rise over `before` points and fall over `after`; two neighbours' ramps add up to 1."""
    window = np.ones(size)
    window[:before] *= _ramp(before)
    window[size - after :] *= _ramp(after)[::-1]
    return window


def _ramp(points: int) -> NDArray[np.float64]:
    """Return sin^2 from nearly 0 to nearly 1, taken at the middles of the points."""
    return np.sin(0.5 * np.pi * (np.arange(points) + 0.5) / max(points, 1)) ** 2
