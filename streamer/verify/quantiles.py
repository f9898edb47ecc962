"""Quantile scores: what it costs to act on an ensemble's quantile.

`scores` 2.7 and `scoringrules` 0.10 give the same to rounding; the first wants all states at once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.verify.scores import Array

Array64 = NDArray[np.float64]

#: Orders of the quantiles that are scored.
ORDERS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def ensemble_quantiles(draws: Array, orders: Sequence[float]) -> Array64:
    """Return (Q, H, W) of draws (D, H, W): linear between draws, as `numpy.quantile` has it.

    The same as the daemon publishes (Hyndman and Fan's type 7); sorted once for all orders.
    """
    ranked = np.sort(draws.astype(np.float64), axis=0)
    found = np.empty((len(orders), *ranked.shape[1:]))
    for at, order in enumerate(orders):
        # One after the other: as many copies of a fine field cost more than the arithmetic.
        below, part = divmod(order * (len(ranked) - 1), 1.0)
        above = min(int(below) + 1, len(ranked) - 1)
        np.multiply(ranked[int(below)], 1.0 - part, out=found[at])
        found[at] += ranked[above] * part
    return found


def quantile_scores(
    quantiles: Array, truth: Array, orders: Sequence[float], rows: Array
) -> Array64:
    """Return (Q,), the mean score over the area of (Q, H, W) quantiles, or of (H, W) for all.

    In the parameter's units, lower is better: the error weighted by the order where the truth
    lies above, by one less it where below; twice their mean over all orders is the CRPS.
    Source: Koenker and Bassett 1978 (https://doi.org/10.2307/1913643).
    """
    order, exact = np.asarray(orders, dtype=np.float64), truth.astype(np.float64)
    ends = [_ends(exact - one, rows) for one in quantiles.reshape(-1, *truth.shape)]
    missed, below = np.array(ends).T
    return np.asarray(order * missed - below, dtype=np.float64)


def _ends(missed: Array64, rows: Array) -> tuple[float, float]:
    """Return the mean of truth less quantile, and of that where the truth lies below.

    Of order o, o m where m > 0 and (o - 1) m where m < 0 are o m less the smaller of m and 0: so
    one field serves all orders.
    """
    mean = float(missed.mean(axis=-1) @ rows)
    below = np.minimum(missed, 0.0, out=missed)
    return mean, float(below.mean(axis=-1) @ rows)
