"""Opens a bundle as an engine that has proven itself on the bundle's golden vectors."""

import importlib.util
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from engines.build import fastest, precisions, prove
from engines.bundle import Bundle, open_manifest
from engines.choice import EngineChoice
from engines.denoiser import Denoiser, GaussianDenoiser
from engines.devices import gpus
from engines.errors import EngineError, UsageError
from engines.golden import bound_of, check, read_golden
from engines.hardware import hardware
from engines.loading import device_of, is_installed, load, settled
from engines.proof import Kept
from engines.trial import Opener

_log = logging.getLogger(__name__)

#: The word for the fastest precision of a backend that is right.
FASTEST = "auto"
#: What a GPU computes in unless told otherwise; the second where the first overflows.
_HALVES = ("fp16", "bf16")
#: The compute capabilities that TensorRT for RTX is made for, besides those from 12.0 on.
_RTX, _RTX_FROM = ("7.5", "8.0", "8.6", "8.9"), 12.0


def open_bundle(  # noqa: PLR0913 - what an operator may choose, one word each
    bundle: Bundle | str | Path,
    backend: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    cache: Path | None = None,
    device: str | None = None,
    batch: int | None = None,
    *,
    compiled: bool = False,
    fallback: bool = False,
) -> Denoiser:
    """Return the bundle's network on a runtime, checked against its golden vectors.

    backend: `auto` takes TensorRT on an NVIDIA GPU that has it, PyTorch on another one, and
    OpenVINO on a CPU; `gaussian` is the closed form for a residual of deviation 1, which needs no
    network and learned nothing. precision: None is float32 on a CPU, half on a GPU; `auto` tries
    and takes the fastest that is right. threads, device, batch, compiled: see
    `EngineChoice`.
    cache: a folder of mode 0700 for engines and what they have shown, so that each is tried once,
    in a process of its own; None tries those that may end a process at every start.
    fallback: whether `auto` may take a slower backend where the device's own fails.
    Raises BundleError, UsageError naming the words that are known, EngineError.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_manifest(bundle)
    named = None if precision == FASTEST else precision
    choice = EngineChoice(backend, named, threads, device, batch, compiled=compiled)
    if choice.backend == "openvino" and choice.device not in (None, "cpu"):
        raise UsageError(f"engine.device is {choice.device!r}, the openvino backend knows cpu")
    if choice.backend == "gaussian":
        # The residual is in units of its own deviation, and so is the closed form.
        return GaussianDenoiser(deviation=opened.preconditioning.sigma_data)
    ways = _automatic(choice) if backend == "auto" else [(choice, "as asked for")]
    for i, (way, why) in enumerate(ways):
        try:
            return _proven(opened, settled(way), cache, why, is_fastest=precision == FASTEST)
        except (EngineError, UsageError) as error:
            if not fallback or i + 1 == len(ways):
                raise
            _log.warning("%s instead of %s: %s", ways[i + 1][0].backend, way.backend, error)
    raise AssertionError("there is always a way, which opens or raises")


def _automatic(choice: EngineChoice) -> list[tuple[EngineChoice, str]]:
    """Return what `auto` means on this machine, the fastest first, each with the reason."""
    found = gpus()
    on_gpu = choice.device.startswith("cuda") if choice.device else bool(found)
    names = ["torch"] if on_gpu else []
    why = "since this machine has no NVIDIA GPU" if not found else "since the device is a CPU"
    if on_gpu:
        index = int((choice.device or "cuda").partition(":")[2] or 0)
        why = f"since the device is {found[index] if index < len(found) else 'a GPU'}"
        if _has_tensorrt(choice.device or "cuda"):
            names.insert(0, "tensorrt")
        else:
            why += ", and TensorRT for it is not installed"
    ways = [(replace(choice, backend=name), why) for name in names]
    slower = replace(choice, device="cpu", batch=None) if on_gpu else choice
    # Half precision is a GPU's; a CPU that stands in for one does so exactly.
    exact = replace(slower, precision=None) if slower.precision == "fp16" else slower
    ways += [(replace(exact, backend=name), why) for name in ("openvino", "onnxruntime", "torch")]
    return ways


def _has_tensorrt(device: str) -> bool:
    """Tell whether a TensorRT is installed that is made for this GPU."""
    if not gpus() or not is_installed("tensorrt"):
        return False
    if importlib.util.find_spec("tensorrt") is not None:
        return True
    capability = hardware(device).capability
    return capability in _RTX or float(capability) >= _RTX_FROM


def _proven(
    bundle: Bundle, choice: EngineChoice, cache: Path | None, why: str, *, is_fastest: bool
) -> Denoiser:
    """Open one backend in the precision that is asked for, or in the one that is best."""
    names = (choice.precision,) if choice.precision else _usual(choice)
    choices = [
        replace(choice, precision=name) for name in (precisions(choice) if is_fastest else names)
    ]
    with _folder(cache, is_needed=is_fastest or any(map(_may_kill, choices))) as folder:
        chosen = choices[0]
        if folder is not None:
            kept = (fastest if is_fastest else _first)(bundle, choices, folder, load)
            chosen = replace(chosen, precision=kept.proof.key.precision, cache=kept.folder)
        denoiser = load(bundle, chosen)
    golden = read_golden(bundle)
    error, spec = check(denoiser, golden, str(bundle.golden_path)), denoiser.spec
    _log.info(
        "engine: %s %s %s on %s, %s; golden vectors to %.1e, bound %.0e, up to %d tiles a call",
        spec.backend, spec.version, spec.precision, spec.device, why, error,
        bound_of(golden, spec.precision), spec.batch,
    )  # fmt: skip
    return denoiser


def _usual(choice: EngineChoice) -> tuple[str, ...]:
    """Return what a device computes in unless told otherwise, the first that is right."""
    if device_of(choice) == "cpu" or choice.backend == "onnxruntime":
        return ("f32",)
    return _HALVES


def _may_kill(choice: EngineChoice) -> bool:
    """Tell whether only another process may try this: flags of a CPU are no promise."""
    return choice.backend == "tensorrt" or choice.precision != "f32"


def _first(bundle: Bundle, choices: Sequence[EngineChoice], cache: Path, opener: Opener) -> Kept:
    """Return the first engine that is right."""
    for choice in choices[:-1]:
        try:
            return prove(bundle, choice, cache, opener)
        except EngineError as error:
            _log.warning("%s %s is not taken: %s", choice.backend, choice.precision, error)
    return prove(bundle, choices[-1], cache, opener)


@contextmanager
def _folder(cache: Path | None, *, is_needed: bool) -> Iterator[Path | None]:
    """Give the cache, or for the length of the block a folder in its place if one is needed."""
    if cache is not None or not is_needed:
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="downscaled-engines-") as folder:
        yield Path(folder)
