"""How much of a field's variance lies at which zonal wavenumber, and draws held to the truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.verify.scores import Array

Array64 = NDArray[np.float64]


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
    columns = fields.shape[-1]
    found = np.abs(np.fft.rfft(fields.astype(np.float64), axis=-1) / columns) ** 2
    # Wavenumbers between 0 and the highest of an even number stand for their negatives too.
    found[..., 1 : (columns + 1) // 2] *= 2.0
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
