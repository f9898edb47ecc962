"""A fit as a whole: which network, how, and around it the same preconditioning as at work."""

import argparse
from dataclasses import dataclass

from engines.errors import UsageError
from engines.manifest import Preconditioning
from engines.networks import NetworkSettings
from engines.networks.settings import misfits
from engines.training import options
from engines.training.settings import Pairs, TrainingSettings

#: What every fit here is surrounded by: residuals come in units of their deviation, and the
#: condition is told as it is, so that a first call at a high level knows all that can be known.
PRECONDITIONING = Preconditioning("corrdiff", sigma_data=1.0)


@dataclass(frozen=True, slots=True)
class Task:
    """What to fit, and how."""

    network: NetworkSettings
    settings: TrainingSettings
    preconditioning: Preconditioning = PRECONDITIONING


def task_of(arguments: argparse.Namespace, pairs: Pairs) -> Task:
    """Return what the options of a command line ask for, for these pairs."""
    outputs = pairs.residual.shape[1]
    inputs = outputs + pairs.condition.shape[1] + len(pairs.constants)
    return Task(_network(arguments, inputs, outputs), options.training(arguments))


def refuse_what_does_not_fit(pairs: Pairs, task: Task) -> None:
    """Raise UsageError for tiles, workers or shares that no fit can use."""
    settings, faults = task.settings, misfits(task.network)
    if faults:
        raise UsageError("; ".join(faults))
    rows, columns = pairs.residual.shape[2:]
    height, width = settings.tile
    divisor = 2 ** (len(task.network.multipliers) - 1)
    if height > rows or width > columns or height % divisor or width % divisor:
        raise UsageError(
            f"training tiles are {height}x{width}, want sides divisible by {divisor} "
            f"that fit the grid of {rows}x{columns}"
        )
    if settings.batch % settings.workers:
        raise UsageError(
            f"{settings.workers} workers cannot share batches of {settings.batch} tiles equally"
        )
    if not 0.0 < settings.decay <= 1.0 or settings.patience <= 0.0:
        raise UsageError(
            f"decay is {settings.decay:g} and patience {settings.patience:g}, "
            "want shares of the fit above 0, decay at most 1"
        )
    if not all(0.0 < width < 0.28 for width in settings.averages) or not settings.averages:
        raise UsageError(f"averages are {settings.averages}, want shares between 0 and 0.28")


def _network(arguments: argparse.Namespace, inputs: int, outputs: int) -> NetworkSettings:
    return NetworkSettings(
        inputs=inputs,
        outputs=outputs,
        tile=tuple(arguments.tile),
        width=arguments.width,
        multipliers=tuple(arguments.multipliers),
        blocks=arguments.blocks,
        dropout=arguments.dropout,
        attention=(),
        # Attention sees the whole tile, so that tiles of one field would fit together worse.
        bottleneck_attention=False,
    )
