"""Runs functions of tensors for callers that have numpy arrays: plainly, or as one CUDA graph.

A small network spends its time on launching hundreds of kernels a call. A graph is recorded once
for fixed shapes and launched as a whole, so that what remains is the kernels' own time.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.denoiser import Array
from engines.errors import EngineError, OutOfMemory

Function = Callable[..., Tensor]
Arrays = Sequence[NDArray[np.float32]]
T = TypeVar("T")
#: Runs before a recording: libraries make handles and workspaces, compilers compile, and none of
#: it may happen while a graph is recorded.
WARM_UPS = 2
#: How the runtime and its libraries, on any device, tell that memory is lacking.
_LACKING = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")


class Runner(Protocol):
    """A function of tensors as one of arrays; all arrays have the shapes of the first call."""

    def __call__(self, arrays: Arrays) -> Array:
        """Return the function's answer, a fresh array."""
        ...


class Plain:
    """Calls the function operation by operation, on any device."""

    def __init__(self, function: Function, device: torch.device) -> None:
        self._function, self._device = function, device

    def __call__(self, arrays: Arrays) -> Array:
        """Return the function's answer for `arrays`."""
        on_gpu = self._device.type == "cuda"
        with torch.no_grad(), torch.cuda.device(self._device) if on_gpu else nullcontext():
            given = [torch.from_numpy(np.ascontiguousarray(a)).to(self._device) for a in arrays]
            return np.asarray(self._function(*given).cpu().numpy(), dtype=np.float32)


class Recorded:
    """One CUDA graph of the function, over memory of its own on the device and pinned on the host.

    stream: where all of it runs. pool: the graphs' common memory for what lives within a replay;
    graphs that share one must not run at the same time. examples: arrays of the shapes to come.
    """

    def __init__(
        self, function: Function, examples: Arrays, stream: torch.cuda.Stream, pool: Any
    ) -> None:
        self._stream = stream
        device = stream.device
        with torch.cuda.device(device), torch.no_grad(), torch.cuda.stream(stream):
            self._pinned = [torch.zeros(a.shape, pin_memory=True) for a in examples]
            self._inputs = [torch.zeros(a.shape, device=device) for a in examples]
            self._put(examples)
            for _ in range(WARM_UPS):
                like = function(*self._inputs)
            self._output = torch.empty(like.shape, device=device)
            self._answer = torch.empty(like.shape, pin_memory=True)
            del like
            stream.synchronize()
            # What the warm-up kept for itself is the recording's to have.
            torch.cuda.empty_cache()
            self._graph = torch.cuda.CUDAGraph()
            # Another device's engine may allocate meanwhile, in its own thread.
            with torch.cuda.graph(
                self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                self._output.copy_(function(*self._inputs))

    def __call__(self, arrays: Arrays) -> Array:
        """Return the function's answer for `arrays`; the host waits once, at the end."""
        with torch.cuda.device(self._stream.device), torch.cuda.stream(self._stream):
            self._put(arrays)
            self._graph.replay()
            self._answer.copy_(self._output, non_blocking=True)
            self._stream.synchronize()
            return np.array(self._answer.numpy(), dtype=np.float32)

    def replay(self) -> None:
        """Run the graph on what its memory holds, without waiting, on the current stream."""
        self._graph.replay()

    def _put(self, arrays: Arrays) -> None:
        for array, pinned, tensor in zip(arrays, self._pinned, self._inputs, strict=True):
            pinned.numpy()[...] = array
            tensor.copy_(pinned, non_blocking=True)


def guarded(work: Callable[[], T], device: torch.device, doing: str) -> T:
    """Return what `work` returns; raises EngineError, or OutOfMemory, for the runtime's errors.

    doing: what was tried, for the message.
    """
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise EngineError(f"{device}: torch failed at {doing}: {error}") from error
        told = str(error).partition("\n")[0]
    # Outside the handler: the error would keep its frames, and they the tensors of the batch,
    # until whoever halves it has done so.
    if device.type == "cuda":
        torch.cuda.empty_cache()
    raise OutOfMemory(f"{device}: not enough memory for {doing}: {told}")


def lacks_memory(error: BaseException | None) -> bool:
    """Return whether a lack of memory is behind an error; leaving a recording may wrap it."""
    while error is not None:
        if isinstance(error, MemoryError) or any(word in str(error) for word in _LACKING):
            return True
        error = error.__context__
    return False
