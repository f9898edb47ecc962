"""What one state tells of an ensemble, kept by state so that ways of drawing can be compared.

A difference between two ways of drawing is far smaller than the difference between two days. So
what is measured stays apart by state: ways that drew the same states with the same noise are
held against each other in pairs, and the interval comes from how days differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date

import numpy as np

from streamer.domain import Grid
from streamer.verify.details import SPECTRA_DEG, interval
from streamer.verify.scores import Array, area_weights, fair_crps
from streamer.verify.spectra import Array64, Band, bands, zonal_power
from streamer.verify.structure import gradient_crps, lag_products, patch_energy, upper


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """One parameter's means over the area, of a state or of several, in the parameter's units.

    crps, patch_energy, gradient_crps: fair. absolute, square: errors of the ensemble mean.
    variance: of the draws. missed, missed_square: errors of the interpolated coarse field.
    lag, true_lag: the numerator and the denominator of the lag-2 correlation of anomalies from
    the interpolated field. upper, true_upper: 99.9th percentile of the size of anomalies.
    power, true_power: (W // 2 + 1,) by zonal wavenumber between 60 S and 60 N, of single draws;
    (0,) where rows do not close.
    """

    crps: float
    patch_energy: float
    gradient_crps: float
    absolute: float
    square: float
    variance: float
    missed: float
    missed_square: float
    upper: float
    true_upper: float
    lag: Array64
    true_lag: Array64
    power: Array64
    true_power: Array64

    @property
    def gain(self) -> float:
        """CRPS over the interpolated field's absolute error."""
        return self.crps / self.missed

    @property
    def upper_ratio(self) -> float:
        """The strongest anomalies of draws over the truth's."""
        return self.upper / self.true_upper

    @property
    def lag_correlations(self) -> tuple[float, float]:
        """Of draws, and of the truth."""
        return float(self.lag[0] / self.lag[1]), float(self.true_lag[0] / self.true_lag[1])

    @property
    def bands(self) -> tuple[Band, ...]:
        """Power of single draws over the truth's, by thirds of an octave."""
        return bands(self.power, self.true_power) if self.power.size else ()

    def spread_skill(self, draws: int) -> float:
        """Return spread over RMSE of the mean with the factor (D + 1) / D, 1 at its best."""
        return float(((draws + 1) / draws * self.variance / self.square) ** 0.5)


@dataclass(frozen=True, slots=True)
class Change:
    """How much more one way errs than another: a fraction, negative where it errs less.

    interval: 95 %, from how the days' changes differ (Student's t); None for a single day.
    """

    value: float
    interval: tuple[float, float] | None
    days: tuple[tuple[str, float], ...]

    def plain(self) -> dict[str, object]:
        """Return what JSON holds."""
        within = None if self.interval is None else list(self.interval)
        return {"change": self.value, "interval": within, "days": dict(self.days)}


def measure(draws: Array, truth: Array, twin: Array, grid: Grid) -> Measures:
    """Measure one parameter of one state: draws (D, H, W), D at least 2, truth and twin (H, W)."""
    rows, periodic = area_weights(grid.latitudes), grid.is_periodic
    exact, true = draws.astype(np.float64), truth.astype(np.float64)
    error, missed = exact.mean(axis=0) - true, true - twin
    anomalies = exact - twin

    def mean(values: Array) -> float:
        return float(values.mean(axis=-1) @ rows)

    return Measures(
        crps=mean(fair_crps(exact, true)),
        patch_energy=patch_energy(exact, true, rows),
        gradient_crps=gradient_crps(exact, true, rows, periodic=periodic),
        absolute=mean(np.abs(error)),
        square=mean(error**2),
        variance=mean(exact.var(axis=0, ddof=1)),
        missed=mean(np.abs(missed)),
        missed_square=mean(missed**2),
        upper=upper(np.abs(anomalies), rows),
        true_upper=upper(np.abs(missed), rows),
        lag=np.array(lag_products(anomalies, rows, periodic=periodic)),
        true_lag=np.array(lag_products(missed, rows, periodic=periodic)),
        power=_power(exact, grid),
        true_power=_power(true, grid),
    )


def pooled(measures: Sequence[Measures]) -> Measures:
    """Return the means over states, each counting the same; ValueError of none."""
    if not measures:
        raise ValueError("no state was measured, wanted at least one")
    return Measures(
        **{
            one.name: np.mean([getattr(measure, one.name) for measure in measures], axis=0)
            for one in fields(Measures)
        }
    )


def change(these: Sequence[float], those: Sequence[float], days: Sequence[date]) -> Change:
    """Compare scores of the same states, given with the day of each."""
    if not len(these) == len(those) == len(days):
        raise ValueError(
            f"{len(these)} and {len(those)} scores of {len(days)} states, wanted pairs of them"
        )
    found = []
    for day in sorted(set(days)):
        here = [i for i, other in enumerate(days) if other == day]
        found.append((str(day), sum(these[i] for i in here) / sum(those[i] for i in here) - 1.0))
    value = sum(these) / sum(those) - 1.0
    return Change(float(value), interval([one for _, one in found]), tuple(found))


def _power(fields_: Array, grid: Grid) -> Array64:
    if not grid.is_periodic:
        return np.zeros(0)
    within = np.abs(grid.latitudes) <= SPECTRA_DEG
    rows = np.where(within, area_weights(grid.latitudes), 0.0)
    return zonal_power(fields_, rows / max(rows.sum(), 1e-12))
