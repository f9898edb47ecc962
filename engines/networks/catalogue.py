"""The architectures that a bundle may name, and how one is built."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from engines.errors import BundleError
from engines.networks.dhariwal import DhariwalUNet
from engines.networks.settings import NetworkSettings, misfits
from engines.networks.song import SongUNet

ARCHITECTURES: Mapping[str, Callable[[NetworkSettings], nn.Module]] = MappingProxyType(
    {"ddpmpp": SongUNet, "ncsnpp": SongUNet, "adm": DhariwalUNet}
)


def build(settings: NetworkSettings) -> nn.Module:
    """Return the network with fresh weights; raises BundleError for one that cannot be."""
    faults = misfits(settings)
    if faults:
        raise BundleError("; ".join(faults))
    try:
        return ARCHITECTURES[settings.architecture](settings)
    except BundleError as error:
        raise BundleError(
            f"network {settings.architecture} of width {settings.width} times "
            f"{list(settings.multipliers)}: {error}"
        ) from error
