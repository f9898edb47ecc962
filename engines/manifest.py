"""Reads what a bundle says about itself: `model.json` and `statistics.json`, all faults at once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, TypeVar, get_args

from engines.calibration import Calibration, parse_calibration, unknown_levels
from engines.errors import BundleError, UsageError
from engines.precondition import KINDS, sigma_range
from engines.sampler import SamplerSettings

#: The version of the folder's layout and of the keys below that is written.
FORMAT = 2
#: What can be read. Format 1 knew no `transform`, which its readers would have passed over.
READABLE = (1, 2)

_NUMBERS = ("coarse_mean", "coarse_std", "fine_mean", "fine_std", "residual_std")

T = TypeVar("T")
Transform = Literal["none", "log1p"]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How one channel's numbers relate to physical values, in the parameter's units.

    coarse_norm = (f(coarse) - coarse_mean) / coarse_std, the same for fine, and the network's
    residual = (fine_norm - coarse_norm) / residual_std. transform: what f is, `none` for the
    value itself or `log1p` for ln(1 + value); means and deviations are those of f.
    """

    coarse_mean: float
    coarse_std: float
    fine_mean: float
    fine_std: float
    residual_std: float
    transform: Transform = "none"


@dataclass(frozen=True, slots=True)
class Preconditioning:
    """What surrounds the network. sigma_data: deviation of the residual it was trained on."""

    kind: str
    sigma_data: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Manifest:
    """The facts about a model; lengths are in points of the fine grid.

    channels: parameter names in the order of the network's channels. shape: (H, W) of the fine
    grid, H north to south. tile: (h, w) that the network takes. overlap: least overlap of two
    neighbouring tiles, (rows, columns). periodic: whether columns go round the globe.
    constant_names: the K constant channels. labels: names of the network's labels, () for none.
    network: what builds the network, as `engines.networks` reads it; {} where a bundle does not
    say. grib: the part that only the house reads, as it stands in the file. sampler: Heun's eight
    as recommended, which need no table. calibration: what fewer calls cost, where it was measured.
    """

    name: str
    channels: tuple[str, ...]
    shape: tuple[int, int]
    tile: tuple[int, int]
    overlap: tuple[int, int]
    periodic: bool
    constant_names: tuple[str, ...]
    labels: tuple[str, ...]
    preconditioning: Preconditioning
    sampler: SamplerSettings
    normalisation: tuple[Normalisation, ...]
    network: Mapping[str, Any]
    grib: Mapping[str, Any]
    licence: str
    attribution: str
    training: Mapping[str, Any]
    calibration: Calibration | None = None


def parse(model: object, statistics: object, where: str) -> dict[str, Any]:
    """Return the fields of a Manifest from the two files' JSON values.

    where: the bundle's folder, for the message. Raises BundleError that lists every fault.
    """
    if not isinstance(model, Mapping) or not isinstance(statistics, Mapping):
        raise BundleError(f"{where}: model.json and statistics.json must each hold a JSON object")
    stated = model.get("format")
    # True equals 1, and is no version.
    if isinstance(stated, bool) or stated not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise BundleError(f"{where}/model.json: format is {stated!r}, this version reads {known}")
    faults: list[str] = []
    reading = _Reading(model, faults)
    channels = reading.names("channels")
    found = {
        "name": reading.text("name"),
        "channels": channels,
        "shape": reading.pair("shape"),
        "tile": reading.pair("tile"),
        "overlap": reading.pair("overlap", least=0),
        "periodic": reading.truth("periodic"),
        "constant_names": reading.names("constants"),
        "labels": reading.names("labels"),
        "preconditioning": _preconditioning(reading),
        "sampler": _sampler(reading),
        "normalisation": tuple(_normalisation(statistics, name, faults) for name in channels),
        "network": reading.mapping("network") if "network" in model else {},
        "grib": reading.mapping("grib"),
        "licence": reading.text("licence"),
        "attribution": reading.text("attribution"),
        "training": reading.mapping("training"),
        "calibration": _calibration(model, faults),
    }
    # Lengths are compared only where all of them were read.
    faults += _misfits(found) if not faults else ()
    if faults:
        raise BundleError(f"{where}: {'; '.join(faults)}")
    return found


class _Reading:
    """Takes typed values out of a JSON object and notes what is wrong with it.

    What is wrong is one more of `faults`, and something harmless of the same type comes back.
    """

    def __init__(self, found: Mapping[str, Any], faults: list[str]) -> None:
        self.found = found
        self.faults = faults

    def text(self, key: str) -> str:
        """Return a text that is not empty."""
        value = self.found.get(key)
        return value if isinstance(value, str) and value else self._wrong(key, "a text", "")

    def truth(self, key: str) -> bool:
        """Return true or false; a number is neither."""
        value = self.found.get(key)
        return (
            value if isinstance(value, bool) else self._wrong(key, "true or false", value is True)
        )

    def names(self, key: str) -> tuple[str, ...]:
        """Return texts that are not empty and all differ; there may be none."""
        value = self.found.get(key)
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            return self._wrong(key, "a list of names", ())
        if len(set(value)) < len(value):
            return self._wrong(key, "names that differ", ())
        return tuple(value)

    def pair(self, key: str, least: int = 1) -> tuple[int, int]:
        """Return rows and columns, whole numbers of at least `least` each."""
        value = self.found.get(key)
        if isinstance(value, list) and len(value) == 2:
            rows, columns = value
            if all(type(v) is int and v >= least for v in value):
                return rows, columns
        return self._wrong(key, f"[rows, columns], each at least {least}", (least, least))

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return a JSON object as it stands; who takes it judges what is in it."""
        value = self.found.get(key)
        return value if isinstance(value, Mapping) else self._wrong(key, "an object", {})

    def _wrong(self, key: str, wanted: str, instead: T) -> T:
        self.faults.append(f"model.json: {key} is {self.found.get(key)!r}, wanted {wanted}")
        return instead


def _preconditioning(reading: _Reading) -> Preconditioning:
    part = reading.mapping("preconditioning")
    kind, sigma_data = part.get("kind"), part.get("sigma_data")
    if kind not in KINDS:
        reading.faults.append(
            f"model.json: preconditioning.kind is {kind!r}, wanted one of {', '.join(KINDS)}"
        )
    if not _is_positive(sigma_data):
        reading.faults.append(
            f"model.json: preconditioning.sigma_data is {sigma_data!r}, wanted a number above 0"
        )
        return Preconditioning(str(kind), 1.0)
    return Preconditioning(str(kind), float(sigma_data))


def _sampler(reading: _Reading) -> SamplerSettings:
    part = dict(reading.mapping("sampler"))
    # JSON has no infinity, which is what no upper limit of churn means.
    if part.get("s_max", 0) is None:
        part["s_max"] = math.inf
    try:
        return SamplerSettings(**part)
    except (UsageError, TypeError) as error:
        reading.faults.append(f"model.json: sampler: {error}")
        return SamplerSettings()


def _calibration(model: Mapping[str, Any], faults: list[str]) -> Calibration | None:
    if model.get("calibration") is None:
        return None
    found: list[str] = []
    table = parse_calibration(model["calibration"], found)
    faults += [f"model.json: {fault}" for fault in found]
    return table


def _normalisation(
    statistics: Mapping[str, Any], channel: str, faults: list[str]
) -> Normalisation | None:
    part = statistics.get(channel)
    if not isinstance(part, Mapping):
        faults.append(f"statistics.json: {channel} is {part!r}, wanted an object of five numbers")
        return None
    transform = part.get("transform", "none")
    wrong = [
        f"statistics.json: {channel}.{key} is {part.get(key)!r}, wanted a number"
        f"{' above 0' if key.endswith('_std') else ''}"
        for key in _NUMBERS
        if not (_is_positive if key.endswith("_std") else _is_finite)(part.get(key))
    ]
    if transform not in get_args(Transform):
        wrong.append(
            f"statistics.json: {channel}.transform is {transform!r}, "
            f"wanted one of {', '.join(get_args(Transform))}"
        )
    faults += wrong
    if wrong:
        return None
    return Normalisation(**{key: float(part[key]) for key in _NUMBERS}, transform=transform)


def _misfits(found: Mapping[str, Any]) -> Sequence[str]:
    shape, tile, overlap = found["shape"], found["tile"], found["overlap"]
    checks = [
        ("channels names none, wanted at least one", not found["channels"]),
        (
            f"tile {tile} is larger than the grid {shape}",
            tile[0] > shape[0] or tile[1] > shape[1],
        ),
        (
            f"overlap {overlap} leaves nothing of the tile {tile}",
            overlap[0] >= tile[0] or overlap[1] >= tile[1],
        ),
    ]
    within = sigma_range(found["preconditioning"].kind)
    checks += [(text, True) for text in unknown_levels(found["calibration"], within)]
    checks += [
        (f"network.{key} is {given!r}, but the rest of the manifest needs {wanted}", True)
        for key, wanted in _network_wanted(found).items()
        if (given := found["network"].get(key, wanted)) != wanted
    ]
    return [f"model.json: {text}" for text, is_wrong in checks if is_wrong]


def _network_wanted(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a stated network must have so that it fits channels, constants and labels."""
    channels, constants = len(found["channels"]), len(found["constant_names"])
    is_direct = found["preconditioning"].kind == "direct"
    return {
        "inputs": channels * (1 if is_direct else 2) + constants,
        "outputs": channels,
        "tile": list(found["tile"]),
        "labels": len(found["labels"]),
        "direct": is_direct,
    }


def _is_finite(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def _is_positive(value: object) -> TypeGuard[float]:
    return _is_finite(value) and value > 0.0
