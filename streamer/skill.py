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
from streamer.verify.scores import Score, Scorer

#: Told after every state: how many of how many are done.
Report = Callable[[int, int], None]


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
    scorers = {name: Scorer(trial.rows, draws) for name in bundle.channels}
    for state, drawn in enumerate(_draw_all(recipe, denoiser, trial, draws)):
        for channel, scorer in enumerate(scorers.values()):
            scorer.add(drawn[:, channel], trial.truth[state, channel], trial.twin[state, channel])
        if report is not None:
            report(state + 1, len(trial.keys))
    return {name: scorer.score() for name, scorer in scorers.items()}


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
