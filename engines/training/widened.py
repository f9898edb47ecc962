"""Weights of one network as the beginning of another that is told more."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from engines.errors import UsageError
from engines.networks import NetworkSettings, build
from engines.training.settings import Array


def widened(
    weights: Mapping[str, Array],
    inputs: Sequence[str],
    network: NetworkSettings,
    wanted: Sequence[str],
) -> Mapping[str, Array]:
    """Return weights for a network whose inputs are others; what is new has no say at first.

    weights: by name. inputs, wanted: the names of the old network's inputs and of the new one's,
    in their order. Raises UsageError where the new one lacks an input, or differs in more.
    """
    lost = [name for name in inputs if name not in wanted]
    if lost:
        raise UsageError(
            f"the network to start from is told {', '.join(lost)}, which this one would not be; it "
            f"is told {', '.join(wanted)}"
        )
    with torch.device("meta"):
        shapes = {name: tuple(one.shape) for name, one in build(network).state_dict().items()}
    if shapes.keys() != weights.keys():
        raise UsageError(
            f"the network to start from has other layers: {len(weights)} of them, wanted "
            f"{len(shapes)}; width, multipliers and blocks must be the same"
        )
    places = [list(wanted).index(name) for name in inputs]
    return {name: _widened(name, weights[name], shape, places) for name, shape in shapes.items()}


def _widened(name: str, found: Array, shape: tuple[int, ...], places: Sequence[int]) -> Array:
    """Return a weight in another shape; only kernels of the first layer may have one."""
    if found.shape == shape:
        return found
    (out, _, *kernel), width = shape, len(places)
    if found.shape != (out, width, *kernel):
        raise UsageError(f"{name} of the network to start from is {found.shape}, wanted {shape}")
    made = np.zeros(shape, found.dtype)
    made[:, list(places)] = found
    return made
