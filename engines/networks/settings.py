"""What a bundle says about its network: enough to build it, and nothing that needs torch."""

import types
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from engines.errors import BundleError

#: By architecture, the values that its papers and published checkpoints use.
PUBLISHED: Mapping[str, Mapping[str, Any]] = types.MappingProxyType(
    {
        "ddpmpp": {"multipliers": (2, 2, 2), "blocks": 4, "attention": (16,)},
        "ncsnpp": {"multipliers": (2, 2, 2), "blocks": 4, "attention": (16,)},
        "adm": {"multipliers": (1, 2, 3, 4), "blocks": 2, "attention": (32, 16, 8)},
    }
)

#: What a manifest may tell besides, for its readers.
TOLD_ONLY = frozenset({"parameters"})


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What a bundle's manifest says about its network; `published` gives the usual ones.

    inputs: channels of the noisy residual and the condition together, or of the condition alone
    where the network is `direct`. tile: (height, width), each divisible by 2^(levels - 1).
    architecture: `ddpmpp` and `ncsnpp` are SongUNets, `adm` is a DhariwalUNet. width: channels
    that the multipliers multiply, level by level. blocks: residual blocks a level of the encoder.
    attention: shorter sides at which blocks attend.
    bottleneck_attention: whether the first block of the decoder attends, as in the papers;
    without it a tile's far corners do not see each other, and tiles fit together better.
    dropout: in training only. direct: a plain regression without noise and its embedding.
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
    direct: bool = False


def published(
    architecture: str, inputs: int, outputs: int, tile: tuple[int, int], **changes: Any
) -> NetworkSettings:
    """Return an architecture's settings as published, with some of them changed.

    Raises BundleError for an architecture that we do not know.
    """
    known = {**PUBLISHED[_known(architecture)], **changes}
    return NetworkSettings(inputs, outputs, tile, architecture, **known)


def to_plain(settings: NetworkSettings) -> dict[str, Any]:
    """Return what `model.json` holds under `network`: numbers, texts and lists only."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(settings).items()
    }


def from_plain(plain: object, where: str) -> NetworkSettings:
    """Return the settings that `to_plain` wrote; keys with a default may be missing.

    where: the file, for the message. Raises BundleError that lists every fault.
    """
    if not isinstance(plain, Mapping):
        raise BundleError(f"{where}: network is {plain!r}, wanted an object")
    wanted = {one.name: one for one in fields(NetworkSettings)}
    faults = [
        f"network.{key} is unknown, wanted some of {', '.join(wanted)}"
        for key in plain
        if key not in wanted and key not in TOLD_ONLY
    ]
    found: dict[str, Any] = {}
    for name in wanted:
        check, words = CHECKS[name]
        if name in plain and check(plain[name]):
            value = plain[name]
            found[name] = tuple(value) if isinstance(value, list | tuple) else value
        elif name in plain or name in ("inputs", "outputs", "tile"):
            faults.append(f"network.{name} is {plain.get(name)!r}, wanted {words}")
    settings = None if faults else NetworkSettings(**found)
    faults += [] if settings is None else misfits(settings)
    if settings is None or faults:
        raise BundleError(f"{where}: {'; '.join(faults)}")
    return settings


def misfits(settings: NetworkSettings) -> list[str]:
    """Return what of the settings does not go together, one text each.

    Whether channels fall into groups and heads is seen where the layers are made.
    """
    found = []
    if settings.architecture not in PUBLISHED:
        found.append(_unknown(settings.architecture))
    if not settings.multipliers:
        found.append("network.multipliers names no level, wanted at least one")
    divisor = 2 ** max(0, len(settings.multipliers) - 1)
    if len(settings.tile) != 2 or any(side % divisor or side < divisor for side in settings.tile):
        tile = "x".join(str(side) for side in settings.tile)
        found.append(
            f"tile {tile} is not divisible by {divisor} "
            f"as {len(settings.multipliers)} levels of {settings.architecture} need"
        )
    if settings.width % 2:
        found.append(f"network.width is {settings.width}, wanted an even number")
    return found


def _known(architecture: str) -> str:
    if architecture not in PUBLISHED:
        raise BundleError(_unknown(architecture))
    return architecture


def _unknown(architecture: str) -> str:
    return f"network architecture {architecture!r} is unknown, wanted {', '.join(PUBLISHED)}"


def _whole(least: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and value >= least


def _list_of(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list | tuple) and all(check(one) for one in value)


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_whole(1), value))


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


def _is_share(value: object) -> bool:
    return type(value) in (int, float) and 0.0 <= value < 1.0  # type: ignore[operator]


#: By key, whether a value will do, and what is wanted.
CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = types.MappingProxyType(
    {
        "inputs": (_whole(1), "a whole number of at least 1"),
        "outputs": (_whole(1), "a whole number of at least 1"),
        "tile": (_is_pair, "[rows, columns], each at least 1"),
        "architecture": (lambda value: value in PUBLISHED, f"one of {', '.join(PUBLISHED)}"),
        "width": (_whole(4), "a whole number of at least 4"),
        "multipliers": (_list_of(_whole(1)), "a list of whole numbers of at least 1"),
        "blocks": (_whole(1), "a whole number of at least 1"),
        "attention": (_list_of(_whole(1)), "a list of whole numbers of at least 1"),
        "bottleneck_attention": (_is_truth, "true or false"),
        "labels": (_whole(0), "a whole number of at least 0"),
        "dropout": (_is_share, "a number from 0 to below 1"),
        "direct": (_is_truth, "true or false"),
    }
)
