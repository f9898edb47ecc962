"""What a fit is given and what it tells: pairs of arrays, settings, progress. Plain numpy."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, eq=False)
class Mirror:
    """What becomes of values when north and south change places, besides the order of rows.

    residual: (C, 2), condition: (K, 2), constants: (M, 2): factor and offset by channel, in
    units of the normalised values. A component that points north has factor -1.
    """

    residual: Array
    condition: Array
    constants: Array


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """What a network learns from: N states of residual and condition, and what does not change.

    residual: (N, C, H, W), of deviation sigma_data. condition: (N, K, H, W). constants:
    (M, H, W), after the condition in the network's input. row_weights: (H,), what a row counts in
    the loss. periodic: whether the columns go all the way round, so that tiles may wrap. mirror:
    how a state seen from the other pole looks, None where that is no possible state.
    """

    residual: Array
    condition: Array
    constants: Array
    row_weights: Array
    periodic: bool
    mirror: Mirror | None = None

    @property
    def deviation(self) -> float:
        """The root mean square of all residuals, rows counting by their weights."""
        squares = np.square(self.residual, dtype=np.float64).mean(axis=(0, 1, 3))
        return float(np.sqrt(np.average(squares, weights=self.row_weights)))


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to fit: where, for how long, and against what of the network's own vanity.

    steps: how many, unless `minutes` is above 0: then as many as fit into that time, on this
    device, interruptions not counted. tile: (height, width) of the training tiles, smaller than
    the engine's where a step must be cheap. noise: mean and deviation of ln sigma. averages:
    each averaged network's memory as a share of the steps so far; the best of them counts.
    decay: last share of the fit, over which the rate falls to 0. patience: share of the fit
    without a better held-back loss, after which the best network so far starts its decay.
    report_every: steps between looks at the held-back pairs, held_back_tiles how many those are.
    precision: `bf16` or `fp16` for the network's inner arithmetic where the device is faster at
    it; weights, loss and averages stay float32. workers: threads that share a batch on a CPU.
    """

    steps: int = 2000
    minutes: float = 0.0
    device: str = "cpu"
    precision: Literal["f32", "bf16", "fp16"] = "f32"
    compile: bool = False
    workers: int = 2
    batch: int = 8
    tile: tuple[int, int] = (64, 72)
    seed: int = 1
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.0
    mirror: bool = True
    warmup: int = 100
    decay: float = 0.4
    patience: float = 0.3
    averages: tuple[float, ...] = (0.05, 0.1)
    noise: tuple[float, float] = (-0.4, 1.6)
    report_every: int = 100
    held_back_tiles: int = 32
    checkpoint_every_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a fit stands: losses are in units of 1 at the start.

    loss: the mean since the last report, with dropout. held_back_loss: of the best average at
    this step. share: how much of the fit is done, by steps or by time. seconds: of all its lives.
    """

    step: int
    share: float
    loss: float
    held_back_loss: float
    rate: float
    seconds: float

    @property
    def seconds_left(self) -> float:
        """How long the rest will take at the pace so far."""
        return self.seconds * (1.0 / self.share - 1.0) if self.share else float("inf")


@dataclass(frozen=True, slots=True)
class LevelLoss:
    """The loss at one level, on pairs that were learnt from and on pairs that were not."""

    sigma: float
    learnt: float
    held_back: float


def revive(kind: type[Value], plain: Mapping[str, Any]) -> Value:
    """Make a dataclass from its JSON form, in which tuples are lists; unknown keys are ignored."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    known = {name: value for name, value in plain.items() if name in names}
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in known.items()})
