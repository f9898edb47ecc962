"""What is asked of the engine, whose noise it gets, and what comes back."""

import json
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from engines.bundle import Bundle
from engines.sampler import Sampler
from streamer.domain import Array, StepKey, step_text
from streamer.downscale.tiles import Layout

#: Where overlapping tiles of a draw become one: after the sampler, or at each of its levels.
Fusion = Literal["end", "level"]


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How a bundle's residuals are drawn: on which tiles, with which sampler.

    fusion: `end` carries every tile to its own end and blends then; `level` blends the denoised
    tiles of a draw at every call, so that all of them go on from the same state.
    """

    bundle: Bundle
    layout: Layout
    settings: Sampler
    fusion: Fusion = "end"


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A step to be downscaled.

    key: whose it is, unique among all that is queued. condition: (C + K, H, W).
    draws: the noise key of each draw. urgency: higher goes first. labels: (L,) or None.
    """

    key: Hashable
    recipe: Recipe
    condition: Array
    draws: tuple[bytes, ...]
    urgency: float = 0.0
    labels: Array | None = None

    @property
    def size_bytes(self) -> int:
        """What the step holds until its draws are taken: condition and residuals."""
        height, width = self.recipe.layout.shape
        residual = len(self.draws) * len(self.recipe.bundle.channels) * height * width
        return self.condition.nbytes + residual * self.condition.itemsize


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """What came of a step. residual: (D, C, H, W) float32, or None where `fault` says why.

    calls: denoiser calls that its tiles took. seconds: its share of the time of those calls.
    """

    work: Work
    residual: Array | None
    calls: int
    seconds: float
    fault: str = ""


def noise_keys(
    key: StepKey, draws: int, seed: int = 0, noise: Literal["step", "run"] = "step", first: int = 0
) -> tuple[bytes, ...]:
    """Return the noise key of each draw of a step: seed, run, member, step and draw.

    noise: `run` leaves the step out, so that a draw evolves smoothly along its run. first: number
    of the first draw, counted over the whole product's ensemble, so that models never share one.
    """
    step = step_text(key.minutes) if noise == "step" else None
    return tuple(
        # JSON keeps the parts apart whatever they hold.
        json.dumps([seed, key.run.text, key.run.again, step, first + draw]).encode()
        for draw in range(draws)
    )
