"""Where and when a bundle's skill holds: by day, at the poles, over the date line, by scale."""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from streamer.domain import Grid
from streamer.verify.scores import Array, area_weights, fair_crps
from streamer.verify.spectra import Array64, Band, bands, zonal_power

Places = NDArray[np.bool_]

#: Poleward of this latitude tiles see the edge of their world.
POLAR_DEG = 75.0
#: Columns to both sides of a meridian that count as lying at it.
BESIDE = 8
DATE_LINE_DEG = 180.0
#: Spectra are of rows between these latitudes, where a wavenumber means a length.
SPECTRA_DEG = 60.0
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Details:
    """One parameter's gain, CRPS over the baseline's MAE, taken apart.

    days: the gain of each day. interval: of the mean over days, 95 %, from how days differ; None
    for a single day. polar, date_line, first_column: the gain there over the gain everywhere;
    None on a grid that has no such place. bands: of single draws; () where rows do not close.
    """

    days: tuple[tuple[str, float], ...]
    interval: tuple[float, float] | None
    polar: float | None
    date_line: float | None
    first_column: float | None
    bands: tuple[Band, ...]

    def plain(self) -> dict[str, object]:
        """Return what a manifest holds."""
        return {
            "days": dict(self.days),
            "interval": None if self.interval is None else list(self.interval),
            "polar": self.polar,
            "date_line": self.date_line,
            "first_column": self.first_column,
            "bands": [[one.lowest, one.highest, one.ratio] for one in self.bands],
        }


class DetailScorer:
    """Adds up one parameter's errors point by point and day by day, and the spectra."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._area = area_weights(grid.latitudes)[:, None] / grid.columns
        within = np.abs(grid.latitudes) <= SPECTRA_DEG
        self._rows: Array64 = np.where(within, area_weights(grid.latitudes), 0.0)
        self._rows /= max(self._rows.sum(), 1e-12)
        self._crps: dict[date, Array64] = {}
        self._missed: dict[date, Array64] = {}
        self._drawn, self._true = (np.zeros(grid.columns // 2 + 1) for _ in range(2))

    def add(self, day: date, draws: Array, truth: Array, baseline: Array) -> None:
        """Add a step of a day: draws (D, H, W), D at least 2, truth and baseline (H, W)."""
        exact = draws.astype(np.float64)
        nothing = np.zeros(self._grid.shape)
        self._crps[day] = self._crps.get(day, nothing) + fair_crps(exact, truth)
        missed = np.abs(baseline.astype(np.float64) - truth)
        self._missed[day] = self._missed.get(day, nothing) + missed
        if self._grid.is_periodic:
            self._drawn += zonal_power(draws, self._rows)
            self._true += zonal_power(truth, self._rows)

    def details(self) -> Details:
        """Return the details of all steps so far."""
        everywhere = self._gain(np.ones(self._grid.shape, dtype=bool))
        days = tuple(
            (str(day), float((self._crps[day] * self._area).sum() / missed))
            for day, missed in sorted(self._missed_by_day().items())
        )
        polar = np.broadcast_to(np.abs(self._grid.latitudes)[:, None] > POLAR_DEG, self._grid.shape)
        places = (polar, self._beside(DATE_LINE_DEG), self._beside(self._grid.west))
        ratios = [self._gain(place) / everywhere if place.any() else None for place in places]
        return Details(
            days=days,
            interval=interval([gain for _, gain in days]),
            polar=ratios[0],
            date_line=ratios[1],
            first_column=ratios[2],
            bands=bands(self._drawn, self._true) if self._grid.is_periodic else (),
        )

    def _missed_by_day(self) -> dict[date, float]:
        return {day: float((field * self._area).sum()) for day, field in self._missed.items()}

    def _gain(self, where: Places) -> float:
        area = self._area * where
        crps = sum(float((field * area).sum()) for field in self._crps.values())
        return crps / sum(float((field * area).sum()) for field in self._missed.values())

    def _beside(self, longitude: float) -> Places:
        """Return the columns beside a meridian on a grid that goes all the way round."""
        if not self._grid.is_periodic:
            return np.zeros(self._grid.shape, dtype=bool)
        off = np.abs((self._grid.longitudes - longitude + 180.0) % 360.0 - 180.0)
        near = off < (BESIDE + 0.5) * self._grid.spacing_lon
        return np.broadcast_to(near[None, :], self._grid.shape)


def interval(values: list[float]) -> tuple[float, float] | None:
    """Return where the mean of what these values are drawn from lies, 95 % (Student's t)."""
    if len(values) < 2:
        return None
    mean, count = float(np.mean(values)), len(values)
    off = stdtrit(count - 1, (1 + CONFIDENCE) / 2) * np.std(values, ddof=1) / count**0.5
    return mean - float(off), mean + float(off)
