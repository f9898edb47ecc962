"""The door to OpenVINO: runs a bundle's ONNX network on a CPU, one tile a call."""

import os
import sys
from typing import Any

import numpy as np

from engines.backends.fitting import Fitting
from engines.bundle import Bundle
from engines.cache import private_folder
from engines.choice import EngineChoice, chosen_precision
from engines.denoiser import Array, EngineSpec
from engines.errors import EngineError, UsageError
from engines.precondition import network_inputs, network_output

# OpenVINO's package tells its maker of every start, with a file in the user's home, unless this
# part of it cannot be found. A daemon talks to nobody whom its operator did not name.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402 - only now

#: OpenVINO's own words are the same. It picks bfloat16 silently where the CPU has it, so the hint
#: is always given.
PRECISIONS = ("f32", "bf16")


class OpenVinoDenoiser:
    """A bundle's network with its preconditioning; one thread at a time may call it."""

    def __init__(self, bundle: Bundle, choice: EngineChoice | None = None) -> None:
        """Compile the network. Raises EngineError when OpenVINO refuses it, UsageError."""
        choice = choice or EngineChoice()
        if choice.device not in (None, "cpu"):
            raise UsageError(f"engine.device is {choice.device}, the openvino backend knows cpu")
        precision = chosen_precision(choice, "openvino", PRECISIONS)
        self._fitting, self._around = Fitting.of(bundle), bundle.preconditioning
        self._where = self._fitting.where
        # Single tiles, since batches gain nothing on a CPU.
        self._inputs = [np.zeros(s, dtype=np.float32) for s in self._fitting.graph_inputs(1)]
        try:
            self._request = _compile(bundle, self._inputs, choice, precision)
        except RuntimeError as error:
            raise EngineError(f"{self._where}: OpenVINO cannot load it: {error}") from error
        version = openvino.__version__.split("-")[0]
        self._spec = EngineSpec("openvino", precision, "cpu", version, batch=1)

    @property
    def spec(self) -> EngineSpec:
        """OpenVINO on this CPU."""
        return self._spec

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        """Return D(x, sigma; condition), a fresh array; see `Denoiser`."""
        self._fitting.refuse_misfits(x, sigma, condition, labels)
        denoised = np.empty_like(x)
        for i in range(len(x)):
            one = slice(i, i + 1)
            given = list(network_inputs(self._around, x[one], sigma[one], condition[one]))
            if self._fitting.is_direct:
                del given[1]
            if labels is not None:
                given.append(labels[one])
            denoised[one] = network_output(self._around, x[one], sigma[one], self._infer(given))
        return denoised

    def _infer(self, given: list[Array]) -> Array:
        """Run one tile; the answer is the request's own memory and changes with the next one."""
        for own, array in zip(self._inputs, given, strict=True):
            own[...] = array
        try:
            self._request.infer()
            return np.asarray(self._request.get_output_tensor(0).data, dtype=np.float32)
        except RuntimeError as error:
            raise EngineError(f"{self._where}: OpenVINO failed: {error}") from error


def open_denoiser(bundle: Bundle, choice: EngineChoice) -> OpenVinoDenoiser:
    """Return a bundle's network on OpenVINO. Raises EngineError, UsageError."""
    return OpenVinoDenoiser(bundle, choice)


def _compile(bundle: Bundle, inputs: list[Array], choice: EngineChoice, precision: str) -> Any:
    """Return an inference request whose inputs are the given arrays' own memory."""
    core = openvino.Core()
    # A CPU without it would compute in float32 and say nothing.
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise EngineError("this CPU has no bf16, wanted f32")
    path = bundle.network_path
    model = core.read_model(path)
    if len(model.inputs) != len(inputs):
        raise EngineError(f"{path}: has {len(model.inputs)} inputs, wanted {len(inputs)}")
    model.reshape(
        {port: list(array.shape) for port, array in zip(model.inputs, inputs, strict=True)}
    )
    request = core.compile_model(model, "CPU", _properties(choice, precision))
    request = request.create_infer_request()
    for i, array in enumerate(inputs):
        request.set_input_tensor(i, openvino.Tensor(array, shared_memory=True))
    return request


def _properties(choice: EngineChoice, precision: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
    }
    if choice.threads is not None:
        properties["INFERENCE_NUM_THREADS"] = choice.threads
        if choice.threads < len(os.sched_getaffinity(0)):
            # Bound to cores, the threads of two engines would get the same ones and take turns.
            properties["ENABLE_CPU_PINNING"] = False
    if choice.cache is not None:
        properties["CACHE_DIR"] = str(private_folder(choice.cache))
    return properties
