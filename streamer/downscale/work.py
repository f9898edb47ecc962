"""What is asked of the engine, whose noise it gets, and what comes back."""

import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Literal

from engines.bundle import Bundle
from engines.sampler import Sampler
from streamer.domain import Array, StepKey, step_text
from streamer.downscale.tiles import Layout

#: Where overlapping tiles of a draw become one: after the sampler, or at each of its levels.
Fusion = Literal["end", "level"]

#: Takes a draw's number and the draw, (C, H, W) float32 in the bundle's units, to keep.
TakeDraw = Callable[[int, Array], None]


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
    wanted: which of the layout's tiles are computed, None for all; points in which any other has
      a share are NaN in what comes back. Blended at every level, each tile leans on all others
      through its neighbours, so that all are computed whatever is wanted.
    on_draw: gets every draw once, as soon as it is blended, instead of the result, so that no
      two need be held. Called on an engine's thread, one draw of a step at a time, in any order;
      what it raises fails the step. A step that is cancelled meanwhile may hand one over still.
    Raises ValueError for tiles that the layout does not have, and for none at all.
    """

    key: Hashable
    recipe: Recipe
    condition: Array
    draws: tuple[bytes, ...]
    urgency: float = 0.0
    labels: Array | None = None
    wanted: tuple[int, ...] | None = None
    on_draw: TakeDraw | None = None

    def __post_init__(self) -> None:
        """Refuse tiles that nobody could compute."""
        count = len(self.recipe.layout.tiles)
        if self.wanted is not None and not set(self.wanted) & set(range(count)) == set(self.wanted):
            raise ValueError(f"{self.key}: tiles {self.wanted} of a layout of {count}")
        if self.wanted == ():
            raise ValueError(f"{self.key}: no tile is wanted")

    @property
    def tiles(self) -> tuple[int, ...]:
        """The tiles that are computed, by their index in the layout, rising."""
        if self.wanted is None or self.recipe.fusion == "level":
            return tuple(range(len(self.recipe.layout.tiles)))
        return tuple(sorted(set(self.wanted)))

    @property
    def size_bytes(self) -> int:
        """What the step holds until its draws are taken: condition and residuals."""
        height, width = self.recipe.layout.shape
        # Draws are carried one after the other, so that only one is in the making as a rule.
        held = len(self.draws) if self.on_draw is None else min(1, len(self.draws))
        residual = held * len(self.recipe.bundle.channels) * height * width
        return self.condition.nbytes + residual * self.condition.itemsize


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """What came of a step.

    residual: (D, C, H, W) float32, or None where `fault` says why and where `on_draw` took it.

    calls: denoiser calls that its tiles took. seconds: its share of the time of those calls.
    """

    work: Work
    residual: Array | None
    calls: int
    seconds: float
    fault: str = ""


def noise_keys(
    key: StepKey,
    numbers: Iterable[int],
    seed: int = 0,
    noise: Literal["step", "run"] = "step",
) -> tuple[bytes, ...]:
    """Return the noise key of each draw of a step: seed, run, member, step and draw.

    numbers: of the draws, counted over a product's whole ensemble, so that two ways of drawing
    never share one. noise: `run` leaves the step out, so that a draw evolves smoothly.
    """
    step = step_text(key.minutes) if noise == "step" else None
    return tuple(
        # JSON keeps the parts apart whatever they hold.
        json.dumps([seed, key.run.text, key.run.again, step, number]).encode()
        for number in numbers
    )
