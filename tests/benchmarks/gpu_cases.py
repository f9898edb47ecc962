"""What `make bench-gpu` runs: the shipped wind network, and published ones with random weights."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import nn

from engines.backends.torch_network import load
from engines.bundle import Bundle, open_manifest
from engines.denoiser import Array
from engines.manifest import Preconditioning
from engines.networks import NetworkSettings, build
from engines.networks.settings import from_plain, published
from engines.precondition import coefficients
from engines.sampler import SamplerSettings

WIND = "gfs-wind-4to1"
#: Tiles that differ.
DISTINCT = 8


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A network to measure. make: builds it with its weights. costly: float32 in few sizes only."""

    name: str
    shape: NetworkSettings
    around: Preconditioning
    sampler: SamplerSettings
    make: Callable[[], nn.Module]
    costly: bool
    bundle: Bundle | None = None

    def arrays(self, batch: int) -> tuple[Array, Array, Array, Array | None]:
        """Return x, sigma, condition and labels for tiles at different levels.

        Tile i is the same one in every batch, and every `DISTINCT` tiles come again.
        """
        which = np.arange(batch) % DISTINCT
        x, sigma, condition, labels = _tiles(self.shape)
        return x[which], sigma[which], condition[which], labels[which] if labels.size else None

    def tensors(self, batch: int, device: torch.device) -> list[torch.Tensor]:
        """Return x, factors, condition and, if it has any, labels, on the device."""
        x, sigma, condition, labels = self.arrays(batch)
        factors = np.stack(coefficients(self.around.kind, sigma, self.around.sigma_data), axis=1)
        given = [x, factors, condition] + ([] if labels is None else [labels])
        return [torch.from_numpy(array).to(device) for array in given]


@cache
def _tiles(shape: NetworkSettings) -> tuple[Array, Array, Array, Array]:
    chance = np.random.default_rng(1)

    def normal(*sizes: int) -> Array:
        return chance.standard_normal((DISTINCT, *sizes), dtype=np.float32)

    sigma = np.geomspace(20.0, 0.05, DISTINCT).astype(np.float32)
    x = normal(shape.outputs, *shape.tile) * np.sqrt(1.0 + sigma**2)[:, None, None, None]
    condition = normal(shape.inputs - shape.outputs, *shape.tile)
    return x, sigma, condition, np.sin(normal(shape.labels))


def wind() -> Case:
    """Return the network of the bundle that ships."""
    bundle = open_manifest(WIND)
    shape = from_plain(bundle.network, "model.json")

    def make() -> nn.Module:
        network = build(shape)
        load(network, bundle)
        return network

    around = bundle.preconditioning
    return Case("wind", shape, around, bundle.sampler, make, costly=False, bundle=bundle)


def foreign(architecture: str, tile: tuple[int, int] = (144, 360), width: int = 128) -> Case:
    """Return a network as published, six parameters and four labels, with random weights."""
    shape = published(architecture, 16, 6, tile, labels=4, width=width)
    settings = SamplerSettings(steps=6)
    around = Preconditioning("edm", 1.0)
    return Case(architecture, shape, around, settings, lambda: seeded(shape), costly=True)


def seeded(shape: NetworkSettings) -> nn.Module:
    """Return a network whose weights are random and none of them 0, so that every layer counts."""
    return copy.deepcopy(_seeded(shape))


@cache
def _seeded(shape: NetworkSettings) -> nn.Module:
    torch.manual_seed(1)
    network = build(shape)
    for weight in network.parameters():
        if weight.ndim > 1 and not weight.any():
            nn.init.xavier_uniform_(weight)
    return network


def narrow(case: Case) -> Case:
    """Return a case that a desk can try: a small tile, few channels."""
    shape = replace(case.shape, tile=(16, 24), width=32, attention=())
    settings = replace(case.sampler, steps=3)
    return replace(case, shape=shape, sampler=settings, make=lambda: seeded(shape), bundle=None)
