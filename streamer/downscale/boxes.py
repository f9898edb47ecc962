"""Compares fine fields with coarse ones, box by box, and spreads what lacks over the points.

The coarse operator is a mean over boxes, which may overlap: coarse = R fine C', R and C one
matrix a direction. What is missing comes back by weights that sum to 1 at every point.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from engines.noise import Window
from streamer.domain import Array

Values = NDArray[np.float64]

#: A box is complete where its weights sum to 1, to the rounding of areas.
_COMPLETE = 1.0 - 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One direction of the boxes that lie wholly within a window.

    chosen: their indices among all. means: (boxes, points), takes points to boxes. spread:
    (points, boxes), takes boxes to points; its rows sum to 1 where no box is cut off by the
    window's edge, and to less where one is. solved: inverse of means @ spread.
    """

    chosen: NDArray[np.int64]
    means: csr_array
    spread: csr_array
    solved: Values


class Boxes:
    """The boxes of a window of the fine grid; made once, used for every draw and parameter."""

    def __init__(self, rows: csr_array, columns: csr_array, window: Window | None = None) -> None:
        """rows, columns: (h, H) and (w, W), as `grib.box_means` gives them; window: None: all.

        Boxes that the window or the fine grid holds only a part of are left out.
        """
        top, bottom = window.rows if window else (0, rows.shape[1])
        left, right = window.columns if window else (0, columns.shape[1])
        self.rows = _axis(rows, np.arange(top, bottom))
        self.columns = _axis(columns, np.arange(left, right) % columns.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """How many boxes there are, down and across; none where the window holds no whole one."""
        return len(self.rows.chosen), len(self.columns.chosen)

    def wanted(self, coarse: Array) -> Values:
        """Return the coarse values, out of (h, w) on the whole coarse grid, of these boxes."""
        return coarse[np.ix_(self.rows.chosen, self.columns.chosen)].astype(np.float64)

    def means(self, values: Values | Array) -> Values:
        """Return the mean over each box of a field on the window, (H, W)."""
        found: Values = (self.columns.means @ (self.rows.means @ values).T).T
        return found

    def spread(self, of_boxes: Values) -> Values:
        """Return a value of each point from those of its boxes, (H, W)."""
        found: Values = (self.columns.spread @ (self.rows.spread @ of_boxes).T).T
        return found

    def solved(self, of_boxes: Values) -> Values:
        """Return what must be spread so that the means change by just this."""
        found: Values = self.rows.solved @ of_boxes @ self.columns.solved.T
        return found


def _axis(weights: csr_array, points: NDArray[np.int64]) -> Axis:
    everywhere = np.asarray(weights.sum(axis=0), dtype=np.float64)
    here = csr_array(weights[:, points])
    chosen = np.flatnonzero(np.asarray(here.sum(axis=1)) >= _COMPLETE)
    means = csr_array(here[chosen])
    per_point = everywhere[points]
    shares = np.divide(1.0, per_point, out=np.zeros_like(per_point), where=per_point > 0.0)
    spread = csr_array(means.multiply(shares).T)
    solved = np.linalg.inv((means @ spread).toarray())
    return Axis(chosen, means, spread, solved)
