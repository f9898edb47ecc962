"""How both families stack their blocks: level by level down, and up again past the skips."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.networks.block import Block, Style
from engines.networks.layers import TENT, Conv
from engines.networks.settings import NetworkSettings


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A family's way with its blocks. heads: of attention, for a number of channels.

    first: channels of the first convolution. residual_input: whether each level also sees the
    network's input, filtered down (`aux_residual`).
    """

    settings: NetworkSettings
    style: Style
    heads: Callable[[int], int]
    first: int
    residual_input: bool = False

    def name(self, level: int) -> str:
        """Return what the modules of a level are called by: its size."""
        height, width = self.settings.tile
        return f"{height >> level}x{width >> level}"

    def attends(self, level: int) -> bool:
        """Tell whether a level is listed, by its shorter side, among those that attend."""
        return min(side >> level for side in self.settings.tile) in self.settings.attention

    def block(self, inputs: int, outputs: int, *, attends: bool) -> Block:
        """Return a block that keeps its grid."""
        heads = self.heads(outputs) if attends else 0
        return Block(inputs, outputs, self.style, heads=heads)


def encoder(plan: Plan) -> tuple[nn.ModuleDict, list[int]]:
    """Return the encoder and the channels of its outputs, all of which are skips."""
    settings, made = plan.settings, nn.ModuleDict()
    channels, aside = plan.first, settings.inputs
    skips = []
    for level, multiplier in enumerate(settings.multipliers):
        name = plan.name(level)
        if level == 0:
            made[f"{name}_conv"] = Conv(settings.inputs, channels, 3)
        else:
            made[f"{name}_down"] = Block(channels, channels, plan.style, resample="down")
            if plan.residual_input:
                made[f"{name}_aux_residual"] = Conv(aside, channels, 3, "down", TENT, fused=True)
                aside = channels
        skips.append(channels)
        for index in range(settings.blocks):
            outputs = settings.width * multiplier
            made[f"{name}_block{index}"] = plan.block(
                channels, outputs, attends=plan.attends(level)
            )
            channels = outputs
            skips.append(channels)
    return made, skips


def decoder(
    plan: Plan, skips: list[int], attends: Callable[[int, int], bool]
) -> tuple[nn.ModuleDict, int]:
    """Return the decoder, lowest level first, and the channels that it gives.

    attends: for a level and the index of one of its blocks, whether that block attends.
    """
    settings, made = plan.settings, nn.ModuleDict()
    channels, left = skips[-1], list(skips)
    lowest = len(settings.multipliers) - 1
    for level in range(lowest, -1, -1):
        name = plan.name(level)
        if level == lowest:
            made[f"{name}_in0"] = plan.block(
                channels, channels, attends=settings.bottleneck_attention
            )
            made[f"{name}_in1"] = plan.block(channels, channels, attends=False)
        else:
            made[f"{name}_up"] = Block(channels, channels, plan.style, resample="up")
        for index in range(settings.blocks + 1):
            outputs = settings.width * settings.multipliers[level]
            made[f"{name}_block{index}"] = plan.block(
                channels + left.pop(), outputs, attends=attends(level, index)
            )
            channels = outputs
    return made, channels


def down(made: nn.ModuleDict, x: Tensor, emb: Tensor, factor: float) -> list[Tensor]:
    """Run an encoder and return all its outputs; factor: on each sum with the network's input."""
    aside, skips = x, list[Tensor]()
    for name, module in made.items():
        if name.endswith("aux_residual"):
            # Both the way on and the last skip take what the input adds.
            x = skips[-1] = aside = (x + module(aside)) * factor
            continue
        x = module(x, emb) if isinstance(module, Block) else module(x)
        skips.append(x)
    return skips


def up(made: nn.ModuleDict, skips: list[Tensor], emb: Tensor) -> Tensor:
    """Run a decoder's blocks on the encoder's outputs, which it takes from the end."""
    x = skips[-1]
    for module in made.values():
        if not isinstance(module, Block):
            continue
        if x.shape[1] != module.inputs:
            x = torch.cat([x, skips.pop()], dim=1)
        x = module(x, emb)
    return x
