"""Parts of the fine grid that products are for: where they lie, which tiles they need.

A region is cut out of what the whole grid would be: all tiles that have a share in one of its
points are computed, with the noise that they have in the whole, so that its pixels are the
whole's to the last bit.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from engines.errors import UsageError
from engines.noise import Window
from streamer.domain import Array, Grid
from streamer.downscale.axes import Axis
from streamer.downscale.tiles import Layout, crop

#: Sizes on the quarter-degree globe, those of IPSL-AID (https://arxiv.org/abs/2604.03275).
QUARTER_DEGREE = (721, 1440)
QUARTER_ROWS, QUARTER_COLUMNS = (144, 288), (360, 720)

#: Parts of a spacing that positions are rounded to before they become points, so that 0.1 + 0.2
#: degrees is a point of a grid of 0.1 degrees.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the fine grid.

    centre: latitude and longitude in degrees, -90 to 90 and -180 to 360; the middle, or of an
    even number of points the first behind it. size: (rows, columns) in points; None: one tile,
    on the quarter-degree globe 144x360.
    """

    name: str
    centre: tuple[float, float]
    size: tuple[int, int] | None = None


#: The regions that IPSL-AID names, by their centres.
NAMED: Mapping[str, Region] = MappingProxyType(
    {
        "us": Region("us", (39.0, 262.0)),
        "europe": Region("europe", (50.0, 10.0)),
        "asia": Region("asia", (35.0, 100.0)),
    }
)


def named(name: str, own: Mapping[str, Region]) -> Region:
    """Return a region by its name: one of the user's own, or one that ships.

    Raises UsageError for a name that nobody gave, with the nearest that somebody did.
    """
    known = {**NAMED, **own}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"no region is named {name}, there are {', '.join(sorted(known))}{hint}")
    return known[name]


def window(region: Region, grid: Grid, tile: tuple[int, int]) -> Window:
    """Return the points of the grid that a region takes.

    A region is moved to lie within the grid's rows, and within its columns where they do not go
    all the way round; where they do it may wrap: its last column then passes the grid's.
    tile: (rows, columns) of the bundle's tiles. Raises UsageError for a size that the grid does
    not offer, and for a centre that lies outside it.
    """
    height, width = _size(region, grid, tile)
    row, column = _centre(region, grid)
    top = min(max(row - height // 2, 0), grid.rows - height)
    if grid.is_periodic:
        left = (column - width // 2) % grid.columns
    else:
        left = min(max(column - width // 2, 0), grid.columns - width)
    return Window((top, top + height), (left, left + width), grid.columns)


def whole(grid: Grid) -> Window:
    """Return all points of the grid, for a product that names no region."""
    return Window((0, grid.rows), (0, grid.columns), grid.columns)


def cropped(array: Array, window: Window) -> Array:
    """Cut a region, (..., h, w), out of a field or more on the whole grid, (..., H, W).

    It is a view of `array` unless the region wraps.
    """
    return crop(array, window.rows, window.columns)


def grid_of(window: Window, grid: Grid) -> Grid:
    """Return the grid of a region's points."""
    return grid.part(window.rows, window.columns)


def tiles_of(window: Window, layout: Layout) -> tuple[int, ...]:
    """Return which of the layout's tiles have a share in a region's points, rising."""
    rows = _sharing(layout.rows, *window.rows)
    columns = _sharing(layout.columns, *window.columns)
    across = len(layout.columns.starts)
    return tuple(row * across + column for row in rows for column in columns)


def tiles_of_all(windows: Iterable[Window], layout: Layout) -> tuple[int, ...]:
    """Return the tiles that any of some regions needs, each once, rising."""
    return tuple(sorted({tile for window in windows for tile in tiles_of(window, layout)}))


def needed_of(tiles: Iterable[int], layout: Layout) -> tuple[Window, ...]:
    """Return the points that some of the layout's tiles are made from: what input must reach."""
    return tuple(
        Window(
            (tile.row, tile.row + tile.height),
            (tile.column, tile.column + tile.width),
            layout.columns.length,
        )
        for tile in (layout.tiles[i] for i in tiles)
    )


def _sharing(axis: Axis, start: int, stop: int) -> list[int]:
    """Return which tiles of an axis have a share at one of the points [start, stop)."""
    asked = np.zeros(axis.length, dtype=bool)
    asked[np.arange(start, stop) % axis.length] = True
    places = (np.asarray(axis.starts)[:, None] + np.arange(axis.size)) % axis.length
    return [int(i) for i in np.flatnonzero((asked[places] & (axis.weights > 0)).any(axis=1))]


def _size(region: Region, grid: Grid, tile: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of a region, or raise UsageError with what is on offer."""
    offered = _offered(grid, tile)
    height, width = region.size or (offered[0][0], offered[1][0])
    if height not in offered[0] or width not in offered[1]:
        rows, columns = (" or ".join(map(str, sizes)) for sizes in offered)
        raise UsageError(
            f"region {region.name}: found {height}x{width} points, wanted {rows} rows and "
            f"{columns} columns of the grid of {grid.rows}x{grid.columns}"
        )
    return height, width


def _offered(grid: Grid, tile: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the rows and the columns that a region may have, the default first."""
    if grid.shape == QUARTER_DEGREE:
        return QUARTER_ROWS, QUARTER_COLUMNS
    rows, columns = (
        tuple(range(size, length + 1, size)) for size, length in zip(tile, grid.shape, strict=True)
    )
    return rows, columns


def _centre(region: Region, grid: Grid) -> tuple[int, int]:
    """Return the point nearest to a region's centre, or raise UsageError where there is none."""
    lat, lon = region.centre
    if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 360.0):
        raise UsageError(
            f"region {region.name}: found its centre at {lat:g} N {lon:g} E, wanted -90 to 90 N "
            "and -180 to 360 E"
        )
    down = _points(grid.north - lat, grid.spacing_lat)
    along = _points((lon - grid.west + grid.spacing_lon / 2) % 360.0, grid.spacing_lon) - 0.5
    # Up to half a spacing outside, an edge is what is nearest.
    if not (-0.5 <= down <= grid.rows - 0.5 and along <= grid.columns - 0.5):
        raise UsageError(
            f"region {region.name}: found its centre at {lat:g} N {lon:g} E, wanted it in the "
            f"bundle's area, {grid.north:g} N {grid.west:g} E to {grid.latitudes[-1]:g} N "
            f"{grid.longitudes[-1]:g} E"
        )
    row, column = math.floor(down + 0.5), math.floor(along + 0.5)
    return min(row, grid.rows - 1), min(column, grid.columns - 1)


def _points(degrees: float, spacing: float) -> float:
    """Return how many points so many degrees are."""
    return round(degrees / spacing, _DIGITS)
