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
    places = np.asarray(orders, dtype=np.float64) * (len(ranked) - 1)
    below = np.minimum(np.floor(places).astype(int), len(ranked) - 1)
    above = np.minimum(below + 1, len(ranked) - 1)
    part = (places - below)[:, None, None]
    return np.asarray(ranked[below] * (1 - part) + ranked[above] * part)


def quantile_scores(
    quantiles: Array, truth: Array, orders: Sequence[float], rows: Array
) -> Array64:
    """Return (Q,), the mean score over the area of (Q, H, W) quantiles, or of (H, W) for all.

    In the parameter's units, lower is better: the error weighted by the order where the truth
    lies above, by one less it where below; twice their mean over all orders is the CRPS.
    Source: Koenker and Bassett 1978 (https://doi.org/10.2307/1913643).
    """
    order = np.asarray(orders, dtype=np.float64)[:, None, None]
    missed = truth.astype(np.float64) - quantiles
    scores = np.maximum(order * missed, (order - 1.0) * missed)
    return np.asarray(scores.mean(axis=-1) @ rows, dtype=np.float64)
