"""Score a bundle on states whose truth is known: the same tiles, sampler and noise as at work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from engines.bundle import Bundle
from engines.denoiser import Denoiser
from engines.sampler import SamplerSettings
from streamer.archive import StateKey
from streamer.domain import Array
from streamer.downscale.products import physical
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Recipe, Work
from streamer.downscale.workload import Workload
from streamer.training_set import Array64

#: Told after every state: how many of how many are done.
Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Score:
    """One parameter's skill, area weighted over all states, in its units.

    crps: fair, of single points. mae, rmse: of the ensemble mean. spread_skill: spread over RMSE
    with the factor (D + 1) / D, 1 for an honest ensemble. baseline: the interpolated coarse field.
    """

    crps: float
    mae: float
    rmse: float
    spread_skill: float
    baseline_mae: float
    baseline_rmse: float

    @property
    def gain(self) -> float:
        """CRPS as a share of the baseline's MAE: below 1 is better than interpolating."""
        return self.crps / self.baseline_mae


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """States to be scored.

    truth, twin: (N, C, H, W) in the parameters' units. condition: (N, C, H, W), normalised.
    rows: (H,), each row's share of the surface. keys: whose noise each state gets.
    """

    keys: tuple[StateKey, ...]
    truth: Array
    twin: Array
    condition: Array
    rows: Array64


def score(
    bundle: Bundle,
    denoiser: Denoiser,
    settings: SamplerSettings,
    trial: Trial,
    draws: int,
    report: Report | None = None,
) -> dict[str, Score]:
    """Return the skill of `draws` draws a state, by parameter."""
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic)
    recipe = Recipe(bundle, layout, settings)
    sums = np.zeros((len(bundle.channels), len(_MEASURES)))
    for state, drawn in enumerate(_draw_all(recipe, denoiser, trial, draws)):
        for channel in range(len(bundle.channels)):
            one = drawn[:, channel], trial.truth[state, channel], trial.twin[state, channel]
            fields = _measure(*(values.astype(np.float64) for values in one))
            sums[channel] += [field.mean(axis=-1) @ trial.rows for field in fields]
        if report is not None:
            report(state + 1, len(trial.keys))
    means = sums / len(trial.keys)
    factor = (draws + 1) / draws
    return {
        name: Score(
            crps=float(crps),
            mae=float(mae),
            rmse=float(square**0.5),
            spread_skill=float((factor * variance / square) ** 0.5),
            baseline_mae=float(baseline_mae),
            baseline_rmse=float(baseline_square**0.5),
        )
        for name, (crps, mae, square, variance, baseline_mae, baseline_square) in zip(
            bundle.channels, means, strict=True
        )
    }


def fair_crps(draws: Array64, truth: Array64) -> Array64:
    """Return the fair CRPS at every point: (D, H, W) draws, D at least 2, and (H, W) truth.

    Fair: the mean over what an ensemble of any size would get. Source: Ferro 2014
    (https://doi.org/10.1002/qj.2270).
    """
    count = len(draws)
    ranked = np.sort(draws, axis=0)
    # The sum of all pairs' differences, each draw counted by how many lie below and above it.
    order = (2.0 * np.arange(count) - count + 1.0)[:, None, None]
    pairs = (order * ranked).sum(axis=0) / (count * (count - 1))
    crps: Array64 = np.abs(draws - truth).mean(axis=0) - pairs
    return crps


_MEASURES = ("crps", "mae", "square", "variance", "baseline_mae", "baseline_square")


def _measure(draws: Array64, truth: Array64, twin: Array64) -> tuple[Array64, ...]:
    mean = draws.mean(axis=0)
    return (
        fair_crps(draws, truth),
        np.abs(mean - truth),
        (mean - truth) ** 2,
        draws.var(axis=0, ddof=1),
        np.abs(twin - truth),
        (twin - truth) ** 2,
    )


def _draw_all(recipe: Recipe, denoiser: Denoiser, trial: Trial, draws: int) -> Iterator[Array]:
    """Yield each state's draws in physical units, (D, C, H, W)."""
    bundle = recipe.bundle
    for state, key in enumerate(trial.keys):
        condition = np.concatenate([trial.condition[state], bundle.constants])
        noise = tuple(f"{key} draw {draw}".encode() for draw in range(draws))
        workload = Workload()
        workload.add(Work(key, recipe, condition, noise))
        while (batch := workload.next_batch()) is not None:
            workload.store(batch, denoiser.denoise(*batch.inputs()))
        (finished,) = workload.finished()
        assert finished.residual is not None, finished.fault
        yield physical(finished.residual, condition, bundle)
