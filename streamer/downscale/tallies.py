"""What is kept of one channel's draws for a statistic: sums, extremes, counts, or all of them."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.domain import Array, Statistic

#: Points that are worked on together: few enough that what is made in between stays in the cache.
_SLAB = 1 << 15


class Tally(Protocol):
    """What is kept of one channel for one statistic, or for several that share it."""

    @property
    def held_bytes(self) -> int:
        """What is kept between draws."""
        ...

    def add(self, values: Array, weight: float) -> None:
        """Count a draw, (points,)."""
        ...

    def result(self, statistic: Statistic) -> Array:
        """Return the statistic, (points,) float32."""
        ...


class Moments:
    """Sum and, where asked, sum of squared distances from the mean, updated draw by draw.

    S += w x;  Q += w (W x - S)^2 / (W (W - w)), with W and S after the draw. Source: Youngs and
    Cramer 1971, equation 1.5b in Chan, Golub and LeVeque 1983 (https://doi.org/10.2307/2683386),
    with weights as in West 1979 (https://doi.org/10.1145/359146.359153).
    """

    def __init__(self, *, squares: bool) -> None:
        self._has_squares = squares
        self._sum = self._squares = np.zeros(0)
        self._weight = self._weight_squares = 0.0

    @property
    def held_bytes(self) -> int:
        """What is kept between draws."""
        return self._sum.nbytes + self._squares.nbytes

    def add(self, values: Array, weight: float) -> None:
        """Count a draw, (points,)."""
        if not self._sum.size:
            self._sum = np.zeros(values.size)
            self._squares = np.zeros(values.size if self._has_squares else 0)
        before, self._weight = self._weight, self._weight + weight
        self._weight_squares += weight * weight
        for part in _slabs(values.size):
            x = values[part].astype(np.float64)
            total = self._sum[part]
            total += x if weight == 1.0 else x * weight
            if self._has_squares and before == 0.0:
                # Nothing is apart from itself; a value that is not a number stays none.
                self._squares[part] = x - x
            elif self._has_squares:
                x *= self._weight
                x -= total
                x *= x
                x *= weight / (self._weight * before)
                self._squares[part] += x

    def result(self, statistic: Statistic) -> Array:
        """Return mean, variance or spread."""
        if statistic.kind == "mean":
            return (self._sum / self._weight).astype(np.float32)
        # Equal weights make D - 1 of this, whatever their size.
        freedom = self._weight - self._weight_squares / self._weight
        variance = self._squares / freedom
        if statistic.kind == "spread":
            np.sqrt(variance, out=variance)
        return variance.astype(np.float32)


class Extreme:
    """The least or largest value so far; weights do not matter."""

    def __init__(self, pick: np.ufunc) -> None:
        self._pick = pick
        self._found: Array | None = None

    @property
    def held_bytes(self) -> int:
        """What is kept between draws."""
        return 0 if self._found is None else self._found.nbytes

    def add(self, values: Array, weight: float) -> None:
        """Count a draw, (points,)."""
        if self._found is None:
            self._found = values.copy()
        else:
            self._pick(self._found, values, out=self._found)

    def result(self, statistic: Statistic) -> Array:
        """Return the value."""
        assert self._found is not None
        return self._found.copy()


class Passing:
    """The weight of the draws that pass a threshold; a draw that equals it does not."""

    def __init__(self, passes: np.ufunc, threshold: float) -> None:
        self._passes = passes
        self._threshold = np.float32(threshold)
        self._passed = np.zeros(0, dtype=np.float32)
        # Summed in the same precision and order, so that no probability is above 1.
        self._weight = np.float32(0.0)

    @property
    def held_bytes(self) -> int:
        """What is kept between draws."""
        return self._passed.nbytes

    def add(self, values: Array, weight: float) -> None:
        """Count a draw, (points,)."""
        if not self._passed.size:
            self._passed = np.zeros(values.size, dtype=np.float32)
        self._weight += np.float32(weight)
        for part in _slabs(values.size):
            x = values[part]
            counted = self._passes(x, self._threshold) * np.float32(weight)
            counted[np.isnan(x)] = np.nan
            self._passed[part] += counted

    def result(self, statistic: Statistic) -> Array:
        """Return the probability."""
        return self._passed / self._weight


class Kept:
    """All draws, for quantiles.

    The k-th of D ordered draws, k from 0, is the quantile of order k / (D - 1), and between two
    of them it is linear: type 7 of Hyndman and Fan 1996 (https://doi.org/10.2307/2684934), which
    is numpy's default. With weights w the orders are k's sums of (w[i] + w[i + 1]) / 2, i < k,
    over the sum of all: the same where weights are equal.
    """

    def __init__(self) -> None:
        self._draws: list[Array] = []
        self._weights: list[float] = []
        self._is_sorted = False

    @property
    def held_bytes(self) -> int:
        """What is kept between draws."""
        return sum(draw.nbytes for draw in self._draws)

    def add(self, values: Array, weight: float) -> None:
        """Count a draw, (points,)."""
        self._draws.append(values.copy())
        self._weights.append(weight)
        self._is_sorted = False

    def result(self, statistic: Statistic) -> Array:
        """Return a quantile."""
        order = float(statistic.value or 0.0)
        if len(set(self._weights)) > 1:
            return self._weighted(order)
        if not self._is_sorted:
            self._sort()
        place = order * (len(self._draws) - 1)
        below = min(int(place), max(len(self._draws) - 2, 0))
        above = min(below + 1, len(self._draws) - 1)
        found = _between(self._draws[below], self._draws[above], np.float32(place - below))
        # Sorting puts what is not a number last.
        found[np.isnan(self._draws[-1])] = np.nan
        return found

    def _sort(self) -> None:
        """Order the draws at every point, in place, so that further quantiles are cheap."""
        for part in _slabs(self._draws[0].size):
            # A point's draws beside each other sort in two thirds of the time.
            ordered = np.sort(np.stack([draw[part] for draw in self._draws], axis=1), axis=1)
            for i, draw in enumerate(self._draws):
                draw[part] = ordered[:, i]
        self._is_sorted = True

    def _weighted(self, order: float) -> Array:
        weights = np.array(self._weights)
        found = np.empty_like(self._draws[0])
        for part in _slabs(found.size):
            values = np.stack([draw[part] for draw in self._draws])
            ranks = np.argsort(values, axis=0, kind="stable")
            values = np.take_along_axis(values, ranks, axis=0)
            found[part] = _weighted_quantile(values, weights[ranks], order)
            found[part][np.isnan(values[-1])] = np.nan
        return found


def _weighted_quantile(values: Array, weights: NDArray[np.float64], order: float) -> Array:
    """Return a quantile at every point of ordered draws, (D, points) with their weights."""
    steps = (weights[1:] + weights[:-1]) / 2
    places = np.concatenate([np.zeros_like(weights[:1]), np.cumsum(steps, axis=0)])
    wanted = order * places[-1]
    below = np.clip((places <= wanted).sum(axis=0) - 1, 0, len(values) - 2)[None]
    at, to = (np.take_along_axis(places, below + i, axis=0)[0] for i in (0, 1))
    low, high = (np.take_along_axis(values, below + i, axis=0)[0] for i in (0, 1))
    return _between(low, high, ((wanted - at) / (to - at)).astype(np.float32))


def _between(low: Array, high: Array, share: np.float32 | Array) -> Array:
    """Return the value a share of the way from `low` to `high`, and never beyond either."""
    found: Array = low + (high - low) * share
    return np.minimum(found, high, out=found)


def _slabs(points: int) -> Iterable[slice]:
    return (slice(start, start + _SLAB) for start in range(0, points, _SLAB))
