"""What both families are built of: convolutions that resample, norms, attention, embeddings.

Modules are named as in published checkpoints, buffers included, so that foreign weights load
strictly. Source of each: Song et al. 2021 (https://arxiv.org/abs/2011.13456), Dhariwal and Nichol
2021 (https://arxiv.org/abs/2105.05233), in the form of Karras et al. 2022.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.errors import BundleError

Resample = Literal["", "down", "up"]

#: Along one axis: the mean of two, and a smoother one.
BOX, TENT = (1.0, 1.0), (1.0, 3.0, 3.0, 1.0)

#: Spread of the random frequencies of fresh Fourier features.
FOURIER_SCALE = 16.0


class Conv(nn.Module):
    """A convolution that may halve or double the grid, before its kernel or, `fused`, after it.

    (B, inputs, H, W) to (B, outputs, H', W'), zero padding. kernel 0 only resamples. The filter
    is a buffer of the checkpoint; with `BOX` it is the 2x2 mean going down and nearest neighbour
    going up.
    """

    resample_filter: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, resample: Resample = "",
        taps: tuple[float, ...] = BOX, *, fused: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self._kernel, self._resample, self._taps, self._fused = kernel, resample, taps, fused
        if kernel:
            self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
            self.bias = nn.Parameter(torch.zeros(outputs))
            nn.init.xavier_uniform_(self.weight)
        if resample:
            line = torch.tensor(taps)
            self.register_buffer(
                "resample_filter", (torch.outer(line, line) / line.sum() ** 2)[None, None]
            )

    def forward(self, x: Tensor) -> Tensor:
        """Resample if asked to, and convolve."""
        if self._fused:
            # The kernel sees as many rows of padding more as the filter then takes away.
            padding = self._kernel // 2 + (len(self._taps) - 1) // 2
            x = functional.conv2d(x, self.weight, padding=padding)
            return self._filtered(x, stride=2, padding=0) + self.bias[:, None, None]
        if self._resample == "down":
            x = self._halved(x)
        elif self._resample == "up":
            x = self._doubled(x)
        if not self._kernel:
            return x
        return functional.conv2d(x, self.weight, self.bias, padding=self._kernel // 2)

    def _halved(self, x: Tensor) -> Tensor:
        # Runtimes do this several times faster than a convolution of each channel.
        if self._taps == BOX:
            return functional.avg_pool2d(x, 2)
        return self._filtered(x, stride=2, padding=(len(self._taps) - 1) // 2)

    def _doubled(self, x: Tensor) -> Tensor:
        if self._taps == BOX:
            return functional.interpolate(x, scale_factor=2, mode="nearest")
        channels, padding = x.shape[1], (len(self._taps) - 1) // 2
        kernel = (4.0 * self.resample_filter).expand(channels, -1, -1, -1)
        return functional.conv_transpose2d(x, kernel, stride=2, padding=padding, groups=channels)

    def _filtered(self, x: Tensor, stride: int, padding: int) -> Tensor:
        channels = x.shape[1]
        kernel = self.resample_filter.expand(channels, -1, -1, -1)
        return functional.conv2d(x, kernel, stride=stride, padding=padding, groups=channels)


class Attention(nn.Module):
    """Every point of a tile sees every other: what to add to (B, C, H, W), before its `proj`.

    It has no weights of its own: they belong to the block, as in the checkpoints.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise BundleError(f"{channels} channels do not fall into {heads} heads of attention")
        self._heads = heads

    def forward(self, qkv: Tensor) -> Tensor:
        """Return (B, C, H, W) from (B, 3 C, H, W)."""
        batch, tripled, height, width = qkv.shape
        each = tripled // 3 // self._heads
        # q, k and v are the fastest index of the channel axis.
        parts = qkv.reshape(batch, self._heads, each, 3, height * width)
        q, k, v = parts.permute(3, 0, 1, 4, 2).unbind(0)
        found = functional.scaled_dot_product_attention(q, k, v)
        return found.transpose(2, 3).reshape(batch, tripled // 3, height, width)


def group_norm(channels: int, eps: float) -> nn.GroupNorm:
    """Return a norm of min(32, C // 4) groups; raises BundleError where they do not divide C."""
    groups = min(32, channels // 4)
    if groups < 1 or channels % groups:
        raise BundleError(
            f"{channels} channels do not fall into {groups} groups of a group norm, "
            "wanted a width all of whose multiples do"
        )
    return nn.GroupNorm(groups, channels, eps=eps)


def positional_embedding(c_noise: Tensor, width: int, *, endpoint: bool = True) -> Tensor:
    """Return (B, width): [cos, sin] of `c_noise` (B,) times falling frequencies from 1.

    endpoint: whether the last frequency is 1 / 10000 itself, or the next one would be.
    """
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32, device=c_noise.device)
    exponent = exponent / (half - 1 if endpoint else half)
    angle = c_noise.float()[:, None] * (1.0 / 10000.0) ** exponent[None, :]
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class FourierEmbedding(nn.Module):
    """[cos, sin] of c_noise at random frequencies, which the checkpoint keeps: (B, width)."""

    freqs: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("freqs", FOURIER_SCALE * torch.randn(width // 2))

    def forward(self, c_noise: Tensor) -> Tensor:
        """Return the features of (B,)."""
        angle = c_noise.float()[:, None] * (2.0 * math.pi * self.freqs)[None, :]
        return torch.cat([angle.cos(), angle.sin()], dim=1)


def halves_swapped(embedding: Tensor) -> Tensor:
    """Return [sin, cos] for [cos, sin], as SongUNet has it."""
    cosines, sines = embedding.chunk(2, dim=1)
    return torch.cat([sines, cosines], dim=1)
