"""Spread held against error where something is known beforehand: a latitude, a speed, the spread.

An honest ensemble errs by what it spreads not only over all but within every such class. Classes
come from what is known without the truth: sorted by the truth, an honest ensemble would look
false. No package was found that does this with area weights state by state; it is sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamer.verify.details import interval
from streamer.verify.scores import Array

Array64 = NDArray[np.float64]

#: Classes of less than this share of the surface are not told.
RARE = 1e-5


@dataclass(frozen=True, slots=True)
class Class:
    """Where the value lies from `low` to below `high`.

    share: of the surface. mean: the value's mean. rmse: of the ensemble mean. spread: with the
    factor (D + 1) / D, so that it equals the rmse for an honest ensemble. interval: of spread over
    rmse, 95 %, from how days differ; None for a single day.
    """

    low: float
    high: float
    share: float
    mean: float
    rmse: float
    spread: float
    interval: tuple[float, float] | None

    @property
    def ratio(self) -> float:
        """Spread over error, 1 at its best."""
        return self.spread / self.rmse

    def plain(self) -> dict[str, object]:
        """Return what JSON holds; a class that is open to one side has None there."""
        return {
            "from": self.low if np.isfinite(self.low) else None,
            "to": self.high if np.isfinite(self.high) else None,
            "share": self.share,
            "mean": self.mean,
            "rmse": self.rmse,
            "spread": self.spread,
            "ratio": self.ratio,
            "interval": None if self.interval is None else list(self.interval),
        }


class SpreadErrorScorer:
    """Adds up variance and error by class. weights: (H,), each row's share of the surface.

    edges: rising; classes lie between them, values outside are not counted.
    """

    def __init__(self, weights: Array, draws: int, edges: Sequence[float]) -> None:
        if draws < 2:
            raise ValueError(f"{draws} draws have no spread, wanted at least 2")
        self._weights = np.asarray(weights, dtype=np.float64)
        self._draws = draws
        self._edges = np.asarray(edges, dtype=np.float64)
        self._days: dict[date, Array64] = {}

    def add(self, day: date, by: Array, draws: Array, truth: Array) -> None:
        """Add a state of a day: by (H, W) what sorts points, draws (D, H, W), truth (H, W)."""
        if draws.shape != (self._draws, *truth.shape) or by.shape != truth.shape:
            raise ValueError(
                f"draws {draws.shape}, truth {truth.shape}, classes by {by.shape} do not fit, "
                f"wanted {self._draws} draws on one grid"
            )
        exact = draws.astype(np.float64)
        # What lies below the first edge is class 0, what lies above the last one the last.
        classes = np.searchsorted(self._edges, by.ravel(), side="right")
        shares = np.broadcast_to(self._weights[:, None] / truth.shape[-1], truth.shape)
        measures = (
            np.ones(truth.shape),
            by.astype(np.float64),
            (exact.mean(axis=0) - truth) ** 2,
            exact.var(axis=0, ddof=1),
        )
        count = len(self._edges) + 1
        sums = np.array(
            [np.bincount(classes, (shares * one).ravel(), count)[1:-1] for one in measures]
        )
        found = self._days.setdefault(day, np.zeros_like(sums))
        found += sums

    def classes(self) -> tuple[Class, ...]:
        """Return the classes that hold anything; ValueError before the first state."""
        if not self._days:
            raise ValueError("no state was added, wanted at least one")
        days = np.array(list(self._days.values()))
        total = days.sum(axis=0)
        everywhere = total[0].sum()
        found = []
        for i, (low, high) in enumerate(pairwise(self._edges)):
            weight, value, square, variance = total[:, i]
            if weight < RARE * everywhere or square == 0.0:
                continue
            ratios = [_ratio(day[3, i], day[2, i], self._draws) for day in days if day[2, i] > 0]
            found.append(
                Class(
                    low=float(low),
                    high=float(high),
                    share=float(weight / everywhere),
                    mean=float(value / weight),
                    rmse=float((square / weight) ** 0.5),
                    spread=float(((self._draws + 1) / self._draws * variance / weight) ** 0.5),
                    interval=interval(ratios),
                )
            )
        return tuple(found)


def _ratio(variance: float, square: float, draws: int) -> float:
    # The factor: an honest ensemble's mean errs by (D + 1) / D times its variance. Source: Fortin
    # et al. 2014 (https://doi.org/10.1175/JHM-D-14-0008.1).
    return float(((draws + 1) / draws * variance / square) ** 0.5)
