"""The door to NVIDIA's driver: memory, copies, streams and recorded graphs of one GPU.

The driver's own library is on every machine that has a GPU, in whatever version the GPU needs, so
that running an engine asks for no CUDA package. Handles are those of the CUDA runtime as well.
Built from the CUDA driver API's documentation; not yet run on a GPU.
"""

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

import numpy as np

from engines.denoiser import Array
from engines.errors import EngineError, OutOfMemory

_LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY = 2
#: A stream that does not wait for the one that all others wait for.
_NON_BLOCKING = 1
#: While a graph is recorded, other threads may still allocate: another GPU's engine for one.
_THREAD_LOCAL = 1
#: Arguments of every function that is called, as cuda.h declares them; all return a CUresult.
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuMemGetInfo_v2": (POINTER(c_size_t), POINTER(c_size_t)),
    "cuMemAlloc_v2": (POINTER(c_ulonglong), c_size_t),
    "cuMemFree_v2": (c_ulonglong,),
    "cuMemHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_ulonglong, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_ulonglong, c_size_t, c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphLaunch": (c_void_p, c_void_p),
}


class Driver:
    """The driver's functions; each call's status is looked at."""

    def __init__(self) -> None:
        """Load and start the driver. Raises EngineError where there is none."""
        try:
            self._library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise EngineError(f"found no NVIDIA driver: {error}") from error
        for name, arguments in _ARGUMENTS.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = arguments, c_int
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        """Call one function. Raises OutOfMemory or EngineError with what the driver says."""
        status = getattr(self._library, name)(*arguments)
        if status == 0:
            return
        text = c_char_p()
        self._library.cuGetErrorString(status, byref(text))
        said = (text.value or b"unknown error").decode("utf-8", "replace")
        kind = OutOfMemory if status == _OUT_OF_MEMORY else EngineError
        raise kind(f"the NVIDIA driver: {name} says {status}, {said}")


class Gpu:
    """One GPU, its stream, and what is kept in its memory; one thread at a time may use it."""

    def __init__(self, index: int) -> None:
        """Take part in the GPU's primary context, which the CUDA runtime uses too."""
        self._driver = Driver()
        device, context, stream = c_int(), c_void_p(), c_void_p()
        self._driver.call("cuDeviceGet", byref(device), index)
        self._driver.call("cuDevicePrimaryCtxRetain", byref(context), device)
        self._context = context
        with self.current():
            self._driver.call("cuStreamCreate", byref(stream), _NON_BLOCKING)
        self._stream = stream
        self.gives_back(self, "cuStreamDestroy_v2", stream)

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream.value or 0)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU the calling thread's own for a while; TensorRT works on that one."""
        self._driver.call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._driver.call("cuCtxPopCurrent_v2", byref(c_void_p()))

    def call(self, name: str, *arguments: Any) -> None:
        """Call one of the driver's functions, as `Driver.call` does."""
        self._driver.call(name, *arguments)

    def used_bytes(self) -> int:
        """Return how much of the GPU's memory is taken, by whomever."""
        free, total = c_size_t(), c_size_t()
        with self.current():
            self.call("cuMemGetInfo_v2", byref(free), byref(total))
        return total.value - free.value

    def synchronize(self) -> None:
        """Wait until the stream has done all it was given."""
        self._driver.call("cuStreamSynchronize", self._stream)

    def recorded(self, work: Callable[[], None]) -> "Graph":
        """Record what `work` gives to the stream, without doing it."""
        graph = c_void_p()
        self._driver.call("cuStreamBeginCapture_v2", self._stream, _THREAD_LOCAL)
        try:
            work()
        except EngineError:
            # Leaves the stream usable; what was recorded so far is thrown away.
            with suppress(EngineError):
                self._driver.call("cuStreamEndCapture", self._stream, byref(graph))
            raise
        self._driver.call("cuStreamEndCapture", self._stream, byref(graph))
        return Graph(self, graph)

    def gives_back(self, owner: object, function: str, handle: Any) -> None:
        """Give something back to the driver once its owner is gone, on whatever thread that is."""
        driver, context = self._driver, self._context
        ending = weakref.finalize(owner, _give_back, driver, context, function, handle)
        # The driver frees everything itself when the process ends, and may be gone before us.
        ending.atexit = False


class Graph:
    """Work that was recorded and can be launched at once; it keeps its addresses."""

    def __init__(self, gpu: Gpu, graph: c_void_p) -> None:
        self._gpu, self._ready = gpu, c_void_p()
        try:
            gpu.call("cuGraphInstantiateWithFlags", byref(self._ready), graph, 0)
        finally:
            gpu.call("cuGraphDestroy", graph)
        gpu.gives_back(self, "cuGraphExecDestroy", self._ready)

    def launch(self) -> None:
        """Give the recorded work to the stream."""
        self._gpu.call("cuGraphLaunch", self._ready, self._gpu.stream)


class Buffer:
    """Memory of a GPU with its twin on the host, page-locked, so that copies need no waiting.

    host: float32, zeros at first. address: on the GPU.
    """

    def __init__(self, gpu: Gpu, shape: tuple[int, ...]) -> None:
        self._gpu = gpu
        size = 4 * int(np.prod(shape))
        self._size = c_size_t(size)
        self._device, self._pinned = c_ulonglong(), c_void_p()
        gpu.call("cuMemAlloc_v2", byref(self._device), self._size)
        gpu.gives_back(self, "cuMemFree_v2", self._device)
        gpu.call("cuMemHostAlloc", byref(self._pinned), self._size, 0)
        gpu.gives_back(self, "cuMemFreeHost", self._pinned)
        memory = (ctypes.c_float * (size // 4)).from_address(int(self._pinned.value or 0))
        self.host: Array = np.ctypeslib.as_array(memory).reshape(shape)
        self.host[...] = 0.0

    @property
    def address(self) -> int:
        """Where it lies on the GPU."""
        return self._device.value

    def upload(self) -> None:
        """Let the stream copy the host's values to the GPU."""
        arguments = self._device, self._pinned, self._size, self._gpu.stream
        self._gpu.call("cuMemcpyHtoDAsync_v2", *arguments)

    def download(self) -> None:
        """Let the stream copy the GPU's values to the host."""
        arguments = self._pinned, self._device, self._size, self._gpu.stream
        self._gpu.call("cuMemcpyDtoHAsync_v2", *arguments)


def _give_back(driver: Driver, context: c_void_p, function: str, handle: Any) -> None:
    with suppress(EngineError):
        driver.call("cuCtxPushCurrent_v2", context)
        try:
            driver.call(function, handle)
        finally:
            driver.call("cuCtxPopCurrent_v2", byref(c_void_p()))
