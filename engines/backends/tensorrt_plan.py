"""The door to TensorRT, or TensorRT for RTX: builds plans from ONNX.

Both have one API. TensorRT for RTX builds without a GPU, which is how this is tested.
"""

import importlib
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from engines.bundle import MODEL, Bundle
from engines.cache import write_whole
from engines.errors import EngineError, UsageError

_log = logging.getLogger(__name__)

#: The first that is installed is taken; the last one is the second without its wrapping.
LIBRARIES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


def library() -> ModuleType:
    """Return TensorRT, or TensorRT for RTX. Raises EngineError where neither is installed."""
    for name in LIBRARIES:
        with suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    raise EngineError("the tensorrt backend needs tensorrt or tensorrt-rtx, and has neither")


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a plan is built from, and for what.

    onnx: the network, which says its precision itself; where: names it in messages. sizes: numbers
    of tiles, each with a profile of its own. exact: whether float32 parts stay so, without TF32.
    here: only for the GPU of this machine; otherwise for all that the library is for.
    timings: a file of what kernels took, for the next build; None keeps none.
    """

    onnx: bytes
    where: str
    sizes: Sequence[int]
    exact: bool = False
    here: bool = False
    timings: Path | None = None


def build_plan(trt: ModuleType, said: Any, request: PlanRequest) -> bytes:
    """Build a plan with a library and its logger. Raises EngineError with what TensorRT says."""
    builder = trt.Builder(said)
    # Required by version 10, and how later ones are anyway.
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, said)
    if not parser.parse(request.onnx):
        faults = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EngineError(f"{request.where}: TensorRT cannot read the network: {faults}")
    config = builder.create_builder_config()
    if request.exact:
        # TF32 rounds to 10 bits, and is on unless it is turned off.
        config.clear_flag(trt.BuilderFlag.TF32)
    for size in request.sizes:
        config.add_optimization_profile(_profile(builder, network, size))
    # TensorRT for RTX times nothing, and asks for a GPU when it gets a timing cache.
    is_rtx = hasattr(trt, "ComputeCapability")
    if is_rtx and request.here:
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.CURRENT, 0)
    timings = None if is_rtx else _timings(config, request.timings)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{request.where}: TensorRT cannot build the network: {said.last}")
    if timings is not None and request.timings is not None:
        write_whole(request.timings, bytes(timings.serialize()))
    return bytes(plan)


def network_onnx(bundle: Bundle, precision: str) -> bytes:
    """Return the bundle's network in a precision, with float32 inputs and outputs.

    Strongly typed networks have their precision from the ONNX, and a bundle carries float32 alone:
    half precision is exported from its weights. Raises UsageError where torch is missing.
    """
    if precision == "f32":
        return bundle.network_path.read_bytes()
    try:
        # Heavy, and only building a plan needs it; running one does not.
        from engines.backends.torch_network import load  # noqa: PLC0415
        from engines.export import to_onnx  # noqa: PLC0415
        from engines.networks import build, from_plain  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"building a {precision} plan exports the bundle's weights, which needs {error.name}, "
            "and that is not installed: pip install 'downscaled[torch]', or precision f32"
        ) from error
    settings = from_plain(bundle.network, str(bundle.path / MODEL))
    network = build(settings)
    load(network, bundle)
    return to_onnx(network, settings, precision=precision)


def logger(trt: ModuleType) -> Any:
    """Return a logger for TensorRT that writes into ours, and keeps the last error as `last`."""

    class Said(trt.ILogger):  # type: ignore[name-defined,misc]
        last = "it said nothing"

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.last = message
            if severity <= trt.ILogger.Severity.WARNING:
                _log.debug("TensorRT: %s", message)

    return Said()


def _profile(builder: Any, network: Any, size: int) -> Any:
    """Return a profile for calls of exactly this many tiles."""
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape = (size, *tuple(tensor.shape)[1:])
        profile.set_shape(tensor.name, shape, shape, shape)
    return profile


def _timings(config: Any, path: Path | None) -> Any:
    """Give the builder what kernels took before; what another GPU or version took it refuses."""
    known = path.read_bytes() if path and path.is_file() else b""
    cache = config.create_timing_cache(known)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache
