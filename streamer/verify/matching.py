"""Finds the points of one grid in another, so that a region is held to a truth of the globe."""

import numpy as np
from numpy.typing import NDArray

from streamer.domain import Grid

#: How far, in degrees, a point may lie from the wanted one: GRIB 1 rounds to 0.001.
NEAR_DEG = 2e-3

Indices = NDArray[np.int_]


def window(found: Grid, wanted: Grid) -> tuple[Indices, Indices] | None:
    """Return the rows and columns of a grid that are another's points; None if it lacks some."""
    top = (found.north - wanted.north) / found.spacing_lat
    left = ((wanted.west - found.west + NEAR_DEG) % 360.0 - NEAR_DEG) / found.spacing_lon
    rows, columns = (
        round(first) + np.arange(count)
        for first, count in ((top, wanted.rows), (left, wanted.columns))
    )
    ends = (
        (top - rows[0]) * found.spacing_lat,
        (left - columns[0]) * found.spacing_lon,
        (found.spacing_lat - wanted.spacing_lat) * wanted.rows,
        (found.spacing_lon - wanted.spacing_lon) * wanted.columns,
    )
    if found.is_periodic:
        columns = columns % found.columns
    is_inside = rows[0] >= 0 and rows[-1] < found.rows and columns.max() < found.columns
    return (rows, columns) if is_inside and max(map(abs, ends)) < NEAR_DEG else None
