"""Takes fields of a part of the globe to a global bundle's grids, NaN where they do not reach.

The part is laid into the globe that its lattice would make, and the globe regridded by the very
operators that whole fields pass. A point that leans on anything unknown is unknown itself, so
that what is known is what a field of the whole globe would give there.
"""

from collections.abc import Callable

import numpy as np

from streamer.domain import Array, Grid
from streamer.grib import regrid
from streamer.grib.codes import Values
from streamer.grib.manifest import Coarse

#: The weight below which an unknown point has no say: what rounding leaves of operators.
_NO_SAY = 1e-9
#: Parts of a spacing by which a lattice may miss the first column again.
_CLOSED = 1e-4


def globe_of(grid: Grid) -> Grid | None:
    """Continue a grid's lattice all round the globe and to its poles; None where it never closes.

    It starts at the grid's own first column.
    """
    columns = round(360.0 / grid.spacing_lon)
    if abs(columns * grid.spacing_lon - 360.0) > _CLOSED * grid.spacing_lon:
        return None
    above = int((90.0 - grid.north) / grid.spacing_lat + _CLOSED)
    north = round(grid.north + above * grid.spacing_lat, 9)
    rows = int((north + 90.0) / grid.spacing_lat + _CLOSED) + 1
    return Grid(north, grid.west, grid.spacing_lat, 360.0 / columns, rows, columns)


def to_coarse(values: Values, grid: Grid, coarse: Coarse) -> Array:
    """Take a field of a part, (grid.rows, grid.columns), to the global coarse grid, like `regrid`.

    Raises regrid.NotCovered for a grid that is no part of a global one, and regrid.RegridError.
    """
    globe = globe_of(grid)
    if globe is None or not coarse.target.is_periodic:
        raise regrid.NotCovered("the field is no part of a global grid")
    known = np.full(globe.shape, np.nan)
    top = round((globe.north - grid.north) / grid.spacing_lat)
    known[top : top + grid.rows, : grid.columns] = values
    return around_gaps(lambda whole: regrid.to_coarse(whole, globe, coarse), known)


def to_fine(values: Array, coarse: Coarse, fine: Grid, interpolation: str) -> Array:
    """Interpolate a coarse field, (h, w), to the fine grid, NaN where it leans on one."""

    def whole(field: Values) -> Array:
        return regrid.to_fine(field.astype(np.float32), coarse, fine, interpolation)

    if not np.isnan(values).any():
        return regrid.to_fine(values, coarse, fine, interpolation)
    return around_gaps(whole, values.astype(np.float64))


def around_gaps(regridded: Callable[[Values], Array], values: Values) -> Array:
    """Regrid a field with gaps, NaN, by a linear operator that knows none."""
    gaps = np.isnan(values)
    found = regridded(np.where(gaps, 0.0, values))
    # What answers to noise in the gaps leans on them; two weights never cancel by chance.
    noise = np.random.default_rng(0).standard_normal(values.shape)
    found[np.abs(regridded(np.where(gaps, noise, 0.0))) > _NO_SAY] = np.nan
    return found
