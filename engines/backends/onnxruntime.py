"""The door to ONNX Runtime: runs a bundle's ONNX network on a CPU, or on CUDA if it has that."""

import os
from typing import Any

import numpy as np

from engines.backends.fitting import Fitting
from engines.bundle import Bundle
from engines.choice import EngineChoice, buckets, chosen_precision
from engines.denoiser import Array, EngineSpec
from engines.errors import EngineError, OutOfMemory, UsageError
from engines.precondition import network_inputs, network_output

PRECISIONS = ("f32",)
#: Tiles in one call on a GPU unless chosen otherwise.
GPU_BATCH = 16
#: Of its log only errors, which it raises too; our own log tells the rest.
_ERRORS = 3
#: How a lack of memory is told, on a CPU and on a GPU.
_LACKING = ("Failed to allocate memory", "out of memory", "bad_alloc", "bad allocation")


class OnnxRuntimeDenoiser:
    """A bundle's network with its preconditioning; one thread at a time may call it."""

    def __init__(self, bundle: Bundle, choice: EngineChoice | None = None) -> None:
        """Load the network. Raises EngineError when the runtime refuses it, UsageError."""
        runtime, choice = library(), choice or EngineChoice()
        device = choice.device or "cpu"
        precision = chosen_precision(choice, "onnxruntime", PRECISIONS)
        self._fitting, self._around = Fitting.of(bundle), bundle.preconditioning
        self._where = self._fitting.where
        # Batches gain nothing on a CPU.
        sizes = buckets(choice.batch or (1 if device == "cpu" else GPU_BATCH))
        self._failures = _failures(runtime)
        try:
            self._session = _session(runtime, bundle, choice, device)
        except self._failures as error:
            raise EngineError(f"{self._where}: ONNX Runtime cannot load it: {error}") from error
        self._names = [given.name for given in self._session.get_inputs()]
        wanted = len(self._fitting.graph_inputs(1))
        if len(self._names) != wanted:
            raise EngineError(f"{self._where}: has {len(self._names)} inputs, wanted {wanted}")
        version = str(runtime.__version__)
        self._spec = EngineSpec("onnxruntime", precision, device, version, sizes[-1], sizes)

    @property
    def spec(self) -> EngineSpec:
        """ONNX Runtime on this device."""
        return self._spec

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        """Return D(x, sigma; condition), a fresh array; see `Denoiser`."""
        self._fitting.refuse_misfits(x, sigma, condition, labels)
        given = list(network_inputs(self._around, x, sigma, condition))
        if self._fitting.is_direct:
            del given[1]
        if labels is not None:
            given.append(labels)
        raw, most = np.empty_like(x), self._spec.batch
        for first in range(0, len(x), most):
            part = slice(first, first + most)
            raw[part] = self._bucket([array[part] for array in given])
        return network_output(self._around, x, sigma, raw)

    def _bucket(self, given: list[Array]) -> Array:
        """Run as many tiles as a bucket takes, or fewer."""
        count = len(given[0])
        size = next(size for size in self._spec.buckets if size >= count)
        # The last tile again and again: its answers are cut off.
        whole = [np.concatenate([a, np.repeat(a[-1:], size - count, axis=0)]) for a in given]
        try:
            (raw,) = self._session.run(None, dict(zip(self._names, whole, strict=True)))
        except self._failures as error:
            told = f"{self._where}: ONNX Runtime failed at {size} tiles: {error}"
            if any(word in str(error) for word in _LACKING):
                raise OutOfMemory(told) from error
            raise EngineError(told) from error
        return np.asarray(raw[:count], dtype=np.float32)


def open_denoiser(bundle: Bundle, choice: EngineChoice) -> OnnxRuntimeDenoiser:
    """Return a bundle's network on ONNX Runtime. Raises EngineError, UsageError."""
    return OnnxRuntimeDenoiser(bundle, choice)


def library() -> Any:
    """Return ONNX Runtime, made silent before it starts.

    Its builds for Linux send events to their maker and keep an identifier of the machine unless
    they are told not to. A daemon talks to nobody whom its operator did not name.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415 - only now

    return onnxruntime


def _failures(runtime: Any) -> tuple[type[Exception], ...]:
    """Return all that the runtime raises; its own errors have no base but Exception."""
    own = vars(runtime.capi.onnxruntime_pybind11_state).values()
    found = [one for one in own if isinstance(one, type) and issubclass(one, Exception)]
    return (RuntimeError, ValueError, *found)


def _session(runtime: Any, bundle: Bundle, choice: EngineChoice, device: str) -> Any:
    provider, options = _provider(device)
    if provider not in runtime.get_available_providers():
        raise EngineError(
            f"this ONNX Runtime has no {provider}, which device {device} needs: "
            "pip install onnxruntime-gpu in place of onnxruntime"
        )
    settings = runtime.SessionOptions()
    settings.log_severity_level = _ERRORS
    settings.use_deterministic_compute = True
    if choice.threads is not None:
        settings.intra_op_num_threads = choice.threads
    # Its idle threads would otherwise burn the cores that decoding and encoding need.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = str(bundle.network_path)
    session = runtime.InferenceSession(path, settings, providers=[(provider, options)])
    if session.get_providers()[0] != provider:
        # It takes the CPU without a word where a library of CUDA is missing.
        raise EngineError(f"ONNX Runtime cannot use {device}: {provider} did not load")
    return session


def _provider(device: str) -> tuple[str, dict[str, str]]:
    """Return the runtime's word for a device, and how it is to use it."""
    if device == "cpu":
        return "CPUExecutionProvider", {}
    kind, _, index = device.partition(":")
    if kind != "cuda" or not (index.isdigit() or not index):
        raise UsageError(f"engine.device is {device!r}, wanted cpu, cuda or cuda:1")
    # TF32 rounds to 10 bits; the same kernels at every start give the same bytes.
    exact = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    return "CUDAExecutionProvider", {"device_id": index or "0", **exact}
