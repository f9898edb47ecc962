"""The door to OpenVINO: runs a bundle's ONNX network on a CPU, one tile a call."""

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.bundle import NETWORK, Bundle
from engines.denoiser import Array, EngineSpec
from engines.errors import EngineError, UsageError
from engines.precondition import coefficients

# OpenVINO's package tells its maker of every start, with a file in the user's home, unless this
# part of it cannot be found. A daemon talks to nobody whom its operator did not name.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402 - only now

#: OpenVINO picks bfloat16 silently where the CPU has it, so the hint is always given.
PRECISIONS: Mapping[str, str] = {"f32": "f32"}


@dataclass(frozen=True, slots=True)
class CpuSettings:
    """How OpenVINO uses a CPU.

    threads: None leaves the choice to OpenVINO, one a core. Sums are split among threads, so the
    last bits depend on their number: hosts that must give the same bytes need the same number.
    cache: a folder for compiled networks, made with mode 0700; None compiles at every start.
    """

    precision: str = "f32"
    threads: int | None = None
    cache: Path | None = None


class OpenVinoDenoiser:
    """A bundle's network with its preconditioning; one thread at a time may call it."""

    def __init__(self, bundle: Bundle, settings: CpuSettings | None = None) -> None:
        """Compile the network. Raises EngineError when OpenVINO refuses it."""
        settings = settings or CpuSettings()
        channels = len(bundle.channels)
        shapes = [(1, 2 * channels + len(bundle.constants), *bundle.tile), (1,)]
        shapes += [(1, len(bundle.labels))] if bundle.labels else []
        self._preconditioning = bundle.preconditioning
        self._channels = channels
        self._where = str(bundle.path / NETWORK)
        self._inputs = [np.zeros(shape, dtype=np.float32) for shape in shapes]
        try:
            self._request = _compile(bundle.path / NETWORK, self._inputs, settings)
        except RuntimeError as error:
            raise EngineError(f"{self._where}: OpenVINO cannot load it: {error}") from error
        version = openvino.__version__.split("-")[0]
        self._spec = EngineSpec("openvino", settings.precision, "cpu", version, batch=1)

    @property
    def spec(self) -> EngineSpec:
        """OpenVINO on this CPU; single tiles, since batches gain nothing there."""
        return self._spec

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        """Return D(x, sigma; condition), a fresh array; see `Denoiser`."""
        if sigma.min() <= 0.0:
            raise EngineError(f"sigma is {sigma.min()}, wanted above 0")
        around = self._preconditioning
        c_skip, c_out, c_in, c_noise = coefficients(around.kind, sigma, around.sigma_data)
        denoised = np.empty_like(x)
        for i in range(len(x)):
            self._fill(x[i], condition[i], c_in[i], c_noise[i])
            if labels is not None:
                self._inputs[2][0] = labels[i]
            network = self._infer()
            np.multiply(network, c_out[i], out=denoised[i])
            denoised[i] += c_skip[i] * x[i]
        return denoised

    def _fill(self, x: Array, condition: Array, c_in: np.float32, c_noise: np.float32) -> None:
        """Write one tile to the request's own input memory."""
        network_input, noise = self._inputs[0][0], self._inputs[1]
        wanted = (len(network_input) - self._channels, *network_input.shape[1:])
        if x.shape != (self._channels, *wanted[1:]) or condition.shape != wanted:
            raise EngineError(
                f"x {x.shape} and condition {condition.shape} do not fit {self._where}, "
                f"wanted {(self._channels, *wanted[1:])} and {wanted}"
            )
        np.multiply(x, c_in, out=network_input[: self._channels])
        # The condition is scaled with the noisy residual, as the network was trained.
        np.multiply(condition, c_in, out=network_input[self._channels :])
        noise[0] = c_noise

    def _infer(self) -> Array:
        try:
            self._request.infer()
            # The output's memory is the request's and changes with the next call.
            return np.asarray(self._request.get_output_tensor(0).data[0], dtype=np.float32)
        except RuntimeError as error:
            raise EngineError(f"{self._where}: OpenVINO failed: {error}") from error


def _compile(path: Path, inputs: list[Array], settings: CpuSettings) -> Any:
    """Return an inference request whose inputs are the given arrays' own memory."""
    core = openvino.Core()
    model = core.read_model(path)
    if len(model.inputs) != len(inputs):
        raise EngineError(f"{path}: has {len(model.inputs)} inputs, wanted {len(inputs)}")
    model.reshape(
        {port: list(array.shape) for port, array in zip(model.inputs, inputs, strict=True)}
    )
    request = core.compile_model(model, "CPU", _properties(settings)).create_infer_request()
    for i, array in enumerate(inputs):
        request.set_input_tensor(i, openvino.Tensor(array, shared_memory=True))
    return request


def _properties(settings: CpuSettings) -> dict[str, Any]:
    if settings.precision not in PRECISIONS:
        raise UsageError(
            f"precision {settings.precision!r} is not known to the openvino backend, "
            f"wanted one of {', '.join(PRECISIONS)}"
        )
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[settings.precision],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
    }
    if settings.threads is not None:
        properties["INFERENCE_NUM_THREADS"] = settings.threads
    if settings.cache is not None:
        properties["CACHE_DIR"] = str(_private_folder(settings.cache))
    return properties


def _private_folder(folder: Path) -> Path:
    """Make a folder that only we can read and write: a compiled network is code."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(
            f"{folder}: has mode {stat.S_IMODE(found.st_mode):04o} and owner {found.st_uid}, "
            f"wanted 0700 and {os.getuid()}, since compiled networks are code"
        )
    return folder
