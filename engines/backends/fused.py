"""Blocks of a network for a GPU: what stands between two convolutions is one kernel or two.

The same numbers as `engines.networks.block`, from the same weights, to rounding.
"""

import torch
from torch import Tensor, nn

from engines.backends.fused_kernels import ADDED, NOTHING, SCALED, joined, normed
from engines.networks.block import Block
from engines.networks.layers import Conv


class FusedBlock(Block):
    """A block whose biases wait for the next pass over memory. Made of a block by `fuse`."""

    bias0: Tensor
    bias1: Tensor
    bias2: Tensor
    nothing_in: Tensor
    nothing_out: Tensor

    def take_biases(self) -> None:
        """Take what a convolution would add, in a pass of its own, to the pass that follows."""
        found = {
            "nothing_in": torch.zeros_like(self.norm0.weight),
            "nothing_out": torch.zeros_like(self.norm1.weight),
            "bias0": _taken(self.conv0),
            "bias1": _taken(self.conv1),
        }
        if self.skip is not None and hasattr(self.skip, "bias"):
            found["bias1"] = found["bias1"] + _taken(self.skip)
        if self._attention is not None:
            found["bias2"] = _taken(self.proj)
        for name, value in found.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Return what the block gives; see `Block`."""
        style = self._style
        h = self.conv0(normed(x, self.norm0, self.nothing_in))
        told = self.affine(emb)
        how = SCALED if style.scales else ADDED
        h = self.conv1(normed(h, self.norm1, self.bias0, told, how))
        beside = x if self.skip is None else self.skip(x)
        h = joined(h, beside, self.bias1, style.factor)
        if self._attention is None:
            return h
        calm = normed(h, self.norm2, self.nothing_out, None, NOTHING, silu=False)
        seen = self.proj(self._attention(self.qkv(calm)))
        return joined(seen, h, self.bias2, style.factor)


def fuse(network: nn.Module) -> nn.Module:
    """Turn all blocks of a float32 network into fused ones, in place, and return it.

    Their convolutions may become half afterwards; norms and biases stay float32.
    """
    for block in [module for module in network.modules() if type(module) is Block]:
        # As torch's own parametrisations do: the weights stay where they are.
        block.__class__ = FusedBlock
        assert isinstance(block, FusedBlock)
        block.take_biases()
    return network


def _taken(conv: Conv) -> Tensor:
    """Take the bias from a convolution and return it in float32."""
    bias = conv.bias.detach().float()
    conv.register_parameter("bias", None)
    return bias
