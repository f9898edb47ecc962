"""Tiles with the noise of several draws, and the judge that looks at the same ones each time."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from engines.training.batches import Batch, Store, chance_of
from engines.training.draws_loss import draws_loss, spread_skill
from engines.training.ensemble_loss import fair_crps
from engines.training.few_calls import FewCalls
from engines.training.settings import TrainingSettings
from engines.training.tune_settings import TuneSettings


class Verdict(NamedTuple):
    """What the judge found; scores are in units of the residual's deviation."""

    loss: float
    crps: float
    spread_skill: float


def drawn_tiles(store: Store, settings: TuneSettings, size: tuple[int, int], step: int) -> Batch:
    """Return the tiles of a step, whose noise is (B, D, C, h, w); size: B and D.

    Step 0 is nobody's lesson: its tiles are never mirrored, and the judge's.
    """
    tiles, draws = size
    chance = chance_of(settings.seed, step, settings.device)
    wanted = TrainingSettings(tile=settings.tile, mirror=settings.mirror and step > 0)
    batch = store.draw(wanted, tiles, chance, settings.overlap)
    shape = (tiles, draws, *batch.clean.shape[1:])
    noise = torch.randn(shape, generator=chance.device, device=settings.device)
    return replace(batch, noise=noise)


class Judge:
    """Holds states of a module against the same tiles and noise, a part a thread."""

    def __init__(
        self, module: FewCalls, store: Store, settings: TuneSettings, scale: float
    ) -> None:
        """Take a copy of the module; scale: the deviation of the residual."""
        self._module = deepcopy(module).eval()
        size = settings.judged_tiles, settings.judged_draws
        self._fixed = drawn_tiles(store, settings, size, 0)
        self._settings, self._scale = settings, scale
        self._pool = ThreadPoolExecutor(settings.workers)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()

    @torch.no_grad()
    def verdict(self, state: Mapping[str, Tensor]) -> Verdict:
        """Return what a state of the module is worth on the held-back tiles."""
        self._module.load_state_dict(state)
        # A tile a part: without gradients batches bring nothing but the memory that they take.
        drawn = torch.cat(
            list(self._pool.map(self._draw, self._fixed.split(len(self._fixed.clean))))
        )
        drawn, truth = drawn / self._scale, self._fixed.clean / self._scale
        weights = self._fixed.weights
        return Verdict(
            float(draws_loss(drawn, truth, weights, self._settings.terms)),
            float(fair_crps(drawn, truth, weights)),
            float(spread_skill(drawn, truth, weights)),
        )

    def module(self, state: Mapping[str, Tensor]) -> FewCalls:
        """Return a module of its own in a state, in the host's memory."""
        self._module.load_state_dict(state)
        return deepcopy(self._module).cpu()

    def _draw(self, part: Batch) -> Tensor:
        # Threads do not inherit it.
        with torch.no_grad():
            drawn: Tensor = self._module(part.noise, part.condition)
        return drawn
