"""Covers a grid with overlapping tiles, cuts fields into them and blends them without seams.

Blocks without overlap, as IPSL-AID lays them, are there to be compared with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.errors import UsageError
from engines.noise import Window
from streamer.domain import Array
from streamer.downscale.axes import Axis, all_round, edge_to_edge, edged


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A rectangle of the fine grid. column + width may pass the grid's width: it wraps."""

    row: int
    column: int
    height: int
    width: int


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
        _refuse_unfit(shape, tile, overlap)
        rows = edged(shape[0], tile[0], overlap[0], offset[0])
        spread = all_round if periodic else edged
        return cls(rows, spread(shape[1], tile[1], overlap[1], offset[1]))

    @classmethod
    def within(
        cls,
        shape: tuple[int, int],
        tile: tuple[int, int],
        overlap: tuple[int, int],
        window: Window,
    ) -> "Layout":
        """Cover only a window of a grid of `shape` (H, W), for input that reaches no farther.

        No tile reaches beyond the window, so that its pixels are not those of the whole grid's
        layout: near its edges nothing lies beside a tile. The noise is the whole grid's.
        Raises UsageError when a tile is larger than the window or than its overlap allows.
        """
        (top, bottom), (left, right) = window.rows, window.columns
        _refuse_unfit((bottom - top, right - left), tile, overlap)
        return cls(
            edged(bottom - top, tile[0], overlap[0]).moved(top, shape[0]),
            edged(right - left, tile[1], overlap[1]).moved(left, shape[1]),
        )

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
        rows, columns = (edge_to_edge(*sizes) for sizes in zip(shape, tile, strict=True))
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
    chosen = range(len(layout.tiles)) if wanted is None else wanted
    if out is None:
        out = np.empty((tiles[0].shape[0], *layout.shape), dtype=np.float32)
    if layout.tiles == (Tile(0, 0, *layout.shape),):
        out[...] = tiles[0]
        return out
    shares = [r[:, None] * c for r in layout.rows.weights for c in layout.columns.weights]
    places = list(zip(layout.tiles, shares, strict=True))
    out[...] = 0.0 if wanted is None else _ground(places, layout.shape, set(wanted))
    for i, values in zip(chosen, tiles, strict=True):
        tile, share = places[i]
        _add(out, values * share, tile)
    return out


def _ground(places: list[tuple[Tile, Array]], shape: tuple[int, int], wanted: set[int]) -> Array:
    """Return what tiles are added to, (H, W): NaN where one that is not wanted has a share."""
    ground = np.zeros((1, *shape), dtype=np.float32)
    for i, (tile, share) in enumerate(places):
        if i not in wanted:
            hole = np.where(share > 0, np.float32(np.nan), np.float32(0.0))
            _add(ground, hole[None], tile)
    found: Array = ground[0]
    return found


def _add(out: Array, weighted: Array, tile: Tile) -> None:
    band = out[:, tile.row : tile.row + tile.height]
    before = min(tile.width, out.shape[-1] - tile.column)
    band[..., tile.column : tile.column + before] += weighted[..., :before]
    if before < tile.width:
        band[..., : tile.width - before] += weighted[..., before:]


def _refuse_unfit(shape: tuple[int, int], tile: tuple[int, int], overlap: tuple[int, int]) -> None:
    for name, length, size, shared in zip(("rows", "columns"), shape, tile, overlap, strict=True):
        if not 0 <= shared < size <= length:
            raise UsageError(
                f"tiles of {size} {name} with overlap {shared} do not fit a grid of {length} "
                f"{name}, wanted 0 <= overlap < tile <= grid"
            )
