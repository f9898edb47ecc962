"""Rank histograms: where the truth lies among the draws, which an honest ensemble leaves to chance.

Added up state by state, weighted by area, nothing held but sums. The well-kept packages want all
draws of all states at once as xarray cubes: `scores` 2.7 weighs points and splits ties as is done
here, and was found to count the same to rounding in eight times as long; `xskillscore` 0.0.29
weighs no points and breaks ties by a generator that nobody seeds.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from streamer.verify.details import interval
from streamer.verify.scores import Array

Array64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RankHistogram:
    """Shares of the surface, (D + 1,), where 0 to D draws lie below the truth; they sum to 1.

    days: the same by day, (days, D + 1).
    """

    shares: Array64
    days: Array64

    @property
    def outside(self) -> float:
        """How often the truth lies outside all draws, over 2 / (D + 1): above 1, spread lacks."""
        return float((self.shares[0] + self.shares[-1]) * len(self.shares) / 2)

    @property
    def lean(self) -> float:
        """How far the mean rank lies from the middle, in shares of D: above 0, draws are low."""
        draws = len(self.shares) - 1
        return float(self.shares @ np.arange(draws + 1) / draws - 0.5)

    @property
    def uneven(self) -> float:
        """The share of the surface that would have to change its rank for a flat histogram."""
        return float(np.abs(self.shares - 1 / len(self.shares)).sum() / 2)

    @property
    def intervals(self) -> tuple[tuple[float, float] | None, ...]:
        """95 % intervals of the shares, from how days differ; None each for a single day."""
        return tuple(interval(column.tolist()) for column in self.days.T)

    def plain(self) -> dict[str, object]:
        """Return what JSON holds."""
        within = interval([float((day[0] + day[-1]) * len(day) / 2) for day in self.days])
        return {
            "shares": self.shares.tolist(),
            "outside": self.outside,
            "outside_interval": None if within is None else list(within),
            "lean": self.lean,
            "uneven": self.uneven,
        }


class RankCounter:
    """Counts ranks of one quantity. weights: (H,), each row's share of the surface."""

    def __init__(self, weights: Array, draws: int) -> None:
        self._weights = np.asarray(weights, dtype=np.float64)
        self._draws = draws
        self._days: dict[date, Array64] = {}

    def add(self, day: date, draws: Array, truth: Array) -> None:
        """Add a state of a day: draws (D, H, W), truth (H, W), in the same units and rounding.

        A truth that equals draws counts in equal parts at all ranks that it could have, which is
        what breaking ties by lot comes to in the mean.
        """
        if draws.shape != (self._draws, *truth.shape):
            raise ValueError(f"draws {draws.shape}, wanted {(self._draws, *truth.shape)}")
        found = self._days.setdefault(day, np.zeros(self._draws + 1))
        found += _shares(draws, truth, self._weights)

    def histogram(self) -> RankHistogram:
        """Return the histogram of all states so far; ValueError before the first."""
        if not self._days:
            raise ValueError("no state was added, wanted at least one")
        total = np.array(list(self._days.values()))
        return RankHistogram(
            shares=total.sum(axis=0) / total.sum(), days=total / total.sum(axis=1, keepdims=True)
        )


def _shares(draws: Array, truth: Array, weights: Array64) -> Array64:
    """Return (D + 1,), summing to 1: each rank's share of the surface."""
    ranks = len(draws) + 1
    below = (draws < truth).sum(axis=0)
    equal = (draws == truth).sum(axis=0)
    shares = np.broadcast_to(weights[:, None] / truth.shape[-1], truth.shape) / (equal + 1)
    # Each point begins at its lowest rank and ends behind its highest one.
    begins = np.bincount(below.ravel(), shares.ravel(), ranks + 1)
    ends = np.bincount((below + equal + 1).ravel(), shares.ravel(), ranks + 1)
    # Rounding of the sums may leave less than nothing.
    found: Array64 = np.maximum(np.cumsum(begins - ends)[:ranks], 0.0)
    return found
