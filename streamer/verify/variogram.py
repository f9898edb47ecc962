"""Variograms: how much values differ that lie so many points apart, of fields and of the truth.

A field that is too smooth, as an interpolated one is, has too low a variogram at short distances;
one with grain but no structure has it too high there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.domain import Grid
from streamer.verify.scores import Array, area_weights

Array64 = NDArray[np.float64]

#: Longest distance, in points; and as a share of the grid where that is smaller.
_LONGEST, _SHARE = 64, 4


@dataclass(frozen=True, slots=True)
class Lags:
    """Distances in points at which a grid's variogram is taken, along rows and along columns."""

    east: tuple[int, ...]
    south: tuple[int, ...]


def lags(grid: Grid) -> Lags:
    """Return powers of two that leave most of the grid's pairs in it."""
    east, south = (
        tuple(2**k for k in range(20) if 2**k <= min(_LONGEST, count // _SHARE))
        for count in (grid.columns, grid.rows)
    )
    return Lags(east, south)


def variogram(fields: Array, grid: Grid) -> Array64:
    """Return half the mean square difference at each lag, east ones before south ones.

    fields: (..., H, W); the mean over area and whatever stands before. Where columns go all the
    way round, so do the pairs. Source: Matheron 1963, as in Cressie 1993, equation 2.4.2.
    """
    exact = fields.astype(np.float64).reshape(-1, *grid.shape)
    rows, found = area_weights(grid.latitudes), lags(grid)
    values = []
    for lag in found.east:
        square = _squares(exact[..., :-lag], exact[..., lag:])
        pairs = grid.columns - lag
        if grid.is_periodic:
            square += _squares(exact[..., -lag:], exact[..., :lag])
            pairs = grid.columns
        values.append(square @ rows / pairs)
    for lag in found.south:
        both = (rows[lag:] + rows[:-lag]) / 2
        square = _squares(exact[:, :-lag], exact[:, lag:])
        values.append(square @ (both / both.sum()) / grid.columns)
    return np.array(values) / (2 * len(exact))


def _squares(here: Array64, there: Array64) -> Array64:
    """Return (rows,): the sum of square differences along each row, over all fields."""
    found = np.zeros(here.shape[-2])
    for one, other in zip(here, there, strict=True):
        apart = other - one
        found += np.einsum("hw,hw->h", apart, apart)
    return found
