"""Turns a checkpoint of IPSL-AID and its statistics into a network and facts of ours.

Facts from https://github.com/kardaneh/IPSL-AID at commit 0c6ac1d, whose code is not used here:
what its checkpoints hold, how its fields are normalised, and what its sampler is told.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from engines.errors import BundleError, UsageError
from engines.importers.arguments import Arguments
from engines.importers.checkpoint import read_checkpoint
from engines.importers.shapes import network_of
from engines.manifest import Normalisation, Preconditioning, Transform
from engines.networks import NetworkSettings, build
from engines.sampler import SamplerSettings

#: Of the residual that its networks learned, by its own setting.
SIGMA_DATA = 1.0
#: Where each point is; they stand before the constants of the file.
POSITION = ("lat", "lon")
#: What its time labels mean, in their order.
LABELS = ("doy_sin", "doy_cos", "hour_sin", "hour_cos")
ARCHITECTURES = ("ddpmpp", "ncsnpp", "adm")
#: Its names of what stands around the network, and ours.
KINDS: Mapping[str, str] = {"edm": "edm", "vp": "vp", "ve": "ve", "unet": "direct"}

#: Of a message that lists every tensor, the start says enough.
FAULT_LENGTH = 500

#: Takes one entry of its statistics to (mean, deviation) of `f` in (f(x) - mean) / deviation.
_Line = Callable[[Mapping[str, float]], tuple[float, float]]

_LINES: Mapping[str, tuple[tuple[str, ...], _Line]] = {
    "minmax": (("vmin", "vmax"), lambda s: (s["vmin"], s["vmax"] - s["vmin"])),
    "minmax_11": (
        ("vmin", "vmax"),
        lambda s: ((s["vmin"] + s["vmax"]) / 2, (s["vmax"] - s["vmin"]) / 2),
    ),
    "standard": (("vmean", "vstd"), lambda s: (s["vmean"], s["vstd"])),
    "robust": (("median", "iqr"), lambda s: (s["median"], s["iqr"])),
}
#: Prefix of the normalisations of ln(1 + x), and what their statistics' names end in.
_LOG, _LOG_ENDING = "log1p_", "_log"
NORMALISATIONS = (*_LINES, "log1p_minmax", "log1p_standard")


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network of IPSL-AID with its weights, and what its checkpoint says about it.

    variables: its channels by its own names. normalisations: one each. constants: names of the
    constant channels after `POSITION`, as in the constants' file. args: what the checkpoint was
    trained with, as it says.
    """

    network: nn.Module
    settings: NetworkSettings
    preconditioning: Preconditioning
    variables: tuple[str, ...]
    normalisations: tuple[str, ...]
    constants: tuple[str, ...]
    labels: tuple[str, ...]
    sampler: SamplerSettings
    args: Mapping[str, Any]
    epoch: int | None


def read_model(path: Path, *, direct: bool = False) -> Model:
    """Rebuild the network of a `*_best_model.pth.tar` from its weights' shapes and its `args`.

    direct: whether a plain regression is wanted, which a diffusion model is not. Raises
    BundleError for a file that cannot be used, with every fault of its `args` at once.
    """
    checkpoint = read_checkpoint(path)
    arguments = Arguments(checkpoint.args)
    kind = _kind(arguments, str(path), direct=direct)
    variables = arguments.names("varnames_list")
    constants = arguments.names("constant_varnames_list")
    normalisations = _normalisations(arguments, variables)
    sampler = SamplerSettings(steps=1) if kind == "direct" else _sampler(arguments)
    _refuse_unknown_ways(arguments)
    arguments.refuse_faults(str(path))

    prefix = "" if kind == "direct" else "model."
    shapes = {name: tuple(value.shape) for name, value in checkpoint.weights.items()}
    named = _without_prefix(shapes, prefix, kind, str(path))
    settings = network_of(named, str(path), direct=kind == "direct")
    _refuse_contradictions(arguments, settings, variables, constants, str(path))
    network = build(settings)
    try:
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in checkpoint.weights.items()}
        )
    except RuntimeError as error:
        said = " ".join(str(error).split())[:FAULT_LENGTH]
        raise BundleError(f"{path}: its weights do not fit {settings}: {said}") from error
    return Model(
        network=network.eval(),
        settings=settings,
        preconditioning=Preconditioning(kind, SIGMA_DATA),
        variables=variables,
        normalisations=normalisations,
        constants=constants,
        labels=LABELS if settings.labels else (),
        sampler=sampler,
        args=checkpoint.args,
        epoch=checkpoint.epoch,
    )


def normalisation(model: Model, statistics: object, where: str) -> tuple[Normalisation, ...]:
    """Return each channel's normalisation from the JSON value of its statistics file.

    Coarse fields use the statistics that end in `_coarse`, the output those that end in `_fine`.
    Raises BundleError that lists every entry and number that is lacking.
    """
    if not isinstance(statistics, Mapping):
        raise BundleError(f"{where}: holds a {type(statistics).__name__}, wanted a JSON object")
    faults: list[str] = []
    found = []
    for variable, kind in zip(model.variables, model.normalisations, strict=True):
        transform: Transform = "log1p" if kind.startswith(_LOG) else "none"
        coarse = _line(statistics, f"{variable}_coarse", kind, faults)
        fine = _line(statistics, f"{variable}_fine", kind, faults)
        # The residual is the plain difference of the two, so its scale is 1.
        found.append(Normalisation(*coarse, *fine, 1.0, transform))
    if faults:
        raise BundleError(f"{where}: {'; '.join(faults)}")
    return tuple(found)


def _kind(arguments: Arguments, where: str, *, direct: bool) -> str:
    """Return our name of the preconditioning, which decides how all the rest is read."""
    stated = arguments.word("precond", tuple(KINDS))
    arguments.word("arch", ARCHITECTURES)
    if direct and stated in KINDS and KINDS[stated] != "direct":
        raise UsageError(
            f"{where}: was trained for diffusion (precond {stated}) and predicts nothing in one "
            "direct call; --direct wants a checkpoint with precond unet"
        )
    return KINDS.get(stated, "edm")


def _normalisations(arguments: Arguments, variables: Sequence[str]) -> tuple[str, ...]:
    stated = arguments.by_name("normalization_types", variables)
    found = [stated.get(name) for name in variables]
    for name, kind in zip(variables, found, strict=True):
        if stated and kind not in NORMALISATIONS:
            arguments.fault(
                f"normalization_types gives {name} {kind!r}, wanted one of "
                f"{', '.join(NORMALISATIONS)}"
            )
    return tuple(str(kind) for kind in found)


def _sampler(arguments: Arguments) -> SamplerSettings:
    """Return its sampler's settings; where they are not stated, its code's own defaults."""
    settings = {
        "steps": int(arguments.number("num_steps", 20)),
        "sigma_min": arguments.number("sigma_min", 0.002),
        "sigma_max": arguments.number("sigma_max", 80.0),
        "rho": arguments.number("rho", 7.0),
        "s_churn": arguments.number("s_churn", 40.0),
        "s_min": arguments.number("s_min", 0.0),
        "s_max": arguments.number("s_max", math.inf),
        "s_noise": arguments.number("s_noise", 1.0),
    }
    try:
        return SamplerSettings(**settings)  # type: ignore[arg-type]
    except UsageError as error:
        arguments.fault(str(error))
        return SamplerSettings()


def _refuse_unknown_ways(arguments: Arguments) -> None:
    """Note what the network learned from that nobody here can give it."""
    time = arguments.optional("time_normalization")
    if time == "linear":
        arguments.fault(
            "time_normalization is 'linear', with which its own code cannot train; "
            "wanted cos_sin, or none for a network without labels"
        )
    elif time not in (None, "cos_sin", "none", "None"):
        arguments.fault(f"time_normalization is {time!r}, wanted cos_sin or none")
    if str(arguments.optional("apply_filter")).lower() in ("true", "1"):
        arguments.fault(
            "apply_filter is set, so the coarse fields went through a filter that is not known here"
        )


def _without_prefix(
    shapes: Mapping[str, tuple[int, ...]], prefix: str, kind: str, where: str
) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes by the network's own names; preconditioned networks have a prefix."""
    is_inside = all(name.startswith("model.") for name in shapes)
    if is_inside != bool(prefix):
        has = "all" if is_inside else "not all"
        raise BundleError(
            f"{where}: args say precond {'unet' if kind == 'direct' else kind}, but {has} of its "
            f"weights' names start with model., so they contradict each other"
        )
    return {name.removeprefix(prefix): shape for name, shape in shapes.items()}


def _refuse_contradictions(
    arguments: Arguments,
    settings: NetworkSettings,
    variables: Sequence[str],
    constants: Sequence[str],
    where: str,
) -> None:
    """Hold what `args` say against what the weights are; raises BundleError with all at once."""
    beside = len(POSITION) + len(constants)
    needed = len(variables) * (1 if settings.direct else 2) + beside
    stated = {name: arguments.optional(name) for name in ("in_channels", "out_channels")}
    more = 0 if settings.direct else arguments.optional("cond_channels")
    checks: list[tuple[str, object, object]] = [
        ("arch", arguments.optional("arch"), settings.architecture),
        ("the length of varnames_list", len(variables), settings.outputs),
        ("channels of variables, lat, lon and constants together", needed, settings.inputs),
    ]
    if stated["out_channels"] is not None:
        checks.append(("out_channels", int(stated["out_channels"]), settings.outputs))
    if stated["in_channels"] is not None and more is not None:
        both = int(stated["in_channels"]) + int(more)
        checks.append(("in_channels with cond_channels", both, settings.inputs))
    if arguments.optional("time_normalization") == "cos_sin" or settings.labels:
        checks.append(("the number of time labels", len(LABELS), settings.labels))
    wrong = [f"{what}: args say {a}, weights {b}" for what, a, b in checks if a != b]
    if wrong:
        raise BundleError(f"{where}: args contradict the weights: {'; '.join(wrong)}")


def _line(
    statistics: Mapping[str, Any], name: str, kind: str, faults: list[str]
) -> tuple[float, float]:
    """Return (mean, deviation) of one entry; notes what is lacking and returns (0, 1) then."""
    keys, line = _LINES[kind.removeprefix(_LOG)]
    entry = name + (_LOG_ENDING if kind.startswith(_LOG) else "")
    part = statistics.get(entry)
    if not isinstance(part, Mapping):
        faults.append(f"{entry} is missing, which {kind} needs")
        return 0.0, 1.0
    numbers = {key: part.get(key) for key in keys}
    wrong = [key for key, value in numbers.items() if not _is_finite(value)]
    if wrong:
        faults.append(f"{entry}.{' and '.join(wrong)} missing or no number, which {kind} needs")
        return 0.0, 1.0
    mean, deviation = line({key: float(value) for key, value in numbers.items()})  # type: ignore[arg-type]
    if not deviation > 0.0:
        faults.append(f"{entry}: its deviation by {kind} is {deviation:g}, wanted above 0")
    return mean, deviation


def _is_finite(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type]
