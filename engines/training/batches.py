"""Pairs on the device where they are learnt from; random tiles of them, with noise and levels."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from engines.training.settings import Array, Mirror, Pairs, TrainingSettings


@dataclass(frozen=True, slots=True)
class Batch:
    """Tiles for one step: clean (B, C, h, w), noise the same, the condition, sigma and weights.

    condition: (B, K + M, h, w), constants last. weights: (B, 1, h, w). sigma: (B,), always in
    the host's memory, where the factors that follow from it are computed without waiting.
    """

    clean: Tensor
    noise: Tensor
    condition: Tensor
    sigma: Tensor
    weights: Tensor

    def split(self, parts: int) -> list["Batch"]:
        """Return the batch in equal parts; `parts` must divide its size."""
        whole = (self.clean, self.noise, self.condition, self.sigma, self.weights)
        return [Batch(*part) for part in zip(*(a.chunk(parts) for a in whole), strict=True)]


@dataclass(frozen=True, slots=True)
class _Places:
    """Which tiles: state, first row and column, and whether seen from the other pole; (B,)."""

    state: Tensor
    top: Tensor
    left: Tensor
    is_mirrored: Tensor


@dataclass(frozen=True, slots=True)
class Chance:
    """A step's own randomness: its key, and generators of the host and of the device."""

    key: int
    host: np.random.Generator
    device: torch.Generator


class Store:
    """Pairs as tensors of one device, in the precision in which they came, and what cuts tiles."""

    def __init__(self, pairs: Pairs, device: str) -> None:
        self._residual = torch.from_numpy(np.ascontiguousarray(pairs.residual)).to(device)
        self._condition = torch.from_numpy(np.ascontiguousarray(pairs.condition)).to(device)
        self._constants = _floats(pairs.constants, device)
        self._row_weights = _floats(pairs.row_weights, device)
        self._evened: dict[tuple[int, int], Tensor] = {}
        self._is_periodic = pairs.periodic
        self._mirror = None if pairs.mirror is None else _on(pairs.mirror, device)
        self.device = device

    def draw(
        self,
        settings: TrainingSettings,
        size: int,
        chance: Chance,
        overlap: tuple[int, int] = (0, 0),
    ) -> Batch:
        """Return `size` random tiles with their noise and levels.

        First rows are drawn beyond both edges and moved inside, so that the edge itself, where
        the network sees its own zero padding, is met more often than once in H tiles. overlap:
        rows and columns along a tile's edges that count less and less towards it, as where tiles
        are blended.
        """
        states, _, rows, columns = self._residual.shape
        height, width = settings.tile
        spare = _spare(height)
        last = columns if self._is_periodic else columns - width + 1
        top = self._whole(rows - height + 2 * spare + 1, size, chance) - spare
        mirrors = self._mirror is not None and settings.mirror
        return self._batch(
            _Places(
                state=self._whole(states, size, chance),
                top=top.clamp(0, rows - height),
                left=self._whole(last, size, chance),
                is_mirrored=self._whole(2, size, chance).bool() & mirrors,
            ),
            settings.tile,
            _levels(torch.from_numpy(chance.host.random(size)), settings),
            chance,
            overlap,
        )

    def spread(self, settings: TrainingSettings, size: int, chance: Chance) -> Batch:
        """Return `size` tiles with levels at even shares of their distribution: a fixed measure."""
        drawn = self.draw(replace(settings, mirror=False), size, chance)
        # Steps of the golden section visit all levels in any stretch of tiles.
        even = ((torch.arange(size) + 0.5) * (math.sqrt(5.0) - 1.0) / 2.0) % 1.0
        return replace(drawn, sigma=_levels(even, settings))

    def _whole(self, below: int, size: int, chance: Chance) -> Tensor:
        return torch.randint(below, (size,), generator=chance.device, device=self.device)

    def _batch(
        self,
        places: _Places,
        tile: tuple[int, int],
        sigma: Tensor,
        chance: Chance,
        overlap: tuple[int, int],
    ) -> Batch:
        height, width = tile
        rows, columns = self._residual.shape[2:]
        down = places.top[:, None] + torch.arange(height, device=self.device)
        # Seen from the other pole the first row of a tile is the last that is read.
        down = torch.where(places.is_mirrored[:, None], rows - 1 - down, down)[:, None, :, None]
        across = (places.left[:, None] + torch.arange(width, device=self.device)) % columns
        across = across[:, None, None, :]
        clean = _cut(self._residual, places.state, down, across)
        condition = _cut(self._condition, places.state, down, across)
        constants = _cut(self._constants[None], torch.zeros_like(places.state), down, across)
        if self._mirror is not None:
            is_mirrored = places.is_mirrored[:, None, None, None]
            clean = _mirrored(clean, self._mirror[0], is_mirrored)
            condition = _mirrored(condition, self._mirror[1], is_mirrored)
            constants = _mirrored(constants, self._mirror[2], is_mirrored)
        noise = torch.randn(clean.shape, generator=chance.device, device=self.device)
        given = torch.cat([condition, constants], dim=1)
        weights = self._weights_of(height, overlap[0])[down]
        weights = weights * _shares(places.top, height, rows, overlap[0])[:, None, :, None]
        closed = None if self._is_periodic else columns
        weights = weights * _shares(places.left, width, closed, overlap[1])[:, None, None, :]
        return Batch(clean, noise, given, sigma, weights)

    def _weights_of(self, height: int, overlap: int) -> Tensor:
        """Return (H,): what a row counts in tiles of this height, so that it counts as asked.

        Rows by the edge lie in few tiles, and would count for little; at the poles the network
        would then be worse than it can be.
        """
        kind = height, overlap
        if kind not in self._evened:
            seen = _visits(len(self._row_weights), height, overlap).to(self.device)
            self._evened[kind] = self._row_weights * (seen.mean() / seen)
        return self._evened[kind]


def chance_of(seed: int, step: int, device: str) -> Chance:
    """Return the chance of one step, the same in every life of a fit on this kind of device."""
    mixed = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    key = int(mixed >> np.uint64(1))
    return Chance(key, np.random.default_rng(key), torch.Generator(device).manual_seed(key))


def _spare(height: int) -> int:
    """Return how far beyond both edges a tile's first row is drawn."""
    return height // 4


def _visits(rows: int, height: int, overlap: int) -> Tensor:
    """Return (rows,): in how many of the equally likely places of a tile each row counts."""
    spare = _spare(height)
    tops = torch.arange(-spare, rows - height + spare + 1).clamp(0, rows - height)
    down = tops[:, None] + torch.arange(height)
    shares = _shares(tops, height, rows, overlap)
    return torch.zeros(rows).index_add_(0, down.flatten(), shares.flatten())


def _shares(first: Tensor, size: int, length: int | None, overlap: int) -> Tensor:
    """Return (B, size): what a tile's rows or columns count, by where its first one lies.

    Over `overlap` points from its edges they rise as sin^2, which is their share where tiles are
    blended. The edge of a grid of `length` points is no tile's edge; None: it closes on itself.
    """
    at = torch.arange(size, device=first.device) + 0.5
    rising = (0.5 * math.pi * (at / overlap).clamp(max=1.0)).sin().square()
    if length is None:
        return (rising * rising.flip(0)).expand(len(first), size)
    starts, ends = (first == 0)[:, None], (first == length - size)[:, None]
    return torch.where(starts, 1.0, rising) * torch.where(ends, 1.0, rising.flip(0))


def _levels(shares: Tensor, settings: TrainingSettings) -> Tensor:
    """Return the levels below which these shares of all levels lie."""
    mean, deviation = settings.noise
    normal = torch.special.ndtri(shares.double().clamp(1e-9, 1.0 - 1e-9))
    levels: Tensor = (mean + deviation * normal).exp().float()
    return levels


def _cut(values: Tensor, state: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Return (B, C, h, w) float32 of (N, C, H, W): a state, rows and columns a tile."""
    channel = torch.arange(values.shape[1], device=values.device)[None, :, None, None]
    return values[state[:, None, None, None], channel, down, across].float()


def _mirrored(values: Tensor, turned: Tensor, is_mirrored: Tensor) -> Tensor:
    factor, offset = turned[:, 0, None, None], turned[:, 1, None, None]
    return torch.where(is_mirrored, values * factor + offset, values)


def _on(mirror: Mirror, device: str) -> tuple[Tensor, Tensor, Tensor]:
    return (
        _floats(mirror.residual, device),
        _floats(mirror.condition, device),
        _floats(mirror.constants, device),
    )


def _floats(values: Array, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)
