"""The networks of the EDM family in our own code, with the names that checkpoints use.

A `SongUNet` (Song et al. 2021, in the form `ddpmpp` of Karras et al. 2022) whose width,
multipliers, blocks and attention are free. Modules are named as in published checkpoints
(`enc.144x360_conv`, `dec.36x90_in0`), so that weights made elsewhere load strictly and
DhariwalUNet can join later.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.errors import BundleError

BOX_FILTER = (1.0, 1.0)
SONG_EPS = 1e-6
HALF_POWER = 0.5**0.5


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What a bundle's manifest says about its network; enough to build it.

    inputs: channels of the noisy residual and the condition together. tile: (height, width),
    each divisible by 2^(levels - 1). attention: shorter sides at which blocks attend.
    bottleneck_attention: whether the first block of the decoder attends, as in the papers;
    without it a tile's far corners do not see each other, and tiles fit together better.
    """

    inputs: int
    outputs: int
    tile: tuple[int, int]
    architecture: str = "ddpmpp"
    width: int = 128
    multipliers: tuple[int, ...] = (2, 2, 2)
    blocks: int = 4
    attention: tuple[int, ...] = (16,)
    bottleneck_attention: bool = True
    labels: int = 0
    dropout: float = 0.0


def build(settings: NetworkSettings) -> nn.Module:
    """Return the network with fresh weights; raises BundleError for one we do not know."""
    if settings.architecture != "ddpmpp":
        raise BundleError(f"network architecture {settings.architecture!r} is unknown, want ddpmpp")
    divisor = 2 ** (len(settings.multipliers) - 1)
    if any(side % divisor or side < divisor for side in settings.tile):
        height, width = settings.tile
        raise BundleError(f"tile {height}x{width} is not divisible by {divisor} as the levels need")
    return SongUNet(settings)


class SongUNet(nn.Module):
    """F(c_in [x, condition], c_noise, labels): the raw network inside the preconditioning.

    inputs (B, inputs, H, W), c_noise (B,), labels (B, L) or None; gives (B, outputs, H, W).
    Source: Song et al. 2021 (https://arxiv.org/abs/2011.13456), Karras et al. 2022.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self._width = settings.width
        emb = 4 * settings.width
        if settings.labels:
            self.map_label = nn.Linear(settings.labels, settings.width)
        self.map_layer0 = nn.Linear(settings.width, emb)
        self.map_layer1 = nn.Linear(emb, emb)
        self.enc, skips = _encoder(settings, emb)
        self.dec = _decoder(settings, emb, skips)
        self._top = _level_name(settings.tile, 0)

    def forward(self, inputs: Tensor, c_noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Run the network once; see the class for shapes."""
        emb = self._embedding(c_noise, labels)
        skips: list[Tensor] = []
        x = inputs
        for module in self.enc.values():
            x = module(x, emb) if isinstance(module, Block) else module(x)
            skips.append(x)
        for module in self.dec.values():
            if not isinstance(module, Block):
                continue
            if x.shape[1] != module.inputs:
                x = torch.cat([x, skips.pop()], dim=1)
            x = module(x, emb)
        x = functional.silu(self.dec[f"{self._top}_aux_norm"](x))
        result: Tensor = self.dec[f"{self._top}_aux_conv"](x)
        return result

    def _embedding(self, c_noise: Tensor, labels: Tensor | None) -> Tensor:
        emb = positional_embedding(c_noise, self._width)
        if hasattr(self, "map_label"):
            count = self.map_label.in_features
            given = emb.new_zeros(emb.shape[0], count) if labels is None else labels
            emb = emb + self.map_label(given * count**0.5)
        emb = functional.silu(self.map_layer0(emb))
        return functional.silu(self.map_layer1(emb))


def positional_embedding(c_noise: Tensor, width: int) -> Tensor:
    """Return (B, width): [sin, cos] of `c_noise` times 10000^(-i / (width/2 - 1))."""
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32, device=c_noise.device) / (half - 1)
    angle = c_noise.float()[:, None] * (1.0 / 10000.0) ** exponent[None, :]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Conv(nn.Module):
    """A convolution that may halve or double the grid before its 3x3 (or 1x1) kernel.

    The resampling filter is a buffer of the checkpoint; with [1, 1] it is the 2x2 mean going
    down and nearest neighbour going up.
    """

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, resample: str = "") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.weight)
        self._resample = resample
        if resample:
            taps = torch.tensor(BOX_FILTER)
            filter_ = torch.outer(taps, taps) / taps.sum() ** 2
            self.register_buffer("resample_filter", filter_[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Resample (B, C, H, W) if asked to, then convolve with zero padding."""
        if self._resample == "down":
            x = functional.avg_pool2d(x, 2)
        elif self._resample == "up":
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        padding = self.weight.shape[-1] // 2
        return functional.conv2d(x, self.weight, self.bias, padding=padding)


class Block(nn.Module):
    """A residual block with the noise embedding added between its two convolutions."""

    def __init__(
        self, inputs: int, outputs: int, emb: int, *, attend: bool, resample: str = "",
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inputs = inputs
        self._dropout = dropout
        self._attend = attend
        self.norm0 = _norm(inputs)
        self.conv0 = Conv(inputs, outputs, 3, resample)
        self.affine = nn.Linear(emb, outputs)
        self.norm1 = _norm(outputs)
        self.conv1 = Conv(outputs, outputs, 3)
        nn.init.zeros_(self.conv1.weight)
        self.skip = Conv(inputs, outputs, 1, resample) if inputs != outputs or resample else None
        if attend:
            self.norm2 = _norm(outputs)
            self.qkv = Conv(outputs, 3 * outputs, 1)
            self.proj = Conv(outputs, outputs, 1)
            nn.init.zeros_(self.proj.weight)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Return the block's output for (B, inputs, H, W) and (B, emb)."""
        h = self.conv0(functional.silu(self.norm0(x)))
        h = h + self.affine(emb)[:, :, None, None].to(h.dtype)
        h = functional.silu(self.norm1(h))
        if self._dropout:
            h = functional.dropout(h, self._dropout, self.training)
        h = self.conv1(h)
        h = (h + (x if self.skip is None else self.skip(x))) * HALF_POWER
        return self._attended(h) if self._attend else h

    def _attended(self, h: Tensor) -> Tensor:
        batch, channels, height, width = h.shape
        # q, k and v are the fastest index of the channel axis. SongUNet has one head, whose axis
        # stands here because the exporter knows attention with four axes only.
        qkv = self.qkv(self.norm2(h)).reshape(batch, 1, channels, 3, height * width)
        q, k, v = qkv.permute(3, 0, 1, 4, 2).unbind(0)
        a = functional.scaled_dot_product_attention(q, k, v)
        a = a.transpose(2, 3).reshape(batch, channels, height, width)
        attended: Tensor = (self.proj(a) + h) * HALF_POWER
        return attended


def _norm(channels: int) -> nn.GroupNorm:
    groups = min(32, channels // 4)
    if groups < 1 or channels % groups:
        raise BundleError(f"{channels} channels do not fall into {groups} groups of a group norm")
    return nn.GroupNorm(groups, channels, eps=SONG_EPS)


def _level_name(tile: tuple[int, int], level: int) -> str:
    return f"{tile[0] >> level}x{tile[1] >> level}"


def _attends(settings: NetworkSettings, level: int) -> bool:
    return min(side >> level for side in settings.tile) in settings.attention


def _encoder(settings: NetworkSettings, emb: int) -> tuple[nn.ModuleDict, list[int]]:
    """Return the encoder and the channel counts of its outputs, all of which are skips."""
    encoder = nn.ModuleDict()
    channels = settings.width
    skips = []
    for level, multiplier in enumerate(settings.multipliers):
        name = _level_name(settings.tile, level)
        if level == 0:
            encoder[f"{name}_conv"] = Conv(settings.inputs, channels, 3)
        else:
            encoder[f"{name}_down"] = Block(
                channels, channels, emb, attend=False, resample="down", dropout=settings.dropout
            )
        skips.append(channels)
        for index in range(settings.blocks):
            outputs = settings.width * multiplier
            encoder[f"{name}_block{index}"] = Block(
                channels, outputs, emb, attend=_attends(settings, level), dropout=settings.dropout
            )
            channels = outputs
            skips.append(channels)
    return encoder, skips


def _decoder(settings: NetworkSettings, emb: int, skips: list[int]) -> nn.ModuleDict:
    """Return the decoder, lowest level first; its blocks take the encoder's skips from the end."""
    decoder = nn.ModuleDict()
    channels = skips[-1]
    remaining = list(skips)
    lowest = len(settings.multipliers) - 1
    drop = settings.dropout
    for level in range(lowest, -1, -1):
        name = _level_name(settings.tile, level)
        if level == lowest:
            attend = settings.bottleneck_attention
            decoder[f"{name}_in0"] = Block(channels, channels, emb, attend=attend, dropout=drop)
            decoder[f"{name}_in1"] = Block(channels, channels, emb, attend=False, dropout=drop)
        else:
            decoder[f"{name}_up"] = Block(
                channels, channels, emb, attend=False, resample="up", dropout=drop
            )
        for index in range(settings.blocks + 1):
            outputs = settings.width * settings.multipliers[level]
            attend = index == settings.blocks and _attends(settings, level)
            decoder[f"{name}_block{index}"] = Block(
                channels + remaining.pop(), outputs, emb, attend=attend, dropout=drop
            )
            channels = outputs
    name = _level_name(settings.tile, 0)
    decoder[f"{name}_aux_norm"] = _norm(channels)
    decoder[f"{name}_aux_conv"] = Conv(channels, settings.outputs, 3)
    nn.init.zeros_(decoder[f"{name}_aux_conv"].weight)  # type: ignore[arg-type]
    return decoder
