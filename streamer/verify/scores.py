"""Scores of an ensemble against the truth, and of the interpolated coarse field beside it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Score:
    """One parameter's skill, area-weighted over all steps, in the parameter's units.

    crps: fair, of single points; None of a single draw. mae, rmse: of the ensemble mean.
    spread_skill: spread over RMSE with the factor (D + 1) / D, 1 for an honest ensemble; None of
    a single draw. baseline: the interpolated coarse field.
    """

    crps: float | None
    mae: float
    rmse: float
    spread_skill: float | None
    draws: int
    baseline_mae: float
    baseline_rmse: float

    @property
    def gain(self) -> float:
        """CRPS as a share of the baseline's MAE, below 1 better than interpolating.

        Of a single draw the MAE stands for the CRPS, which it would be.
        """
        return (self.mae if self.crps is None else self.crps) / self.baseline_mae

    def plain(self) -> dict[str, float | int | None]:
        """Return the score as `replay --json` names it."""
        return asdict(self)


class Scorer:
    """Adds up one parameter's errors, step by step; holds sums and no fields.

    weights: (H,) each row's share of the surface, summing to 1. draws: how many each step has.
    """

    def __init__(self, weights: Array, draws: int) -> None:
        self._weights = np.asarray(weights, dtype=np.float64)
        self._draws = draws
        self._sums = np.zeros(6)
        self._steps = 0

    def add(self, draws: Array, truth: Array, baseline: Array) -> None:
        """Add a step: draws (D, H, W), truth and baseline (H, W), in the same units."""
        if draws.shape != (self._draws, *truth.shape) or baseline.shape != truth.shape:
            raise ValueError(
                f"draws {draws.shape}, truth {truth.shape}, baseline {baseline.shape} do not fit, "
                f"wanted {self._draws} draws on one grid"
            )
        exact = draws.astype(np.float64)
        error = exact.mean(axis=0) - truth
        missed = baseline.astype(np.float64) - truth
        is_ensemble = self._draws > 1
        measures = (
            fair_crps(exact, truth) if is_ensemble else np.zeros(truth.shape),
            np.abs(error),
            error**2,
            exact.var(axis=0, ddof=1) if is_ensemble else np.zeros(truth.shape),
            np.abs(missed),
            missed**2,
        )
        self._sums += [measure.mean(axis=-1) @ self._weights for measure in measures]
        self._steps += 1

    def score(self) -> Score:
        """Return the score of all steps so far; ValueError before the first."""
        if not self._steps:
            raise ValueError("no step was added, wanted at least one")
        means = self._sums / self._steps
        crps, mae, square, variance, baseline_mae, baseline_square = map(float, means)
        # An honest ensemble's mean errs by (D + 1) / D times its variance. Source: Fortin et al.
        # 2014 (https://doi.org/10.1175/JHM-D-14-0008.1).
        factor = (self._draws + 1) / self._draws
        is_ensemble = self._draws > 1
        return Score(
            crps=crps if is_ensemble else None,
            mae=mae,
            rmse=square**0.5,
            spread_skill=(factor * variance / square) ** 0.5 if is_ensemble and square else None,
            draws=self._draws,
            baseline_mae=baseline_mae,
            baseline_rmse=baseline_square**0.5,
        )


def fair_crps(draws: Array, truth: Array) -> NDArray[np.float64]:
    """Return the fair CRPS at every point: (D, H, W) draws, D at least 2, and (H, W) truth.

    Fair: the mean over what an ensemble of any size would get. Source: Ferro 2014
    (https://doi.org/10.1002/qj.2270).
    """
    count = len(draws)
    ranked = np.sort(draws, axis=0)
    # The sum of all pairs' differences, each draw counted by how many lie below and above it.
    order = (2.0 * np.arange(count) - count + 1.0)[:, None, None]
    pairs = (order * ranked).sum(axis=0) / (count * (count - 1))
    return np.asarray(np.abs(draws - truth).mean(axis=0) - pairs, dtype=np.float64)


def area_weights(latitudes: Array) -> NDArray[np.float64]:
    """Return (H,): the share of the grid's surface in each row, summing to 1.

    latitudes: (H,) degrees, evenly spaced. A row reaches half a spacing to both sides, at the
    poles no further than the pole.
    """
    half = abs(float(latitudes[1] - latitudes[0])) / 2
    north = np.sin(np.deg2rad(np.minimum(latitudes + half, 90.0)))
    south = np.sin(np.deg2rad(np.maximum(latitudes - half, -90.0)))
    return np.asarray((north - south) / (north - south).sum(), dtype=np.float64)
