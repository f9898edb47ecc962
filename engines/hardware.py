"""What a machine is, as far as it decides an engine's bits; asks no runtime."""

import ctypes
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from engines.errors import EngineError

_CPU_FACTS = Path("/proc/cpuinfo")
#: Vector instructions; which of them a CPU has decides which kernels a runtime picks.
_VECTOR = re.compile(r"(avx|amx|fma|f16c|sse4|asimd|sve|bf16|i8mm|fp16|fphp)\w*")
#: Attributes of a device, as `CUdevice_attribute` numbers them in cuda.h.
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76


@dataclass(frozen=True, slots=True)
class Hardware:
    """A device that may run an engine.

    device: its name. capability: a GPU's compute capability, or a CPU's vector instructions.
    units: multiprocessors, or cores that we may use. driver: version of a GPU's, "" for a CPU.
    """

    device: str
    capability: str
    units: int
    driver: str

    @property
    def has_bf16(self) -> bool:
        """Whether a CPU says that it has bfloat16; only a trial tells whether it works."""
        return "bf16" in self.capability


def hardware(device: str) -> Hardware:
    """Return what `cpu`, `cuda` or `cuda:1` is. Raises EngineError where it is not there."""
    if device == "cpu":
        return _cpu()
    kind, _, index = device.partition(":")
    if kind != "cuda" or not (index.isdigit() or not index):
        raise EngineError(f"device is {device!r}, wanted cpu, cuda or cuda:1")
    return _gpu(int(index or 0))


def _cpu() -> Hardware:
    try:
        text = _CPU_FACTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    facts = {
        key.strip().lower(): value.strip()
        for key, _, value in (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    }
    name = facts.get("model name") or platform.processor() or platform.machine()
    words = facts.get("flags", facts.get("features", "")).split()
    vectors = sorted({word for word in words if _VECTOR.match(word)})
    cores = len(os.sched_getaffinity(0))
    return Hardware(name, " ".join(vectors) or platform.machine(), cores, driver="")


def _gpu(index: int) -> Hardware:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineError(f"found no NVIDIA driver: {error}") from error
    status = cuda.cuInit(0)
    if status != 0:
        raise EngineError(f"the NVIDIA driver does not start: cuInit says {status}, wanted 0")
    device = ctypes.c_int(0)
    if cuda.cuDeviceGet(ctypes.byref(device), index) != 0:
        raise EngineError(f"cuda:{index} is not there: the NVIDIA driver shows no such GPU")
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, len(name), device)
    major, minor, units = (
        _attribute(cuda, device, which) for which in (_MAJOR, _MINOR, _MULTIPROCESSORS)
    )
    shown = name.value.decode("utf-8", "replace")
    return Hardware(shown, f"{major}.{minor}", units, _driver_version(cuda))


def _attribute(cuda: ctypes.CDLL, device: ctypes.c_int, which: int) -> int:
    value = ctypes.c_int(0)
    if cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device) != 0:
        raise EngineError(f"the NVIDIA driver does not tell attribute {which} of GPU {device}")
    return value.value


def _driver_version(cuda: ctypes.CDLL) -> str:
    """Return the driver's own version, or the CUDA version it serves where NVML is not there."""
    text = ctypes.create_string_buffer(96)
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(text, len(text)) == 0:
            return text.value.decode("ascii", "replace")
    except (OSError, AttributeError):
        pass
    served = ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(served))
    return f"CUDA {served.value}"
