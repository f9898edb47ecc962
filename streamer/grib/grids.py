"""Reads where a message's values are: in words, as a regular grid if it is one, and how fine."""

from dataclasses import dataclass

import numpy as np

from streamer.domain import Grid
from streamer.grib.codes import Handle, Values

#: Which grids the coarse operator takes as they are, and which first need a regular one between:
#: MIR knows no box averages of rotated and Lambert grids. The others MIR cannot read (Mercator,
#: polar stereographic), or its process dies of them (rotated Gaussian), or it would fetch their
#: coordinates from the network (ICON's unstructured grids).
DIRECT = ("regular_ll", "regular_gg", "reduced_gg", "reduced_ll", "healpix")
VIA_REGULAR = ("rotated_ll", "lambert")

#: MIR seeks Gaussian latitudes for minutes where a damaged header says N32816; O2560 is in use
_LARGEST_N = 8000
_METRES_PER_DEGREE = 111_195.0


class GridError(Exception):
    """A grid that contradicts itself or that nobody here can read."""


@dataclass(frozen=True, slots=True)
class InputGrid:
    """Where a message's values are.

    words: equal for two messages exactly if their grids are. spacing: the wider of the two
    directions, degrees. regular: the grid, if it is a regular latitude-longitude one.
    """

    kind: str
    words: str
    spacing: float
    regular: Grid | None = None


def read_grid(handle: Handle) -> InputGrid:
    """Read a message's grid; raises GridError by name for one that is not served."""
    kind = handle.text("gridType")
    if kind == "regular_ll":
        return _regular(handle)
    if kind not in DIRECT and kind not in VIA_REGULAR:
        raise GridError(f"grid type {kind}, want one of {', '.join(DIRECT + VIA_REGULAR)}")
    points = handle.integer("numberOfDataPoints")
    digest = handle.text("md5GridSection")[:12]
    if kind == "healpix":
        # A HEALPix pixel has an area of 4 pi / (12 Nside^2).
        nside = handle.integer("Nside")
        return InputGrid(kind, f"healpix H{nside} {digest}", 58.63 / nside)
    if kind in ("regular_gg", "reduced_gg"):
        n = handle.integer("N")
        if not 0 < n <= _LARGEST_N:
            raise GridError(f"{kind} N{n}, want 1 to {_LARGEST_N}")
        return InputGrid(kind, f"{kind} N{n} of {points} points {digest}", 90.0 / n)
    return InputGrid(kind, f"{kind} of {points} points {digest}", _spacing(handle, kind))


def oriented(values: Values, handle: Handle) -> Values:
    """Order a regular grid's values north to south and west to east: (rows, columns).

    A last column that repeats the first one, 360 degrees on, is left out.
    """
    rows, columns = handle.integer("Nj"), handle.integer("Ni")
    by_column = bool(handle.integer("jPointsAreConsecutive"))
    lines = values.reshape((columns, rows) if by_column else (rows, columns)).copy()
    if handle.integer("alternativeRowScanning"):
        lines[1::2] = lines[1::2, ::-1]
    field = lines.T if by_column else lines
    if handle.integer("iScansNegatively"):
        field = field[:, ::-1]
    if handle.integer("jScansPositively"):
        field = field[::-1]
    return np.ascontiguousarray(field[:, : _regular_grid(handle).columns])


def _spacing(handle: Handle, kind: str) -> float:
    if kind == "lambert":
        return max(handle.number("DxInMetres"), handle.number("DyInMetres")) / _METRES_PER_DEGREE
    if kind == "rotated_ll" and not _is_whole(handle):
        raise GridError("a rotated grid of a limited area; MIR reads those of the whole globe only")
    across = "jDirectionIncrementInDegrees"
    along = across if kind == "reduced_ll" else "iDirectionIncrementInDegrees"
    if not handle.has(across) or not handle.has(along):
        raise GridError(f"{kind} without increments")
    return max(handle.number(across), handle.number(along))


def _is_whole(handle: Handle) -> bool:
    """Whether a rotated grid goes round the globe and within a row of its poles."""
    first, last = (handle.number(f"latitudeOf{end}GridPointInDegrees") for end in ("First", "Last"))
    along = handle.number("iDirectionIncrementInDegrees") * handle.integer("Ni")
    return abs(along - 360.0) < 0.01 and 180.0 - abs(first - last) < 2 * 180.0 / handle.integer(
        "Nj"
    )


def _regular(handle: Handle) -> InputGrid:
    grid = _regular_grid(handle)
    words = (
        f"regular_ll {grid.rows}x{grid.columns} from {grid.north:g} N {grid.west:g} E "
        f"by {grid.spacing_lat:.7g}x{grid.spacing_lon:.7g}"
    )
    return InputGrid("regular_ll", words, max(grid.spacing_lat, grid.spacing_lon), grid)


def _regular_grid(handle: Handle) -> Grid:
    rows, columns = handle.integer("Nj"), handle.integer("Ni")
    if rows < 2 or columns < 2:
        raise GridError(f"a grid of {rows} rows and {columns} columns, want at least 2 of each")
    if handle.integer("numberOfDataPoints") != rows * columns:
        found = handle.integer("numberOfDataPoints")
        raise GridError(f"{found} points on {rows} rows of {columns} columns")
    first, last = (handle.number(f"latitudeOf{end}GridPointInDegrees") for end in ("First", "Last"))
    west, east = (handle.number(f"longitudeOf{end}GridPointInDegrees") for end in ("First", "Last"))
    if handle.integer("iScansNegatively"):
        west, east = east, west
    high, low = (last, first) if handle.integer("jScansPositively") else (first, last)
    if high > 90 + 1e-6 or low < -90 - 1e-6 or high <= low:
        raise GridError(f"rows from {high:g} N to {low:g} N in this order of scanning")
    width = (east - west) % 360.0 or 360.0
    spacing_lat = _checked(handle, "j", high - low, rows)
    spacing_lon = _checked(handle, "i", width, columns)
    repeats = columns * spacing_lon > 360.0 + spacing_lon / 2
    west = west - 360.0 if west >= 180.0 else west
    return Grid(high, west, spacing_lat, spacing_lon, rows, columns - 1 if repeats else columns)


def _checked(handle: Handle, direction: str, extent: float, count: int) -> float:
    """Return the spacing between `count` points; the stated increment must agree with it.

    Increments are rounded when written, so the first and last points say it better.
    """
    spacing = round(extent / (count - 1), 9)
    key = f"{direction}DirectionIncrementInDegrees"
    stated = handle.number(key) if handle.has(key) else 0.0
    if stated and abs(stated - spacing) * (count - 1) > spacing / 2:
        raise GridError(
            f"{count} points over {extent:g} degrees are {spacing:g} apart, "
            f"but {key} is {stated:g}: which one is wrong cannot be known"
        )
    return spacing


def covers(found: Grid, wanted: Grid) -> bool:
    """Whether a regular grid reaches every point of another, to within its own spacing."""
    slack_lat, slack_lon = found.spacing_lat * (1 + 1e-6), found.spacing_lon * (1 + 1e-6)
    rows = (
        found.north + slack_lat >= wanted.north
        and found.latitudes[-1] - slack_lat <= wanted.latitudes[-1]
    )
    if found.is_periodic:
        return bool(rows)
    start = (wanted.west - found.west + slack_lon) % 360.0
    width = (wanted.columns - 1) * wanted.spacing_lon
    reach = (found.columns - 1) * found.spacing_lon + 2 * slack_lon
    return bool(rows) and not wanted.is_periodic and start + width <= reach


def reach(grid: Grid) -> str:
    """Say in words how far a grid goes."""
    return f"{grid.north:g} N {grid.west:g} E to {grid.latitudes[-1]:g} N {grid.longitudes[-1]:g} E"
