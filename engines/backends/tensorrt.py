"""Runs a bundle's network on TensorRT: a profile, memory and a recorded call for each bucket.

Built from the documentation of TensorRT and of CUDA's driver; not yet run on a GPU. What it gives
is held against the golden vectors at every load, as with every other engine.
"""

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from engines.backends import tensorrt_plan
from engines.backends.cuda_driver import Buffer, Gpu, Graph
from engines.bundle import Bundle
from engines.cache import private_folder, shared_folder, write_whole
from engines.choice import EngineChoice, buckets, chosen_precision
from engines.denoiser import Array, EngineSpec
from engines.errors import EngineError, OutOfMemory
from engines.hardware import hardware
from engines.precondition import network_inputs, network_output

_log = logging.getLogger(__name__)

PRECISIONS = ("fp16", "bf16", "f32")
#: Tiles in one call unless chosen otherwise.
BATCH = 16
_PLAN = "engine.plan"
_KERNELS = "kernels.cache"


class TensorRtDenoiser:
    """A bundle's network with its preconditioning on one GPU; one thread at a time may call it."""

    def __init__(self, bundle: Bundle, choice: EngineChoice) -> None:
        """Load the plan, or build it first. Raises EngineError, OutOfMemory, UsageError."""
        device = choice.device or "cuda"
        # A runtime without a driver ends the process, so the driver is asked before any of it.
        found = hardware(device)
        trt = tensorrt_plan.library()
        precision = chosen_precision(choice, "tensorrt", PRECISIONS)
        sizes = buckets(choice.batch or BATCH)
        version = f"{trt.__name__} {trt.__version__}"
        self._spec = EngineSpec(
            "tensorrt", precision, f"{device} {found.device}", version, sizes[-1], sizes
        )
        self._around, self._where = bundle.preconditioning, str(bundle.network_path)
        self._gpu = Gpu(int(device.partition(":")[2] or 0))
        with self._gpu.current():
            self._load(trt, bundle, choice)

    @property
    def spec(self) -> EngineSpec:
        """TensorRT on this GPU."""
        return self._spec

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        """Return D(x, sigma; condition), a fresh array; see `Denoiser`."""
        if sigma.min() <= 0.0:
            raise EngineError(f"sigma is {sigma.min()}, wanted above 0")
        joined, c_noise = network_inputs(self._around, x, sigma, condition)
        given = {"inputs": joined, "c_noise": c_noise}
        given |= {} if labels is None else {"labels": labels}
        raw, most = np.empty_like(x), self._spec.batch
        with self._gpu.current():
            for first in range(0, len(x), most):
                part = {name: array[first : first + most] for name, array in given.items()}
                raw[first : first + most] = self._call(part)
        return network_output(self._around, x, sigma, raw)

    def _load(self, trt: ModuleType, bundle: Bundle, choice: EngineChoice) -> None:
        said = tensorrt_plan.logger(trt)
        plan = _plan(trt, said, bundle, choice, self._spec)
        # Each must outlive what it made.
        self._runtime = trt.Runtime(said)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(f"{self._where}: TensorRT refuses its plan: {said.last}")
        contexts = _Contexts(trt, self._engine, choice.cache)
        self._sizes = {
            tiles: _Size(self._gpu, self._engine, contexts.made(), profile, tiles)
            for profile, tiles in enumerate(self._spec.buckets)
        }
        for size in self._sizes.values():
            size.warm()
        contexts.keep()

    def _call(self, given: dict[str, Array]) -> Array:
        count = len(given["inputs"])
        tiles = next(size for size in self._spec.buckets if size >= count)
        try:
            return self._sizes[tiles].run(given)
        except OutOfMemory:
            raise
        except EngineError as error:
            raise EngineError(f"{self._where}: TensorRT failed: {error}") from error


class _Size:
    """The engine for one number of tiles: its context, its memory, and the recorded call."""

    def __init__(self, gpu: Gpu, engine: Any, context: Any, profile: int, tiles: int) -> None:
        self._gpu, self._context = gpu, context
        self._graph: Graph | None = None
        if not context.set_optimization_profile_async(profile, gpu.stream):
            raise EngineError(f"TensorRT has no profile {profile} for {tiles} tiles")
        # The switch must be over before anything is enqueued.
        gpu.synchronize()
        self._inputs: dict[str, Buffer] = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            shape = (tiles, *tuple(engine.get_tensor_shape(name))[1:])
            buffer = Buffer(gpu, shape)
            if engine.get_tensor_mode(name).name == "INPUT":
                self._inputs[name] = buffer
                context.set_input_shape(name, shape)
            else:
                self._output = buffer
            context.set_tensor_address(name, buffer.address)

    def warm(self) -> None:
        """Run once, which settles what was deferred, then record the call where that is possible.

        Only TensorRT for RTX has to be asked; the other records all networks of fixed shapes.
        """
        self._enqueue()
        self._gpu.synchronize()
        asked = getattr(self._context, "is_stream_capturable", None)
        if asked is None or asked(self._gpu.stream):
            self._graph = self._gpu.recorded(self._enqueue)
        else:
            _log.warning("TensorRT cannot record this network: every call launches its kernels")

    def run(self, given: dict[str, Array]) -> Array:
        """Return the network's answer for as many tiles as are given, a fresh array."""
        count = len(given["inputs"])
        for name, buffer in self._inputs.items():
            # Labels that nobody gave are zeros, as the network has it.
            values = given.get(name)
            if values is not None and values.shape[1:] != buffer.host.shape[1:]:
                raise EngineError(f"{name} is {values.shape}, wanted {buffer.host.shape}")
            buffer.host[:count] = 0.0 if values is None else values
            buffer.host[count:] = 0.0
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch()
        self._gpu.synchronize()
        return self._output.host[:count].copy()

    def _enqueue(self) -> None:
        for buffer in self._inputs.values():
            buffer.upload()
        if not self._context.execute_async_v3(self._gpu.stream):
            raise EngineError("the execution context refused the call")
        self._output.download()


class _Contexts:
    """Makes execution contexts; for RTX with what its just-in-time compiler made before."""

    def __init__(self, trt: ModuleType, engine: Any, folder: Path | None) -> None:
        self._engine = engine
        self._path = folder / _KERNELS if folder else None
        # Memory for a context's own profile only, not for the largest of all.
        self._how: Any = trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        self._kernels: Any = None
        if hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
            self._how = self._compiling(trt)

    def made(self) -> Any:
        """Return a new context. Raises OutOfMemory where TensorRT makes none."""
        context = self._engine.create_execution_context(self._how)
        if context is None:
            raise OutOfMemory("TensorRT made no execution context, as it does without memory")
        return context

    def keep(self) -> None:
        """Write what was compiled, for the next start."""
        if self._kernels is not None and self._path is not None:
            write_whole(self._path, bytes(self._kernels.serialize()))

    def _compiling(self, trt: ModuleType) -> Any:
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self._how)
        # Compiled in the first call, so that the recorded one holds the kernels for its own shape.
        eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        self._kernels = config.create_runtime_cache()
        if self._path is not None and self._path.is_file():
            # One of another GPU or version is refused, and then made anew.
            self._kernels.deserialize(self._path.read_bytes())
        config.set_runtime_cache(self._kernels)
        return config


def open_denoiser(bundle: Bundle, choice: EngineChoice) -> TensorRtDenoiser:
    """Return a bundle's network on TensorRT. Raises BundleError, EngineError, UsageError."""
    return TensorRtDenoiser(bundle, choice)


def _plan(
    trt: ModuleType, said: Any, bundle: Bundle, choice: EngineChoice, spec: EngineSpec
) -> bytes:
    """Return the plan out of our own private folder, or build it and lay it there.

    A plan is code, and so nothing else is ever loaded.
    """
    folder = private_folder(choice.cache) if choice.cache else None
    path = folder / _PLAN if folder else None
    if path is not None and path.is_file():
        return path.read_bytes()
    request = tensorrt_plan.PlanRequest(
        onnx=tensorrt_plan.network_onnx(bundle, spec.precision),
        where=str(bundle.network_path),
        sizes=spec.buckets,
        exact=spec.precision == "f32",
        here=True,
        timings=shared_folder(folder) / f"{trt.__name__}-timings.cache" if folder else None,
    )
    plan = tensorrt_plan.build_plan(trt, said, request)
    if path is not None:
        write_whole(path, plan)
    return plan
