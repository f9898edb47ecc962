"""Covers a grid with overlapping tiles, cuts fields into them and blends them without seams.

Blocks without overlap, as IPSL-AID lays them, are there to be compared with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from streamer.domain import Array

#: The largest part of a block that a grid's rest may be without getting a block of its own.
_REST = 0.1


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A rectangle of the fine grid. column + width may pass the grid's width: it wraps."""

    row: int
    column: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Axis:
    """The tiles along rows or along columns.

    starts: first point of each tile. weights: (tiles, size), the tiles' shares at each of their
    points; the shares of all tiles that cover a point add up to 1. A point that no tile covers,
    which only blocks leave over, gets 0 when tiles are blended.
    """

    length: int
    size: int
    starts: tuple[int, ...]
    weights: NDArray[np.float32] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a grid is covered: every row of tiles crossed with every column of tiles.

    has_own_noise: each tile's noise belongs to the tile, not to the points that it covers.
    """

    rows: Axis
    columns: Axis
    has_own_noise: bool = False

    @classmethod
    def cover(
        cls,
        shape: tuple[int, int],
        tile: tuple[int, int],
        overlap: tuple[int, int],
        *,
        periodic: bool,
        offset: tuple[int, int] = (0, 0),
    ) -> "Layout":
        """Spread as few tiles as the overlap allows evenly over a grid of `shape` (H, W).

        overlap: the least that neighbours share, (rows, columns); they may share more.
        periodic: columns go all the way round, and tiles wrap. offset: moves all tiles by so
        many points; the edges of the grid, where there are some, keep a tile each.
        Raises UsageError when a tile is larger than the grid or than its overlap allows.
        """
        for name, length, size, shared in zip(
            ("rows", "columns"), shape, tile, overlap, strict=True
        ):
            if not 0 <= shared < size <= length:
                raise UsageError(
                    f"tiles of {size} {name} with overlap {shared} do not fit a grid of {length} "
                    f"{name}, wanted 0 <= overlap < tile <= grid"
                )
        rows = _edged_axis(shape[0], tile[0], overlap[0], offset[0])
        spread = _round_axis if periodic else _edged_axis
        return cls(rows, spread(shape[1], tile[1], overlap[1], offset[1]))

    @classmethod
    def blocks(cls, shape: tuple[int, int], tile: tuple[int, int]) -> "Layout":
        """Lay tiles edge to edge from the north-west, each with noise of its own: `ipsl-aid`.

        It has seams, and is there to be compared with. Of 721x1440 points, 5x4 blocks of 144x360
        leave over the row at 90 S. A rest of more than a tenth of a block gets one of its own,
        moved back to the edge, which keeps only the points that are left.
        Raises UsageError when a tile is larger than the grid.
        """
        for name, length, size in zip(("rows", "columns"), shape, tile, strict=True):
            if not 0 < size <= length:
                raise UsageError(f"blocks of {size} {name} do not fit a grid of {length} {name}")
        rows, columns = (_block_axis(*sizes) for sizes in zip(shape, tile, strict=True))
        return cls(rows, columns, has_own_noise=True)

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> "Layout":
        """Cover a grid with one tile of its own size, for a denoiser that looks at points only."""
        return cls.cover(shape, shape, (0, 0), periodic=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the grid."""
        return self.rows.length, self.columns.length

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, west to east and then north to south; the order that `cut` gives."""
        height, width = self.rows.size, self.columns.size
        return tuple(
            Tile(row, column, height, width)
            for row in self.rows.starts
            for column in self.columns.starts
        )


def cut(array: Array, layout: Layout) -> list[Array]:
    """Cut (C, H, W) into tiles (C, h, w), in the layout's order.

    A tile that does not wrap is a view of `array`, so that cutting costs nothing.
    """
    return [
        crop(array, (tile.row, tile.row + tile.height), (tile.column, tile.column + tile.width))
        for tile in layout.tiles
    ]


def crop(array: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Cut a rectangle, (..., h, w), out of the whole grid, (..., H, W).

    rows, columns: [start, stop); a stop past the last column wraps. A view unless it does.
    """
    band, width = array[..., slice(*rows), :], array.shape[-1]
    start, stop = columns
    if stop <= width:
        return band[..., start:stop]
    return np.concatenate((band[..., start:], band[..., : stop - width]), axis=-1)


def stitch(
    tiles: Sequence[Array],
    layout: Layout,
    out: Array | None = None,
    wanted: Sequence[int] | None = None,
) -> Array:
    """Blend tiles (C, h, w), in the layout's order, into (C, H, W) float32.

    Where tiles agree the result is theirs, to rounding. Always adds in the same order, so that
    the same tiles give the same bytes. out: where to write, (C, H, W). wanted: which of the
    layout's tiles are given, rising; points in which another has a share are NaN, all others
    have the same bytes as if all were given.
    """
    given = dict(zip(range(len(layout.tiles)) if wanted is None else wanted, tiles, strict=True))
    if out is None:
        out = np.empty((tiles[0].shape[0], *layout.shape), dtype=np.float32)
    if layout.tiles == (Tile(0, 0, *layout.shape),):
        out[...] = tiles[0]
        return out
    out[...] = 0.0
    shares = ((r[:, None], c) for r in layout.rows.weights for c in layout.columns.weights)
    for i, (tile, (rows, columns)) in enumerate(zip(layout.tiles, shares, strict=True)):
        share = rows * columns
        weighted = given[i] * share if i in given else _missing(share)
        _add(out, weighted, tile)
    return out


def _missing(share: Array) -> Array:
    """Return NaN wherever a tile has a share."""
    return np.where(share > 0, np.float32(np.nan), np.float32(0.0))


def _add(out: Array, weighted: Array, tile: Tile) -> None:
    band = out[:, tile.row : tile.row + tile.height]
    before = min(tile.width, out.shape[-1] - tile.column)
    band[..., tile.column : tile.column + before] += weighted[..., :before]
    if before < tile.width:
        band[..., : tile.width - before] += weighted[..., before:]


def _edged_axis(length: int, size: int, overlap: int, offset: int) -> Axis:
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


def _round_axis(length: int, size: int, overlap: int, offset: int) -> Axis:
    """Tiles all the way round a circle of points."""
    count = math.ceil(length / (size - overlap))
    if count == 1:
        # One tile that meets itself at its own edge shares nothing.
        return Axis(length, size, (offset % length,), np.ones((1, size), dtype=np.float32))
    starts = sorted((round(i * length / count) + offset) % length for i in range(count))
    following = [*starts[1:], starts[0] + length]
    shared = [first + size - second for first, second in zip(starts, following, strict=True)]
    return Axis(length, size, tuple(starts), _weights(length, size, starts, [shared[-1], *shared]))


def _block_axis(length: int, size: int) -> Axis:
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
