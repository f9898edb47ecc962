"""How much of a field's variance lies at which zonal wavenumber, and draws held to the truth."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from streamer.domain import Grid
from streamer.verify.scores import Array, area_weights

Array64 = NDArray[np.float64]

#: Where the belts of latitude end whose spectra are told apart, degrees north.
BELTS_DEG = (90.0, 60.0, 30.0, -30.0, -60.0, -90.0)
_EARTH_KM = 6371.229


@dataclass(frozen=True, slots=True)
class Band:
    """A third of an octave of zonal wavenumbers, both ends included.

    ratio: the power of single draws over the truth's, 1 at its best.
    """

    lowest: int
    highest: int
    ratio: float


def zonal_power(fields: Array, rows: Array64) -> Array64:
    """Return (W // 2 + 1,): the variance at each zonal wavenumber, the mean over fields and rows.

    fields: (..., H, W), whose columns go all the way round. rows: (H,), each row's weight; they
    sum to 1. All but wavenumber 0 sum to the variance along the rows (Parseval).
    """
    found = _fourier(fields.astype(np.float64))
    means = found.reshape(-1, *found.shape[-2:]).mean(axis=0)
    return np.asarray(rows @ means, dtype=np.float64)


def third_octaves(highest: int) -> tuple[tuple[int, int], ...]:
    """Return bands around 2^(k / 3) that hold each wavenumber from 1 to `highest` once."""
    bands: list[tuple[int, int]] = []
    k = 0
    while not bands or bands[-1][1] < highest:
        low, high = 2 ** ((k - 0.5) / 3), 2 ** ((k + 0.5) / 3)
        first, last = int(np.ceil(low)), min(int(np.ceil(high)) - 1, highest)
        if first <= last:
            bands.append((first, last))
        k += 1
    return tuple(bands)


def bands(drawn: Array64, truth: Array64) -> tuple[Band, ...]:
    """Return both spectra's powers held against each other, band by band."""
    return tuple(
        Band(low, high, float(drawn[low : high + 1].sum() / truth[low : high + 1].sum()))
        for low, high in third_octaves(len(truth) - 1)
        if truth[low : high + 1].sum() > 0.0
    )


@dataclass(frozen=True, slots=True, eq=False)
class Belt:
    """Rows of a grid between two latitudes. rows: (H,), their weights, which sum to 1."""

    south: float
    north: float
    rows: Array64

    @property
    def name(self) -> str:
        """Where it is: `30 N to 60 N`."""
        return f"{_latitude(self.south)} to {_latitude(self.north)}"

    def wavelength_km(self, wavenumber: float, grid: Grid) -> float:
        """Return how long a wave is, east to west in the middle of the belt.

        wavenumber: waves round the globe; on a limited grid half waves from edge to edge.
        """
        cosine = float(self.rows @ np.cos(np.deg2rad(grid.latitudes)))
        around = 2.0 * np.pi * _EARTH_KM * cosine * grid.columns * grid.spacing_lon / 360.0
        return float(around * (1.0 if grid.is_periodic else 2.0) / wavenumber)


def belts(grid: Grid) -> tuple[Belt, ...]:
    """Return the belts of latitude that a grid has at least two rows in."""
    area = area_weights(grid.latitudes)
    found = []
    for north, south in pairwise(BELTS_DEG):
        above = grid.latitudes >= south if south == BELTS_DEG[-1] else grid.latitudes > south
        inside = (grid.latitudes <= north) & above
        if inside.sum() > 1:
            rows = np.where(inside, area, 0.0)
            found.append(Belt(south, north, rows / rows.sum()))
    return tuple(found)


def row_power(fields: Array, grid: Grid) -> Array64:
    """Return (H, K): the variance along each row at each wavenumber, the mean over fields.

    fields: (..., H, W). Where columns go all the way round, Fourier's waves; on a limited grid
    cosines from edge to edge, half a wave each, since a row's ends need not meet. Either way all
    but wavenumber 0 sum to the variance along the row.
    Source: Denis, Cote and Laprise 2002
    (https://doi.org/10.1175/1520-0493(2002)130%3C1812:SDOTDA%3E2.0.CO;2).
    """
    exact = fields.astype(np.float64).reshape(-1, *grid.shape)
    if grid.is_periodic:
        power = _fourier(exact)
    else:
        power = dct(exact, type=2, norm="ortho", axis=-1) ** 2 / grid.columns
    return np.asarray(power.mean(axis=0), dtype=np.float64)


def _fourier(fields: Array64) -> Array64:
    """Return (..., W // 2 + 1): the variance of each row at each wavenumber."""
    columns = fields.shape[-1]
    found = np.abs(np.fft.rfft(fields, axis=-1) / columns) ** 2
    # Wavenumbers between 0 and the highest of an even number stand for their negatives too.
    found[..., 1 : (columns + 1) // 2] *= 2.0
    return np.asarray(found, dtype=np.float64)


def _latitude(degrees: float) -> str:
    return "0" if not degrees else f"{abs(degrees):g} {'N' if degrees > 0 else 'S'}"
