"""Finds out what network a state dict belongs to, from its names and shapes alone.

The names carry the resolution: `enc.144x360_conv.weight` belongs to tiles of 144x360.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engines.errors import BundleError
from engines.networks import NetworkSettings

Shapes = Mapping[str, tuple[int, ...]]

_LEVEL = re.compile(r"enc\.(\d+)x(\d+)_(conv|block(\d+))\.(.+)")


@dataclass(frozen=True, slots=True)
class _Level:
    """One resolution of the encoder: its blocks, their output channels, and who attends."""

    size: tuple[int, int]
    blocks: int
    channels: int
    attends: bool


def network_of(shapes: Shapes, where: str, *, direct: bool) -> NetworkSettings:
    """Return the settings of the network whose state has these shapes by name, without prefix.

    direct: whether it is a plain regression, which sees no noise. Raises BundleError for names
    that are none of our networks'; whether every name and shape fits, loading decides.
    """
    levels = _levels(shapes, where)
    height, width = levels[0].size
    first = _shape(shapes, f"enc.{height}x{width}_conv.weight", where)
    architecture = _architecture(shapes, where)
    is_adm = architecture == "adm"
    last = "out_conv" if is_adm else f"dec.{height}x{width}_aux_conv"
    # In `adm` the first convolution gives the width times the first multiplier.
    base = _shape(shapes, "map_layer0.weight", where)[1] if is_adm else first[0]
    lowest = "{}x{}".format(*levels[-1].size)
    return NetworkSettings(
        inputs=first[1],
        outputs=_shape(shapes, f"{last}.weight", where)[0],
        tile=(height, width),
        architecture=architecture,
        width=base,
        multipliers=tuple(level.channels // base for level in levels),
        blocks=levels[0].blocks,
        attention=tuple(min(level.size) for level in levels if level.attends),
        bottleneck_attention=f"dec.{lowest}_in0.qkv.weight" in shapes,
        labels=shapes["map_label.weight"][1] if "map_label.weight" in shapes else 0,
        direct=direct,
    )


def _architecture(shapes: Shapes, where: str) -> str:
    if "out_conv.weight" in shapes:
        return "adm"
    if not any("_aux_conv." in name for name in shapes):
        raise BundleError(f"{where}: its weights end in neither out_conv nor aux_conv")
    return "ncsnpp" if any("_aux_residual." in name for name in shapes) else "ddpmpp"


def _levels(shapes: Shapes, where: str) -> list[_Level]:
    """Return the encoder's resolutions, finest first."""
    sizes: dict[tuple[int, int], dict[int, set[str]]] = {}
    for name in shapes:
        if found := _LEVEL.fullmatch(name):
            blocks = sizes.setdefault((int(found[1]), int(found[2])), {})
            if found[4] is not None:
                blocks.setdefault(int(found[4]), set()).add(found[5])
    if not sizes or not all(sizes.values()):
        names = ", ".join(list(shapes)[:3])
        raise BundleError(
            f"{where}: its weights ({names}, ...) have no encoder named like enc.144x360_conv and "
            "enc.144x360_block0, wanted a SongUNet or DhariwalUNet"
        )
    levels = []
    for (height, width), blocks in sorted(sizes.items(), reverse=True):
        name = f"enc.{height}x{width}_block0.conv1.weight"
        channels = _shape(shapes, name, where)[0]
        attends = any("qkv.weight" in parts for parts in blocks.values())
        levels.append(_Level((height, width), len(blocks), channels, attends))
    return levels


def _shape(shapes: Shapes, name: str, where: str) -> tuple[int, ...]:
    if name not in shapes or len(shapes[name]) < 2:
        raise BundleError(f"{where}: its weights lack {name}")
    return shapes[name]
