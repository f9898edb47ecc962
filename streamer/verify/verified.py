"""What verification found of one parameter: every score, the interpolated field's beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import Grid
from streamer.verify.details import interval
from streamer.verify.ranks import RankHistogram
from streamer.verify.reliability import Reliability
from streamer.verify.spectra import Belt, third_octaves
from streamer.verify.sums import PointScores
from streamer.verify.variogram import lags

Array64 = NDArray[np.float64]

#: The same measure of several fields: `truth`, `draws`, `mean`, and `baseline` where it is known.
Beside = Mapping[str, Array64]

#: Shares of the surface whose values are held against each other, the tails among them.
SHARES = (0.001, 0.01, 0.05, *(i / 10 for i in range(1, 10)), 0.95, 0.99, 0.999)
TAILS = (0.001, 0.01, 0.99, 0.999)


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Power by wavenumber in a belt of latitude, (K,) of each field."""

    belt: Belt
    power: Beside

    def plain(self, grid: Grid) -> dict[str, Any]:
        """Return what JSON holds: thirds of an octave, power of the truth, the others' over it."""
        truth = self.power["truth"]
        found = [
            (low, high)
            for low, high in third_octaves(len(truth) - 1)
            if truth[low : high + 1].sum() > 0.0
        ]
        return {
            "belt": self.belt.name,
            "wavenumbers": [list(one) for one in found],
            "wavelength_km": [
                self.belt.wavelength_km((low * high) ** 0.5, grid) for low, high in found
            ],
            "truth": [float(truth[low : high + 1].sum()) for low, high in found],
            **{
                f"{name}_over_truth": [
                    float(power[low : high + 1].sum() / truth[low : high + 1].sum())
                    for low, high in found
                ]
                for name, power in self.power.items()
                if name != "truth"
            },
        }


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Means over all states, (H, W): error of the mean, CRPS, and the baseline's |error|."""

    bias: Array64
    crps: Array64
    missed: Array64 | None


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """One parameter on one grid, over all its states.

    orders: of the quantile scores, which `quantile_scores` has as (Q,) by field. quantiles: the
    values of `SHARES` by field. variograms: at `lags(grid)`. ranks: None of a single draw.
    """

    name: str
    units: str
    grid: Grid
    scores: PointScores
    by_lead: Mapping[int, PointScores]
    by_day: Mapping[date, PointScores]
    ranks: RankHistogram | None
    reliability: tuple[Reliability, ...]
    spectra: tuple[Spectrum, ...]
    variograms: Beside
    orders: tuple[float, ...]
    quantile_scores: Beside
    quantiles: Beside
    maps: Maps

    @property
    def draws(self) -> int:
        """How many draws each state has."""
        return self.scores.draws

    @property
    def gain_interval(self) -> tuple[float, float] | None:
        """Where the gain lies, 95 %, from how days differ; None for a single day."""
        gains = [one.gain for one in self.by_day.values()]
        known = [gain for gain in gains if gain is not None]
        return interval(known) if len(known) == len(gains) else None

    def plain(self) -> dict[str, Any]:
        """Return what JSON holds."""
        within = self.gain_interval
        return {
            "units": self.units,
            "grid": _grid(self.grid),
            "draws": self.draws,
            **self.scores.plain(),
            "gain_interval": None if within is None else list(within),
            "by_step": {str(m): one.plain() for m, one in sorted(self.by_lead.items())},
            "by_day": {str(day): one.plain() for day, one in sorted(self.by_day.items())},
            "ranks": None if self.ranks is None else self.ranks.plain(),
            "reliability": [one.plain() for one in self.reliability],
            "spectra": [one.plain(self.grid) for one in self.spectra],
            "variogram": self._variogram(),
            "quantile_scores": {"orders": list(self.orders), **_lists(self.quantile_scores)},
            "quantiles": {"shares": list(SHARES), **_lists(self.quantiles)},
            "tails": self.tails(),
        }

    def tails(self) -> list[dict[str, Any]]:
        """Return the extreme quantiles of every field."""
        return [
            {
                "share": share,
                **{
                    name: float(values[SHARES.index(share)])
                    for name, values in self.quantiles.items()
                },
            }
            for share in TAILS
        ]

    def _variogram(self) -> dict[str, Any]:
        found = lags(self.grid)
        count = len(found.east)
        return {
            "east": {
                "points": list(found.east),
                "degrees": [lag * self.grid.spacing_lon for lag in found.east],
                **_lists({name: v[:count] for name, v in self.variograms.items()}),
            },
            "south": {
                "points": list(found.south),
                "degrees": [lag * self.grid.spacing_lat for lag in found.south],
                **_lists({name: v[count:] for name, v in self.variograms.items()}),
            },
        }


def _lists(beside: Beside) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in beside.items()}


def _grid(grid: Grid) -> dict[str, float]:
    return {
        "rows": grid.rows,
        "columns": grid.columns,
        "north": grid.north,
        "west": grid.west,
        "spacing_lat": grid.spacing_lat,
        "spacing_lon": grid.spacing_lon,
    }
