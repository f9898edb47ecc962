"""Scores of what is told of an ensemble in place of its draws: mean, quantiles, probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import Grid, Statistic
from streamer.verify.quantiles import quantile_scores
from streamer.verify.scores import Array, area_weights
from streamer.verify.sums import Moments, moments, refuse_unfit

Array64 = NDArray[np.float64]

#: Probabilities are told apart in tenths.
_CLASSES = 11
#: What can be held to a truth, and by which scores; of a spread there is no truth.
_NAMES = {
    "mean": ("mae", "rmse", "bias", "r2", "pearson"),
    "quantile": ("quantile_score", "reached"),
    "above": ("brier", "observed"),
    "below": ("brier", "observed"),
}
SCORED = tuple(_NAMES)


@dataclass(frozen=True, slots=True)
class Beside:
    """A score of the statistic, and of the interpolated coarse field in its place."""

    forecast: float | None
    baseline: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """One statistic of one parameter over all its states.

    scores: of a mean `mae`, `rmse`, `bias`, `r2`, `pearson`; of a quantile `quantile_score`, and
    `reached`, the share of the surface where the truth lies at or below it, its order at best; of
    a probability `brier`, and `observed`, how often it came true. reliability: by tenths of
    probability the share of the surface, the mean probability and how often it came true.
    """

    name: str
    units: str
    grid: Grid
    statistic: Statistic
    states: int
    days: tuple[date, ...]
    scores: Mapping[str, Beside]
    reliability: tuple[tuple[float, float, float], ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return what JSON holds."""
        return {
            "parameter": self.name,
            "units": self.units,
            "statistic": self.statistic.text,
            "rows": self.grid.rows,
            "columns": self.grid.columns,
            "states": self.states,
            **{
                name: {"forecast": one.forecast, "baseline": one.baseline}
                for name, one in self.scores.items()
            },
            "reliability": [
                {"share": share, "probability": said, "frequency": came}
                for share, said, came in self.reliability
            ],
        }


class StatisticScorer:
    """Adds up one statistic of one parameter. All states have a baseline, or none has."""

    def __init__(self, name: str, units: str, grid: Grid, statistic: Statistic) -> None:
        if statistic.kind not in SCORED:
            raise ValueError(f"found {statistic.text}, wanted one of {', '.join(SCORED)}")
        self._name, self._units, self._grid, self._statistic = name, units, grid, statistic
        self._rows = area_weights(grid.latitudes)
        self._states = 0
        self._days: set[date] = set()
        self._sums: dict[str, Array64] = {}
        self._classes = np.zeros((3, _CLASSES))

    def add(self, day: date, values: Array, truth: Array, baseline: Array | None) -> None:
        """Add a state of a day, (H, W) each. values: what was told, a probability from 0 to 1."""
        refuse_unfit(values[None], truth, baseline)
        self._states += 1
        self._days.add(day)
        fields = {"forecast": values} | ({} if baseline is None else {"baseline": baseline})
        for who, field in fields.items():
            found = self._measured(field, truth, is_said=who == "forecast")
            self._sums[who] = self._sums.get(who, np.zeros_like(found)) + found
        if self._is_probability:
            self._classify(values, truth)

    def told(self) -> Told:
        """Return the scores of all states so far; ValueError before the first."""
        if not self._states:
            raise ValueError("no state was added, wanted at least one")
        by = {who: self._named(found) for who, found in self._sums.items()}
        beside = by.get("baseline", {})
        share, said, came = self._classes / (self._classes[0].sum() or 1.0)
        seen = [(s, p / s, o / s) for s, p, o in zip(share, said, came, strict=True) if s > 0.0]
        return Told(
            name=self._name,
            units=self._units,
            grid=self._grid,
            statistic=self._statistic,
            states=self._states,
            days=tuple(sorted(self._days)),
            scores={
                name: Beside(value, beside.get(name)) for name, value in by["forecast"].items()
            },
            reliability=tuple((float(s), float(p), float(o)) for s, p, o in seen),
        )

    @property
    def _is_probability(self) -> bool:
        return self._statistic.kind in ("above", "below")

    def _measured(self, field: Array, truth: Array, *, is_said: bool) -> Array64:
        """Return what adds up of one field; a baseline says yes or no where a probability is."""
        kind, value = self._statistic.kind, self._statistic.value or 0.0
        if kind == "mean":
            return moments(field, truth, self._rows).values
        if kind == "quantile":
            score = quantile_scores(field, truth, (value,), self._rows)[0]
            return np.array([score, self._mean(truth <= field)])
        came = self._passes(truth)
        said = field.astype(np.float64) if is_said else self._passes(field)
        return np.array([self._mean((said - came) ** 2), self._mean(came)])

    def _named(self, found: Array64) -> dict[str, float | None]:
        names = _NAMES[self._statistic.kind]
        if self._statistic.kind == "mean":
            agreement = Moments(found).agreement(self._states)
            return {name: getattr(agreement, name) for name in names}
        return {name: float(one) for name, one in zip(names, found / self._states, strict=True)}

    def _passes(self, field: Array) -> Array64:
        limit = self._statistic.value or 0.0
        passes = field > limit if self._statistic.kind == "above" else field < limit
        return passes.astype(np.float64)

    def _classify(self, said: Array, truth: Array) -> None:
        places = np.clip(np.rint(said * (_CLASSES - 1)), 0, _CLASSES - 1).astype(np.int64).ravel()
        shares = np.broadcast_to(self._rows[:, None] / truth.shape[-1], truth.shape)
        for i, one in enumerate((np.ones(truth.shape), said, self._passes(truth))):
            self._classes[i] += np.bincount(places, (shares * one).ravel(), _CLASSES)

    def _mean(self, values: Array | NDArray[np.bool_]) -> float:
        return float(values.mean(axis=-1) @ self._rows)
