"""What a tuning is told and what it tells. Needs no torch."""

import math
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Terms:
    """How much each part of the loss counts beside the fair CRPS, which counts 1.

    band: power at three ranges of wavenumbers. patch: energy score of patches. gradient: CRPS of
    differences between neighbours. spread: squared logarithm of spread over skill, divided by
    `aim`: what is learnt by heart has a smaller error than it will have at work, so an aim above
    1 leaves room.
    """

    band: float = 0.1
    patch: float = 0.0
    gradient: float = 0.0
    spread: float = 0.0
    aim: float = 1.0


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """How to tune.

    steps, minutes, device, precision, workers, seed, mirror: as in `TrainingSettings`. batch:
    tiles a step, of which each gets `draws` draws. learning_rate: of the network, at its highest;
    five times as much destroys it. sampler_rate: of levels and coefficients, 0 freezes them.
    overlap: rows and columns that neighbouring tiles share at work; towards its edges a tile
    counts as little as it does there. averages: each averaged network's memory as a share of the
    steps so far. judged_tiles and judged_draws: what every look at the held-back days consists of.
    """

    steps: int = 400
    minutes: float = 0.0
    device: str = "cpu"
    precision: Literal["f32", "bf16", "fp16"] = "f32"
    workers: int = 2
    batch: int = 8
    draws: int = 2
    tile: tuple[int, int] = (64, 72)
    overlap: tuple[int, int] = (0, 0)
    seed: int = 1
    learning_rate: float = 6e-5
    sampler_rate: float = 1e-3
    warmup: int = 40
    averages: tuple[float, ...] = (0.05, 0.1)
    mirror: bool = True
    terms: Terms = field(default_factory=Terms)
    report_every: int = 40
    judged_tiles: int = 24
    judged_draws: int = 4
    checkpoint_every_s: float = 60.0


@dataclass(frozen=True, slots=True)
class TuneProgress:
    """Where a tuning stands.

    loss: the mean since the last report, NaN before the first step. held_back_loss: the lowest of
    the averages at this step, and crps and spread_skill that average's, all on held-back tiles.
    share: how much of the tuning is done. seconds: of all its lives.
    """

    step: int
    share: float
    loss: float
    held_back_loss: float
    crps: float
    spread_skill: float
    seconds: float

    @property
    def seconds_left(self) -> float:
        """How long the rest will take at the pace so far."""
        return self.seconds * (1.0 / self.share - 1.0) if self.share else math.inf


def rate(step: int, share: float, warmup: int) -> float:
    """Return the learning rate as a share of its peak: a warm-up, and a half cosine to 0."""
    rising = min(1.0, (step + 1) / max(1, warmup))
    return rising * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))
