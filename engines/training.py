"""Fit a denoiser to arrays of pairs: the EDM loss on random tiles, Adam, an averaged network.

Knows no weather: residuals and conditions arrive as arrays, rows and columns as indices. Every
step draws from its own generator, keyed by seed and step, so a run that was interrupted and
resumed sees the tiles it would have seen.

Source: Karras et al. 2022, section 5 and appendix B.6 (https://arxiv.org/abs/2206.00364).
"""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.errors import UsageError
from engines.manifest import Preconditioning
from engines.networks import NetworkSettings, build
from engines.precondition import coefficients

Array = NDArray[np.float32]
HELD_BACK_TILES = 32
CLIP = 1.0
#: Settings that a resumed fit may change: how long and how fast, not what.
MAY_CHANGE = ("steps", "precision", "workers", "report_every", "checkpoint_every_s")


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """What a network learns from: N states of residual and condition, and what does not change.

    residual: (N, C, H, W), of deviation sigma_data. condition: (N, K, H, W). constants:
    (M, H, W), after the condition in the network's input. row_weights: (H,), what a row counts in
    the loss. periodic: whether the columns go all the way round, so that tiles may wrap.
    """

    residual: Array
    condition: Array
    constants: Array
    row_weights: Array
    periodic: bool


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to fit; the defaults made the bundle that ships.

    tile: (height, width) of the training tiles, smaller than the engine's so that a step is cheap.
    noise: mean and deviation of ln sigma. average: the averaging's longest memory is
    1 / (1 - average) steps. report_every: steps between looks at the held-back pairs.
    precision: `f32`, or `bf16` for the network's inner arithmetic where the device is faster at
    it; weights, loss and averages stay float32. workers: threads that share a batch, a part each.
    """

    steps: int = 2000
    precision: str = "f32"
    workers: int = 2
    batch: int = 8
    tile: tuple[int, int] = (64, 72)
    seed: int = 1
    learning_rate: float = 1.5e-3
    warmup: int = 100
    average: float = 0.998
    noise: tuple[float, float] = (-0.8, 1.2)
    report_every: int = 100
    checkpoint_every_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a fit stands: losses are means since the last report, in units of 1 at the start."""

    step: int
    steps: int
    loss: float
    held_back_loss: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tiles for one step: clean (B, C, h, w), noisy the same, the condition, sigma and weights."""

    clean: Array
    noise: Array
    condition: Array
    sigma: Array
    weights: Array

    def split(self, parts: int) -> list["Batch"]:
        """Return the batch in equal parts; `parts` must divide its size."""
        whole = (self.clean, self.noise, self.condition, self.sigma, self.weights)
        return [Batch(*part) for part in zip(*(np.split(a, parts) for a in whole), strict=True)]


def draw_batch(
    pairs: Pairs, settings: TrainingSettings, size: int, rng: np.random.Generator
) -> Batch:
    """Return `size` random tiles with their noise and levels.

    First rows are drawn a little beyond both edges and moved inside, so that the edge itself,
    where the network sees its own zero padding, is met more often than once in H tiles.
    """
    states, channels, rows, columns = pairs.residual.shape
    height, width = settings.tile
    spare = height // 8
    state = rng.integers(states, size=size)
    top = np.clip(rng.integers(-spare, rows - height + spare + 1, size=size), 0, rows - height)
    last = columns if pairs.periodic else columns - width + 1
    left = rng.integers(last, size=size)
    mean, deviation = settings.noise
    sigma = np.exp(mean + deviation * rng.standard_normal(size)).astype(np.float32)
    clean = np.empty((size, channels, height, width), np.float32)
    given = pairs.condition.shape[1]
    condition = np.empty((size, given + len(pairs.constants), height, width), np.float32)
    weights = np.empty((size, 1, height, 1), np.float32)
    for i in range(size):
        down = slice(top[i], top[i] + height)
        across = (left[i] + np.arange(width)) % columns
        clean[i] = pairs.residual[state[i], :, down][..., across]
        condition[i, :given] = pairs.condition[state[i], :, down][..., across]
        condition[i, given:] = pairs.constants[:, down][..., across]
        weights[i, 0, :, 0] = pairs.row_weights[down]
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    return Batch(clean, noise, condition, sigma, weights)


def batch_loss(
    network: nn.Module, batch: Batch, preconditioning: Preconditioning, precision: str = "f32"
) -> Tensor:
    """Return the weighted EDM loss, 1 for a network that predicts nothing.

    |D - clean|^2 / c_out^2 is the squared error of the raw network against its own target,
    (clean - c_skip x) / c_out, which has unit variance at every level.
    """
    scalings = coefficients(preconditioning.kind, batch.sigma, preconditioning.sigma_data)
    x = batch.clean + batch.sigma[:, None, None, None] * batch.noise
    joined = np.concatenate([x, batch.condition], axis=1) * scalings.c_in[:, None, None, None]
    target = (batch.clean - scalings.c_skip[:, None, None, None] * x) / (
        scalings.c_out[:, None, None, None]
    )
    inputs = torch.from_numpy(joined).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        raw = network(inputs, torch.from_numpy(scalings.c_noise), None).float()
    weights = torch.from_numpy(batch.weights)
    error = (raw - torch.from_numpy(target)).square() * weights
    loss: Tensor = error.mean() / weights.mean()
    return loss


def fit(
    pairs: Pairs,
    held_back: Pairs,
    network_settings: NetworkSettings,
    settings: TrainingSettings,
    preconditioning: Preconditioning,
    checkpoint: Path,
    report: Callable[[Progress], None],
) -> tuple[nn.Module, list[Progress]]:
    """Return the averaged network and the course of its fit.

    Continues from `checkpoint` if it exists and was made with the same settings, else raises
    UsageError naming the difference; steps, precision and workers may change on the way. The same
    seed and workers give the same weights on the same kind of machine.
    """
    _refuse_what_does_not_fit(pairs, network_settings, settings)
    # One thread a part: threads that share one operation wait for each other at every operation,
    # which costs a neighbour's whole time slice wherever the cores are shared.
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    network = build(network_settings).to(memory_format=torch.channels_last)
    team = _Team(network, network_settings, settings, preconditioning)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.Adam(network.parameters(), settings.learning_rate, betas=(0.9, 0.99))
    state = _State(network, optimiser, average, asdict(network_settings) | asdict(settings))
    state.restore(checkpoint)
    fixed = draw_batch(held_back, settings, HELD_BACK_TILES, np.random.default_rng(settings.seed))
    saved = started = time.monotonic()
    losses: list[float] = []
    for step in range(state.step, settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate(step, settings)
        chance = np.random.default_rng([settings.seed, step])
        losses.append(team.gradients(draw_batch(pairs, settings, settings.batch, chance)))
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        state.step = step + 1
        _blend(average, network, min(settings.average, (1 + step) / (10 + step)))
        is_last = state.step == settings.steps
        if is_last or state.step % settings.report_every == 0:
            held = _held_back_loss(network_settings, average, fixed, preconditioning)
            seconds = state.seconds + time.monotonic() - started
            mean, losses = float(np.mean(losses)), []
            state.history.append(Progress(state.step, settings.steps, mean, held, seconds))
            report(state.history[-1])
        if is_last or time.monotonic() - saved > settings.checkpoint_every_s:
            saved = time.monotonic()
            state.save(checkpoint, state.seconds + saved - started)
    network.load_state_dict(average)
    return network.eval(), state.history


def _refuse_what_does_not_fit(
    pairs: Pairs, network_settings: NetworkSettings, settings: TrainingSettings
) -> None:
    rows, columns = pairs.residual.shape[2:]
    height, width = settings.tile
    divisor = 2 ** (len(network_settings.multipliers) - 1)
    if height > rows or width > columns or height % divisor or width % divisor:
        raise UsageError(
            f"training tiles are {height}x{width}, want sides divisible by {divisor} "
            f"that fit the grid of {rows}x{columns}"
        )
    if settings.batch % settings.workers:
        raise UsageError(
            f"{settings.workers} workers cannot share batches of {settings.batch} tiles equally"
        )


def rate(step: int, settings: TrainingSettings) -> float:
    """Return the learning rate at `step` as a share of its peak: a warm-up, then a cosine to 0."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1.0 + math.cos(math.pi * done))


class _State:
    """What a checkpoint holds: enough to continue as if never interrupted."""

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        average: dict[str, Tensor],
        settings: Mapping[str, Any],
    ) -> None:
        self._network, self._optimiser, self._average = network, optimiser, average
        self._settings = {name: _plain(value) for name, value in settings.items()}
        self.step = 0
        self.seconds = 0.0
        self.history: list[Progress] = []

    def restore(self, path: Path) -> None:
        if not path.exists():
            return
        held = torch.load(path, weights_only=True)
        for name, value in self._settings.items():
            if name not in MAY_CHANGE and held["settings"].get(name) != value:
                found = held["settings"].get(name)
                raise UsageError(
                    f"{path} was made with {name} {found}, this run wants {value}; "
                    "remove it to start afresh"
                )
        self._network.load_state_dict(held["network"])
        self._optimiser.load_state_dict(held["optimiser"])
        for name, value in held["average"].items():
            self._average[name].copy_(value)
        self.step, self.seconds = held["step"], held["seconds"]
        self.history = [Progress(**entry) for entry in held["history"]]

    def save(self, path: Path, seconds: float) -> None:
        held = {
            "settings": self._settings,
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "average": self._average,
            "step": self.step,
            "seconds": seconds,
            "history": [asdict(entry) for entry in self.history],
        }
        # A crash while writing must not cost the checkpoint before it.
        beside = path.with_suffix(".new")
        torch.save(held, beside)
        beside.replace(path)


class _Team:
    """Replicas of one network that share its weights; each works on its part of a batch."""

    def __init__(
        self,
        network: nn.Module,
        network_settings: NetworkSettings,
        settings: TrainingSettings,
        preconditioning: Preconditioning,
    ) -> None:
        self._networks = [network]
        for _ in range(settings.workers - 1):
            replica = build(network_settings)
            for (name, module), other in zip(
                network.named_modules(), replica.modules(), strict=True
            ):
                assert type(module) is type(other), name
                for key, weight in module.named_parameters(recurse=False):
                    setattr(other, key, nn.Parameter(weight.data))
            self._networks.append(replica)
        self._precision, self._preconditioning = settings.precision, preconditioning
        self._pool = ThreadPoolExecutor(settings.workers)

    def gradients(self, batch: Batch) -> float:
        """Leave the batch's gradients in the first network and return its loss."""
        parts = batch.split(len(self._networks))
        losses = list(self._pool.map(self._one, self._networks, parts))
        first, *others = (list(network.parameters()) for network in self._networks)
        for i, weight in enumerate(first):
            assert weight.grad is not None
            for other in others:
                weight.grad += other[i].grad  # type: ignore[arg-type]
            weight.grad /= len(self._networks)
        return sum(losses) / len(losses)

    def _one(self, network: nn.Module, part: Batch) -> float:
        network.zero_grad(set_to_none=True)
        loss = batch_loss(network, part, self._preconditioning, self._precision)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())


@torch.no_grad()
def _blend(average: dict[str, Tensor], network: nn.Module, keep: float) -> None:
    for name, value in network.state_dict().items():
        average[name].lerp_(value, 1.0 - keep)


@torch.no_grad()
def _held_back_loss(
    settings: NetworkSettings,
    average: dict[str, Tensor],
    fixed: Batch,
    preconditioning: Preconditioning,
) -> float:
    network = build(settings).to(memory_format=torch.channels_last)
    network.load_state_dict(average)
    return float(batch_loss(network.eval(), fixed, preconditioning))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
