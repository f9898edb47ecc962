"""Score a bundle on states whose truth is known: the same tiles, sampler and noise as at work."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engines.bundle import Bundle
from engines.denoiser import Denoiser
from engines.errors import UsageError
from engines.sampler import SamplerSettings
from streamer.archive import Archive, StateKey
from streamer.domain import Array, Grid
from streamer.downscale.products import physical
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Recipe, Work
from streamer.downscale.workload import Workload
from streamer.grib.manifest import read_manifest
from streamer.training_set import interpolated_twin, normalise
from streamer.verify.details import Details, DetailScorer
from streamer.verify.scores import Score, Scorer, area_weights

#: Told after every state: how many of how many are done.
Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """States to be scored.

    truth, twin: (N, C, H, W) in the parameters' units. condition: (N, C, H, W), normalised.
    grid: the fine grid. keys: whose noise each state gets, and which day's it is.
    """

    keys: tuple[StateKey, ...]
    truth: Array
    twin: Array
    condition: Array
    grid: Grid

    def errors(self, guess: Array) -> tuple[float, ...]:
        """Return the RMSE of one guess a state, (N, C, H, W), over the area, by channel."""
        rows = area_weights(self.grid.latitudes)
        missed = (guess.astype(np.float64) - self.truth) ** 2
        return tuple(float(x) for x in np.sqrt((missed.mean(axis=-1) @ rows).mean(axis=0)))


@dataclass(frozen=True, slots=True)
class Skill:
    """One parameter's skill as a whole, and where and when it holds (None of a single draw)."""

    score: Score
    details: Details | None

    def plain(self) -> dict[str, object]:
        """Return what a manifest holds."""
        details = {} if self.details is None else self.details.plain()
        return {**self.score.plain(), "gain": self.score.gain, **details}


def trial_of(archive: Archive, states: Sequence[int], bundle: Bundle) -> Trial:
    """Return states of an archive as a bundle would meet their coarse twins.

    Raises UsageError if the archive has another grid or lacks a parameter.
    """
    manifest = read_manifest(bundle.grib)
    if archive.grid != manifest.grid:
        raise UsageError(f"the archive is on {archive.grid}, {bundle.name} is for {manifest.grid}")
    names = [found.name for found in archive.parameters]
    lacking = [name for name in bundle.channels if name not in names]
    if lacking:
        raise UsageError(f"the archive lacks {', '.join(lacking)}, which {bundle.name} downscales")
    chosen = np.ix_(states, [names.index(name) for name in bundle.channels])
    truth = archive.fine[chosen]
    twin = interpolated_twin(truth, archive.grid, manifest.coarse, manifest.interpolation)
    return Trial(
        keys=tuple(archive.keys[i] for i in states),
        truth=truth,
        twin=twin,
        condition=normalise(truth, twin, bundle.normalisation)[1],
        grid=archive.grid,
    )


def score(
    bundle: Bundle,
    denoiser: Denoiser,
    settings: SamplerSettings,
    trial: Trial,
    draws: int,
    report: Report | None = None,
) -> dict[str, Skill]:
    """Return the skill of `draws` draws a state, by parameter."""
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic)
    recipe = Recipe(bundle, layout, settings)
    rows = area_weights(trial.grid.latitudes)
    scorers = {name: Scorer(rows, draws) for name in bundle.channels}
    details = {name: DetailScorer(trial.grid) for name in bundle.channels}
    for state, drawn in enumerate(_draw_all(recipe, denoiser, trial, draws)):
        day = trial.keys[state].valid_time.date()
        for channel, name in enumerate(bundle.channels):
            truth, twin = trial.truth[state, channel], trial.twin[state, channel]
            scorers[name].add(drawn[:, channel], truth, twin)
            if draws > 1:
                details[name].add(day, drawn[:, channel], truth, twin)
        if report is not None:
            report(state + 1, len(trial.keys))
    return {
        name: Skill(scorers[name].score(), details[name].details() if draws > 1 else None)
        for name in bundle.channels
    }


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
