"""A bundle that a fit begins with."""

from collections.abc import Mapping
from typing import Any

from engines.backends.torch_network import read_weights
from engines.bundle import Bundle
from engines.errors import UsageError
from engines.networks import NetworkSettings
from engines.training.settings import Array
from engines.training.widened import widened


def weights(
    start: Bundle, channels: tuple[str, ...], constants: tuple[str, ...], network: NetworkSettings
) -> Mapping[str, Array]:
    """Return a bundle's weights for a network of these channels and constants.

    Raises UsageError where they misfit.
    """
    if start.channels != channels or start.labels:
        labels = f" and the labels {', '.join(start.labels)}" if start.labels else ""
        raise UsageError(
            f"--start: {start.name} has the channels {', '.join(start.channels)}{labels}, wanted "
            f"{', '.join(channels)} and no labels"
        )
    # The noisy residual comes first, then the coarse fields, then the constants.
    fields = (*(f"residual {name}" for name in channels), *channels)
    inputs, wanted = (*fields, *start.constant_names), (*fields, *constants)
    return widened(read_weights(start), inputs, network, wanted)


def told(start: Bundle) -> Mapping[str, Any]:
    """Return what a card tells of the bundle that a fit began with, and of those before it."""
    kept = {name: start.training.get(name) for name in ("command", "steps", "minutes", "start")}
    return {"bundle": start.name, "digest": start.digest, **kept}
