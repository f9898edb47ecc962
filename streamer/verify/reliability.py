"""Is a probability kept? How often a threshold is exceeded where some of the draws exceed it.

Added up state by state, weighted by area: all that is held is how much of the surface had k of D
draws above, and how much of that the truth too. The Brier score, its fair form and its parts
follow exactly. `scores` 2.7 gives the same two Brier scores to rounding, but of cubes that hold
all states at once, and does not add up.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from streamer.verify.details import interval
from streamer.verify.scores import Array

Array64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Forecasts of exceeding a threshold.

    weights: (D + 1,), the share of the surface where k of D draws exceed; they sum to 1. hits:
    (D + 1,), the part of it where the truth does too. days: (days, 2, D + 1), both by day, not
    scaled. baseline: (2,), the share of the surface where the interpolated coarse field, which
    says yes or no, is wrong, and where it says yes; None where it is not known.
    """

    threshold: float
    weights: Array64
    hits: Array64
    days: Array64
    baseline: Array64 | None

    @property
    def probabilities(self) -> Array64:
        """(D + 1,), what each class forecasts."""
        return np.linspace(0.0, 1.0, len(self.weights))

    @property
    def frequencies(self) -> Array64:
        """(D + 1,), how often it came true; NaN in classes that never occurred."""
        return _over(self.hits, self.weights)

    @property
    def observed(self) -> float:
        """How much of the surface the truth exceeds the threshold on."""
        return float(self.hits.sum())

    @property
    def forecast(self) -> float:
        """The same as the draws have it."""
        return float(self.weights @ self.probabilities)

    @property
    def brier(self) -> float:
        """The Brier score: the mean square of probability less outcome."""
        p = self.probabilities
        return float((self.weights - self.hits) @ p**2 + self.hits @ (1 - p) ** 2)

    @property
    def fair_brier(self) -> float:
        """The Brier score whose mean does not depend on D.

        Source: Ferro 2014 (https://doi.org/10.1002/qj.2270).
        """
        p, draws = self.probabilities, len(self.weights) - 1
        return self.brier - float(self.weights @ (p * (1 - p))) / (draws - 1)

    @property
    def parts(self) -> tuple[float, float, float]:
        """Reliability, resolution, uncertainty: Brier = reliability - resolution + uncertainty.

        Source: Murphy 1973 (https://doi.org/10.1175/1520-0450(1973)012%3C0595:ANVPOT%3E2.0.CO;2);
        exact, since each class holds one probability.
        """
        there = self.weights > 0
        w, o, p = self.weights[there], self.frequencies[there], self.probabilities[there]
        reliability = float(w @ (p - o) ** 2)
        resolution = float(w @ (o - self.observed) ** 2)
        return reliability, resolution, self.observed * (1 - self.observed)

    @property
    def honest(self) -> tuple[Array64, Array64]:
        """What D - 1 draws forecast, (D,), and how often each comes true, were the truth a draw.

        Few draws err by chance, so that even an honest ensemble's extreme forecasts come true too
        seldom or too often; each draw in turn as the truth of all others shows by how much.
        """
        draws = len(self.weights) - 1
        k = np.arange(draws + 1)
        left_out_exceeds = self.weights * k / draws
        left_out_does_not = self.weights * (draws - k) / draws
        # Without a draw that exceeds, k - 1 of the others do; without one that does not, k.
        yes, no = left_out_exceeds[1:], left_out_does_not[:-1]
        return np.linspace(0.0, 1.0, draws), _over(yes, yes + no)

    @property
    def intervals(self) -> tuple[tuple[float, float] | None, ...]:
        """95 % intervals of the frequencies, from how the days that have the class differ."""
        found = []
        for k in range(len(self.weights)):
            there = self.days[self.days[:, 0, k] > 0]
            found.append(interval((there[:, 1, k] / there[:, 0, k]).tolist()))
        return tuple(found)

    def plain(self) -> dict[str, object]:
        """Return what JSON holds."""
        reliability, resolution, uncertainty = self.parts
        return {
            "threshold": self.threshold,
            "observed": self.observed,
            "forecast": self.forecast,
            "brier": self.brier,
            "fair_brier": self.fair_brier,
            "reliability": reliability,
            "resolution": resolution,
            "uncertainty": uncertainty,
            "baseline_brier": None if self.baseline is None else float(self.baseline[0]),
            "baseline_forecast": None if self.baseline is None else float(self.baseline[1]),
            "weights": self.weights.tolist(),
            "frequencies": [None if np.isnan(x) else float(x) for x in self.frequencies],
        }


class ExceedanceScorer:
    """Counts exceedances of one threshold. weights: (H,), each row's share of the surface."""

    def __init__(self, weights: Array, draws: int, threshold: float) -> None:
        if draws < 2:
            raise ValueError(f"{draws} draws give no probability, wanted at least 2")
        self._weights = np.asarray(weights, dtype=np.float64)
        self._draws, self._threshold = draws, threshold
        self._days: dict[date, Array64] = {}
        self._baseline: Array64 | None = np.zeros(2)

    def add(self, day: date, draws: Array, truth: Array, baseline: Array | None) -> None:
        """Add a state of a day: draws (D, H, W), truth and baseline (H, W), in the same units.

        A single state without a baseline leaves all without.
        """
        beside = truth if baseline is None else baseline
        if draws.shape != (self._draws, *truth.shape) or beside.shape != truth.shape:
            raise ValueError(
                f"draws {draws.shape}, truth {truth.shape}, baseline {beside.shape} do not fit, "
                f"wanted {self._draws} draws on one grid"
            )
        shares = np.broadcast_to(self._weights[:, None] / truth.shape[-1], truth.shape)
        exceeding = (draws > self._threshold).sum(axis=0).ravel()
        truly = truth > self._threshold
        counts = [
            np.bincount(exceeding, (shares * which).ravel(), self._draws + 1)
            for which in (np.ones(truth.shape), truly)
        ]
        found = self._days.setdefault(day, np.zeros((2, self._draws + 1)))
        found += np.array(counts)
        if baseline is None or self._baseline is None:
            self._baseline = None
            return
        said = baseline > self._threshold
        self._baseline += [(shares * (truly != said)).sum(), (shares * said).sum()]

    def reliability(self) -> Reliability:
        """Return what all states so far tell; ValueError before the first."""
        if not self._days:
            raise ValueError("no state was added, wanted at least one")
        days = np.array(list(self._days.values()))
        weights, hits = days.sum(axis=0)
        total = weights.sum()
        baseline = None if self._baseline is None else self._baseline / total
        return Reliability(self._threshold, weights / total, hits / total, days, baseline)


def _over(hits: Array64, weights: Array64) -> Array64:
    found = np.full(len(weights), np.nan)
    np.divide(hits, weights, out=found, where=weights > 0)
    return found
