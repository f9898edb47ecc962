"""A network in half precision inside a float32 shell, to be written down as a graph.

Convolutions and the sums between them are half; what loses most by it stays float32: the norms'
statistics, and the embedding of noise and labels, whose frequencies amplify rounding.
"""

import copy
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from engines.errors import UsageError

#: By the name of a precision, what the inside is made of.
INSIDE: Mapping[str, torch.dtype] = MappingProxyType(
    {"f32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
)

#: Modules of a network that stay float32: they make the embedding.
EMBEDDING = "map_"


def lowered(network: nn.Module, precision: str) -> nn.Module:
    """Return the network, or a copy of it in half precision that takes and gives float32.

    Raises UsageError for a precision that we do not know.
    """
    if precision not in INSIDE:
        raise UsageError(f"precision is {precision!r}, wanted one of {', '.join(INSIDE)}")
    dtype = INSIDE[precision]
    return network if dtype is torch.float32 else _Shell(network, dtype)


class _Shell(nn.Module):
    """The float32 shell: casts on the way in and out."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self._dtype = dtype
        _lower(self.network, dtype)

    def forward(
        self, inputs: Tensor, c_noise: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Return the network's answer, (B, C, H, W) float32, to arguments in float32."""
        raw: Tensor = self.network(inputs.to(self._dtype), c_noise, labels)
        return raw.float()


class _FullNorm(nn.Module):
    """A group norm that reckons in float32 between half neighbours."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalised, in shape and type of its own."""
        found: Tensor = self.norm(x.float())
        return found.to(x.dtype)


def _lower(network: nn.Module, dtype: torch.dtype) -> None:
    """Turn weights and buffers to half, but those of the norms and of the embedding."""
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.GroupNorm) or path.startswith(EMBEDDING):
            continue
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            tensor.data = tensor.data.to(dtype)
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                # A container's children and a module's attributes are replaced alike.
                module.register_module(name, _FullNorm(child))
