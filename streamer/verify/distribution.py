"""What values occur how often, added up state by state: quantiles, QQ pairs and tails.

A histogram in fixed memory. Its bins are anchored at 0 and their width is a power of two, the
smallest at which everything seen fits: so it does not depend on the order of the states, and two
histograms of one parameter tell the same quantile to a bin's width, at most 1/8192 of their span.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.verify.scores import Array

Array64 = NDArray[np.float64]

BINS = 1 << 14
#: Bins are never narrower than this, nor than rounding of the values themselves.
_SMALLEST_EXPONENT = -100
_ROUNDING = 2.0**-24


class Distribution:
    """The distribution of one parameter's values over space and states, weighted by area."""

    def __init__(self) -> None:
        self._exponent = _SMALLEST_EXPONENT
        self._low, self._high = math.inf, -math.inf
        #: The number of the first bin that is held: it begins at so many widths.
        self._first = 0
        self._weights: Array64 = np.zeros(0)

    @property
    def width(self) -> float:
        """How far a quantile may be off, in the values' units."""
        return float(2.0**self._exponent)

    def add(self, values: Array, rows: Array) -> None:
        """Add (..., H, W), all finite; rows: (H,), each row's share of the surface."""
        exact = values.astype(np.float64)
        self._make_room(float(exact.min()), float(exact.max()))
        shares = np.asarray(rows, dtype=np.float64)[:, None] / exact[..., 0, 0].size
        places = np.floor(exact / self.width).astype(np.int64).ravel() - self._first
        weights = np.broadcast_to(shares / exact.shape[-1], exact.shape).ravel()
        self._weights += np.bincount(places, weights, len(self._weights))

    def quantiles(self, shares: Sequence[float]) -> Array64:
        """Return the values that such shares of the surface lie below; ValueError of nothing.

        Within a bin values are taken to be evenly spread.
        """
        if not self._weights.sum():
            raise ValueError("no state was added, wanted at least one")
        reached = np.concatenate([[0.0], np.cumsum(self._weights)])
        wanted = np.asarray(shares) * reached[-1]
        # Only bins that hold something, so that a quantile never lies in a gap's middle.
        at = np.searchsorted(reached[1:], wanted * (1 - 1e-12), side="left")
        at = np.minimum(at, len(self._weights) - 1)
        inside = (wanted - reached[at]) / np.where(self._weights[at] > 0, self._weights[at], 1.0)
        return np.asarray((self._first + at + np.clip(inside, 0.0, 1.0)) * self.width)

    def _make_room(self, low: float, high: float) -> None:
        """Widen bins, and the stretch they cover, until everything from low to high has one."""
        self._low, self._high = min(low, self._low), max(high, self._high)
        exponent = _exponent(self._low, self._high)
        if exponent > self._exponent and self._weights.size:
            # Floats, since a first state without rain has bins of next to nothing.
            times = 2.0 ** (self._exponent - exponent)
            places = np.floor((self._first + np.arange(len(self._weights))) * times)
            self._first = int(places[0])
            shifted = places.astype(np.int64) - self._first
            self._weights = np.bincount(shifted, self._weights).astype(np.float64)
        self._exponent = exponent
        first, last = (math.floor(end / self.width) for end in (self._low, self._high))
        if not self._weights.size:
            self._first = first
        after = last + 1 - self._first - len(self._weights)
        self._weights = np.pad(self._weights, (self._first - first, after))
        self._first = first


def _exponent(low: float, high: float) -> int:
    span = max(high - low, _ROUNDING * BINS * max(abs(low), abs(high)))
    return math.ceil(math.log2(span / BINS)) if span > 0.0 else _SMALLEST_EXPONENT
