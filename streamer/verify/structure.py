"""Scores of how a field hangs together, which single points cannot tell.

An ensemble may be right at every point and wrong as a picture: grain without structure has an
honest spread too. Patches, gradients, lagged correlations and the strongest values show it.

Scores are fair: their expectation does not depend on the number of draws, as long as draws and
truth are alike drawn; `scoringrules` 0.10 gives the same energy score of a patch to rounding, but
knows neither patches nor areas.

Shapes: draws (D, H, W) or (D, C, H, W), truth (H, W) or (C, H, W). rows: (H,), each row's share of
the surface, summing to 1 (`scores.area_weights`).
"""

import numpy as np
from numpy.typing import NDArray

from streamer.verify.scores import Array, fair_crps

Array64 = NDArray[np.float64]

#: Points to a side of a patch.
PATCH = 8
#: Points between the values whose correlation is taken.
LAG = 2
#: The quantile that stands for the strongest values.
UPPER = 0.999


def patch_energy(draws: Array, truth: Array, rows: Array, size: int = PATCH) -> float:
    """Return the fair energy score of patches of `size` by `size` points, weighted by area.

    A patch's distance is the root of the mean square over its points and channels, so that
    patches of one point have the fair CRPS. Channels need one unit, or none. Patches do not
    overlap; rows and columns left over lie at the edges, equally shared, and are not scored.
    Source: Gneiting and Raftery 2007, equation 22 (https://doi.org/10.1198/016214506000001437),
    with pairs counted as Ferro 2014 does (https://doi.org/10.1002/qj.2270).
    """
    _refuse_unfit(draws, truth, rows)
    count = len(draws)
    cut, true = _patches(draws, size), _patches(truth[None], size)[0]
    error, pairs = np.zeros_like(true[0, :, 0, :, 0]), np.zeros_like(true[0, :, 0, :, 0])
    for i in range(count):
        error += _distance(cut[i], true)
        for j in range(i):
            pairs += _distance(cut[i], cut[j])
    score = error / count - pairs / (count * (count - 1))
    weights = _middle(np.asarray(rows, dtype=np.float64), 0, size).reshape(-1, size).sum(axis=1)
    return float(np.average(score.mean(axis=-1), weights=weights))


def gradient_crps(draws: Array, truth: Array, rows: Array, *, periodic: bool) -> float:
    """Return the fair CRPS of differences between neighbours, in units a grid spacing.

    The mean of both directions, of (D, H, W) and (H, W). periodic: the last column's eastern
    neighbour is the first.
    """
    _refuse_unfit(draws, truth, rows)
    weights = np.asarray(rows, dtype=np.float64)
    between = (weights[1:] + weights[:-1]) / 2
    south = fair_crps(np.diff(draws, axis=-2), np.diff(truth, axis=-2))
    east = fair_crps(_eastward(draws, periodic=periodic), _eastward(truth, periodic=periodic))
    return float(
        (np.average(south.mean(axis=-1), weights=between) + weights @ east.mean(axis=-1)) / 2
    )


def lag_products(
    anomalies: Array, rows: Array, lag: int = LAG, *, periodic: bool
) -> tuple[float, float]:
    """Return the numerator and the denominator of `lag_correlation`; both add up over states."""
    field = anomalies.astype(np.float64).reshape(-1, *anomalies.shape[-2:])
    weights = np.asarray(rows, dtype=np.float64)
    ahead = np.roll(field, -lag, axis=-1) if periodic else field[..., lag:]
    here = field if periodic else field[..., :-lag]
    products = [(here, ahead, weights)]
    products.append((field[:, :-lag], field[:, lag:], (weights[lag:] + weights[:-lag]) / 2))
    parts = np.zeros(2)
    for one, other, unscaled in products:
        shares = unscaled / unscaled.sum()
        parts += [
            float((one * other).mean(axis=(0, -1)) @ shares),
            float(((one**2 + other**2) / 2).mean(axis=(0, -1)) @ shares),
        ]
    return float(parts[0]), float(parts[1])


def lag_correlation(anomalies: Array, rows: Array, lag: int = LAG, *, periodic: bool) -> float:
    """Return the correlation of values `lag` points apart, along rows and columns together.

    anomalies: (..., H, W), a field less its interpolated coarse twin; their mean is taken to be 0.
    """
    numerator, denominator = lag_products(anomalies, rows, lag, periodic=periodic)
    return numerator / denominator


def upper(fields: Array, rows: Array, share: float = UPPER) -> float:
    """Return the value that `share` of the surface lies below, of all of (..., H, W) together."""
    found = fields.astype(np.float64).reshape(-1, *fields.shape[-2:])
    weights = np.broadcast_to(np.asarray(rows, dtype=np.float64)[:, None], found.shape).ravel()
    order = np.argsort(found, axis=None)
    reached = np.cumsum(weights[order])
    at = min(int(np.searchsorted(reached, share * reached[-1])), order.size - 1)
    return float(found.ravel()[order[at]])


def percentile_ratio(draws: Array, truth: Array, rows: Array, percentile: float = 99.9) -> float:
    """Return an upper percentile of all draws together over the truth's."""
    return upper(draws, rows, percentile / 100) / upper(truth, rows, percentile / 100)


def _patches(fields: Array, size: int) -> Array64:
    """Return (N, C, rows of patches, size, columns of patches, size) of (N, [C,] H, W)."""
    found = fields.astype(np.float64)
    if found.ndim == 3:
        found = found[:, None]
    found = _middle(_middle(found, -2, size), -1, size)
    count, channels, height, width = found.shape
    return found.reshape(count, channels, height // size, size, width // size, size)


def _middle(values: Array64, axis: int, size: int) -> Array64:
    """Return the middle of an axis, as long as whole patches fit; ValueError if none does."""
    length = values.shape[axis]
    if length < size:
        raise ValueError(f"found {length} points, wanted at least {size}, one patch")
    first = length % size // 2
    taken = np.arange(first, first + length // size * size)
    return values.take(taken, axis=axis)


def _distance(one: Array64, other: Array64) -> Array64:
    return np.asarray(np.sqrt(((one - other) ** 2).mean(axis=(0, 2, 4))), dtype=np.float64)


def _eastward(fields: Array, *, periodic: bool) -> Array:
    if periodic:
        return np.roll(fields, -1, axis=-1) - fields
    return np.diff(fields, axis=-1)


def _refuse_unfit(draws: Array, truth: Array, rows: Array) -> None:
    is_fit = draws.shape[1:] == truth.shape and len(rows) == truth.shape[-2] and len(draws) > 1
    if not is_fit:
        raise ValueError(
            f"draws {draws.shape}, truth {truth.shape} and {len(rows)} rows do not fit, "
            "wanted at least 2 draws on the truth's grid"
        )
