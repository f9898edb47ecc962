"""Sums of one state after another, from which every score of single points follows.

`Scorer` tells a bundle's skill in the few figures that its manifest holds; these tell the rest,
and add up in any order: by day, by lead time, or over the last day of a service.

The well-kept packages want all states at once as xarray cubes, and none adds up. `scores` 2.7 and
`xskillscore` 0.0.29 give the same MAE, RMSE, bias, R2, correlation and fair CRPS to rounding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.verify.scores import Array, fair_crps

Array64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one field a state agrees with the truth, in the parameter's units.

    bias: field less truth. r2: 1 less the mean square error over the truth's variance, over space
    and states together. pearson: the correlation over space and states. Both None where what they
    divide by does not vary.
    """

    mae: float
    rmse: float
    bias: float
    r2: float | None
    pearson: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Area-weighted means of error, |error|, error^2, field, truth, their squares and product.

    Summed over states: (8,).
    """

    values: Array64

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.values + other.values)

    def agreement(self, states: int) -> Agreement:
        """Return what they tell of so many states."""
        error, absolute, square, field, truth, field2, truth2, product = map(
            float, self.values / states
        )
        varies, true_varies = field2 - field**2, truth2 - truth**2
        # Of a constant field rounding leaves a little, of either sign.
        is_constant = varies <= 1e-12 * field2 or true_varies <= 1e-12 * truth2
        return Agreement(
            mae=absolute,
            rmse=square**0.5,
            bias=error,
            r2=1.0 - square / true_varies if true_varies > 1e-12 * truth2 else None,
            pearson=None
            if is_constant
            else (product - field * truth) / (varies * true_varies) ** 0.5,
        )


@dataclass(frozen=True, slots=True)
class PointScores:
    """Scores of single points over some states.

    mean: of the ensemble mean, or of the only draw. baseline: of the interpolated coarse field,
    where it is known. crps: fair. spread: root of the mean variance. spread_skill: spread over
    RMSE with the factor (D + 1) / D, 1 at its best. All three None of a single draw.
    """

    states: int
    draws: int
    mean: Agreement
    baseline: Agreement | None
    crps: float | None
    spread: float | None
    spread_skill: float | None

    @property
    def error(self) -> float:
        """The CRPS, or what it is of a single draw: the mean absolute error."""
        return self.mean.mae if self.crps is None else self.crps

    @property
    def gain(self) -> float | None:
        """The CRPS over the baseline's, which is its MAE: below 1 better than interpolating."""
        if self.baseline is None or self.baseline.mae == 0.0:
            return None
        return self.error / self.baseline.mae

    def plain(self) -> dict[str, Any]:
        """Return what JSON holds: each score with the baseline's beside it."""
        beside = self.baseline
        found: dict[str, Any] = {
            name: {
                "forecast": getattr(self.mean, name),
                "baseline": getattr(beside, name) if beside else None,
            }
            for name in ("mae", "rmse", "bias", "r2", "pearson")
        }
        found["crps"] = {"forecast": self.crps, "baseline": beside.mae if beside else None}
        return found | {
            "spread": self.spread,
            "spread_skill": self.spread_skill,
            "gain": self.gain,
            "states": self.states,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Of some states, each of `draws` draws; added to each other they tell of all."""

    draws: int
    states: int
    crps: float
    variance: float
    mean: Moments
    baseline: Moments | None

    def __add__(self, other: "Sums") -> "Sums":
        if other.draws != self.draws or (other.baseline is None) != (self.baseline is None):
            raise ValueError("states of other numbers of draws, or without a baseline, do not add")
        return Sums(
            self.draws,
            self.states + other.states,
            self.crps + other.crps,
            self.variance + other.variance,
            self.mean + other.mean,
            self.baseline + other.baseline if self.baseline and other.baseline else None,
        )

    def scores(self) -> PointScores:
        """Return what they tell."""
        mean = self.mean.agreement(self.states)
        is_ensemble = self.draws > 1
        # An honest ensemble's mean errs by (D + 1) / D times its variance. Source: Fortin et al.
        # 2014 (https://doi.org/10.1175/JHM-D-14-0008.1).
        variance = self.variance / self.states
        honest = (self.draws + 1) / self.draws * variance
        return PointScores(
            states=self.states,
            draws=self.draws,
            mean=mean,
            baseline=self.baseline.agreement(self.states) if self.baseline else None,
            crps=self.crps / self.states if is_ensemble else None,
            spread=variance**0.5 if is_ensemble else None,
            spread_skill=honest**0.5 / mean.rmse if is_ensemble and mean.rmse else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """What one state tells point by point, (H, W) each. crps: |error| of a single draw."""

    crps: Array64
    error: Array64
    missed: Array64 | None


def points(draws: Array, truth: Array, baseline: Array | None) -> Points:
    """Score every point of (D, H, W) draws, (H, W) truth and baseline; ValueError if unfit."""
    refuse_unfit(draws, truth, baseline)
    exact = draws.astype(np.float64)
    error = np.asarray(exact.mean(axis=0) - truth, dtype=np.float64)
    missed = None if baseline is None else np.asarray(baseline, dtype=np.float64) - truth
    return Points(fair_crps(exact, truth) if len(draws) > 1 else np.abs(error), error, missed)


def sums(
    draws: Array, truth: Array, baseline: Array | None, rows: Array, scored: Points | None = None
) -> Sums:
    """Return the sums of one state: draws (D, H, W), truth and baseline (H, W).

    rows: (H,), each row's share of the surface, summing to 1. scored: `points` of the same, where
    the caller has them. ValueError for fields that do not fit each other.
    """
    found = points(draws, truth, baseline) if scored is None else scored
    exact = draws.astype(np.float64)
    variance = exact.var(axis=0, ddof=1) if len(draws) > 1 else np.zeros(truth.shape)
    return Sums(
        draws=len(draws),
        states=1,
        crps=_mean(found.crps, rows),
        variance=_mean(variance, rows),
        mean=moments(exact.mean(axis=0), truth, rows),
        baseline=None if baseline is None else moments(baseline, truth, rows),
    )


def moments(field: Array, truth: Array, rows: Array) -> Moments:
    """Return the moments of one field, (H, W), against the truth."""
    f, t = field.astype(np.float64), truth.astype(np.float64)
    error = f - t
    terms = (error, np.abs(error), error**2, f, t, f**2, t**2, f * t)
    return Moments(np.array([_mean(term, rows) for term in terms]))


def refuse_unfit(draws: Array, truth: Array, baseline: Array | None) -> None:
    """Raise ValueError, with all shapes, for fields that are not on one grid."""
    other = truth.shape if baseline is None else baseline.shape
    if draws.ndim != 3 or draws.shape[1:] != truth.shape or other != truth.shape:
        raise ValueError(
            f"draws {draws.shape}, truth {truth.shape}, baseline {other} do not fit, "
            "wanted (D, H, W) and twice (H, W)"
        )


def _mean(values: Array64, rows: Array) -> float:
    return float(values.mean(axis=-1) @ rows)
