"""The EDM loss of a network on tiles, over all levels and by level.

Source: Karras et al. 2022, section 5 and appendix B.6 (https://arxiv.org/abs/2206.00364).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from engines.manifest import Preconditioning
from engines.precondition import coefficients
from engines.training.batches import Batch, Store, chance_of
from engines.training.settings import LevelLoss
from engines.training.task import Task

#: Levels at which a finished fit is looked at, from nearly clean to nearly pure noise.
LEVELS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6)
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def batch_loss(
    network: nn.Module, batch: Batch, around: Preconditioning, precision: str = "f32"
) -> Tensor:
    """Return the weighted EDM loss, 1 for a network that predicts nothing.

    |D - clean|^2 / c_out^2 is the squared error of the raw network against its own target,
    (clean - c_skip x) / c_out, which has unit variance at every level.
    """
    device = batch.clean.device
    c_skip, c_out, c_in, c_noise, c_condition = (
        torch.from_numpy(factor).to(device)[:, None, None, None]
        for factor in coefficients(around.kind, batch.sigma.numpy(), around.sigma_data)
    )
    sigma = batch.sigma.to(device)[:, None, None, None]
    x = batch.clean + sigma * batch.noise
    joined = torch.cat([c_in * x, c_condition * batch.condition], dim=1)
    target = (batch.clean - c_skip * x) / c_out
    inputs = joined.to(memory_format=torch.channels_last)
    with torch.autocast(device.type, HALVES.get(precision), enabled=precision in HALVES):
        raw = network(inputs, c_noise.flatten(), None)
    error = (raw.float() - target).square() * batch.weights
    loss: Tensor = error.mean() / batch.weights.mean()
    return loss


@torch.no_grad()
def mean_loss(network: nn.Module, batch: Batch, around: Preconditioning, size: int) -> float:
    """Return the loss over a batch too large for one call, in parts of at most `size` tiles."""
    parts = -(-len(batch.sigma) // size)
    losses, counts = [], []
    for part in batch.split(parts):
        losses.append(batch_loss(network, part, around))
        counts.append(float(part.weights.mean()) * len(part.sigma))
    total = sum(float(loss) * count for loss, count in zip(losses, counts, strict=True))
    return total / sum(counts)


def losses_by_level(
    network: nn.Module, learnt: Store, held_back: Store, task: Task, tiles: int
) -> Sequence[LevelLoss]:
    """Return the losses level by level: where the two part, the network knows its lesson by heart.

    The same tiles and noise at every level, and as many of either kind.
    """
    settings = task.settings
    measures = [
        store.spread(settings, tiles, chance_of(settings.seed, 0, store.device))
        for store in (learnt, held_back)
    ]
    found = []
    for sigma in LEVELS:
        level = [
            mean_loss(
                network,
                replace(one, sigma=torch.full_like(one.sigma, sigma)),
                task.preconditioning,
                settings.batch,
            )
            for one in measures
        ]
        found.append(LevelLoss(sigma, *level))
    return found
