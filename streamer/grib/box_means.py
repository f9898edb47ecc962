"""Writes a bundle's coarse operator down as two small matrices, one a direction.

What conservation compares a fine field with: the operator that made the coarse fields which the
network learned from. Anything else would be conserved by no truth.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from engines.errors import BundleError
from streamer.domain import Grid
from streamer.grib.manifest import BOX_AVERAGE, Coarse
from streamer.grib.resize import weights

Values = NDArray[np.float64]


def box_means(coarse: Coarse, fine: Grid) -> tuple[csr_array, csr_array]:
    """Return matrices of rows, (h, H), and columns, (w, W): coarse = rows @ fine @ columns.T.

    A row of either sums to 1, or to less where the fine grid covers only a part of its box.
    Raises BundleError for an operator that is no mean over boxes.
    """
    if coarse.resized is not None:
        return weights(fine.rows, coarse.grid.rows), weights(fine.columns, coarse.grid.columns)
    if not coarse.is_box_mean:
        raise BundleError(
            f"the coarse operator {coarse.interpolation} is no mean over boxes, so nothing can be "
            f"conserved; wanted {BOX_AVERAGE} or a resize"
        )
    return _rows(coarse.grid, fine), _columns(coarse.grid, fine)


def _rows(coarse: Grid, fine: Grid) -> csr_array:
    """Return the share of each coarse box's area that lies in a fine row's; boxes end at poles."""
    boxes = _heights(_edges(coarse.north, -coarse.spacing_lat, coarse.rows))
    points = _heights(_edges(fine.north, -fine.spacing_lat, fine.rows))
    return csr_array(_overlaps(boxes, points) / np.diff(boxes)[:, None])


def _heights(latitudes: Values) -> Values:
    """Return what rises from north to south by the area between two latitudes."""
    heights: Values = -np.sin(np.radians(np.clip(latitudes, -90.0, 90.0)))
    return heights


def _columns(coarse: Grid, fine: Grid) -> csr_array:
    boxes = _edges(coarse.west, coarse.spacing_lon, coarse.columns)
    points = _edges(fine.west, fine.spacing_lon, fine.columns)
    # A box that is cut by the fine grid's first meridian has its other part at the last.
    turned = [_overlaps(boxes, points + turn) for turn in (-360.0, 0.0, 360.0)]
    return csr_array(np.sum(turned, axis=0) / coarse.spacing_lon)


def _edges(first: float, spacing: float, count: int) -> Values:
    return np.asarray(first + spacing * (np.arange(count + 1) - 0.5), dtype=np.float64)


def _overlaps(boxes: Values, points: Values) -> Values:
    """Return how much of each interval of one line lies in each of another; edges rise."""
    least = np.minimum(boxes[1:, None], points[None, 1:])
    most = np.maximum(boxes[:-1, None], points[None, :-1])
    overlaps: Values = np.maximum(least - most, 0.0)
    return overlaps
