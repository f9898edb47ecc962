"""The residual block of both families, told of the noise between its two convolutions."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.networks.layers import BOX, Attention, Conv, Resample, group_norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """In what the blocks of the two families differ.

    emb: width of the embedding. factor: on each sum of a block with its skip. scales: whether the
    embedding scales and shifts what the second norm gives, or is added before it. projects:
    whether a resampling skip has weights although the channels stay. taps: of the resampling.
    """

    emb: int
    eps: float
    factor: float
    scales: bool
    projects: bool
    dropout: float = 0.0
    taps: tuple[float, ...] = BOX


class Block(nn.Module):
    """One residual block; heads: of the attention at its end, 0 for none."""

    def __init__(
        self, inputs: int, outputs: int, style: Style, *, heads: int = 0, resample: Resample = ""
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self._style = style
        taps = style.taps
        self.norm0 = group_norm(inputs, style.eps)
        self.conv0 = Conv(inputs, outputs, 3, resample, taps)
        self.affine = nn.Linear(style.emb, 2 * outputs if style.scales else outputs)
        self.norm1 = group_norm(outputs, style.eps)
        self.conv1 = Conv(outputs, outputs, 3)
        nn.init.zeros_(self.conv1.weight)
        self.skip: Conv | None = None
        if inputs != outputs or resample:
            kernel = 1 if inputs != outputs or style.projects else 0
            self.skip = Conv(inputs, outputs, kernel, resample, taps)
        self._attention: Attention | None = None
        if heads:
            self._attention = Attention(outputs, heads)
            self.norm2 = group_norm(outputs, style.eps)
            self.qkv = Conv(outputs, 3 * outputs, 1)
            self.proj = Conv(outputs, outputs, 1)
            nn.init.zeros_(self.proj.weight)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Return (B, outputs, H', W') for (B, inputs, H, W) and (B, emb)."""
        style = self._style
        h = self.conv0(functional.silu(self.norm0(x)))
        told = self.affine(emb).to(h.dtype)
        if style.scales:
            h = self.norm1(h)
            # Split before the axes are added: OpenVINO 2026.4 dies of a split of (B, 2 C, 1, 1)
            # whose halves scale and shift a group norm.
            scale, shift = told.chunk(2, dim=1)
            h = torch.addcmul(shift[:, :, None, None], h, scale[:, :, None, None] + 1.0)
        else:
            h = self.norm1(h + told[:, :, None, None])
        h = functional.silu(h)
        if style.dropout:
            h = functional.dropout(h, style.dropout, self.training)
        h = self._summed(self.conv1(h), x if self.skip is None else self.skip(x))
        if self._attention is None:
            return h
        return self._summed(self.proj(self._attention(self.qkv(self.norm2(h)))), h)

    def _summed(self, h: Tensor, beside: Tensor) -> Tensor:
        h = h + beside
        return h if self._style.factor == 1.0 else h * self._style.factor
