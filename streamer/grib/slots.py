"""One worker process: started with spawn, fed and read through memory that both share.

The memory is anonymous (memfd), so nothing is left behind however the processes end. A worker
ends when its parent does: at the closed pipe, or, if it hangs in a library, at an alarm.
"""

import contextlib
import math
import os
import pickle
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, reduction
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

from streamer.allocator import keep_freed_memory
from streamer.domain import Decoded
from streamer.grib import regrid
from streamer.grib.wants import Wants

Decode = Callable[[bytes, Wants, str], list[Decoded]]
Prepare = Callable[[Wants], None]

_READY, _DONE, _FAILED = b"r", b"d", b"f"
_ANSWER = struct.Struct("<Q")
#: shared memory above this is given back after use
_KEPT_BYTES = 16 << 20
#: how long after the parent's deadline a hanging orphan ends by itself
_ORPHAN_S = 5
_spawn = get_context("spawn")


class Failed(Exception):
    """The decode function raised; the text is its error's."""


class Shared:
    """A piece of anonymous memory that two processes write and read by position."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = os.memfd_create("downscaled") if descriptor is None else descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, (reduction.DupFd(self.descriptor),)

    def write(self, parts: Sequence[bytes | memoryview]) -> None:
        """Write the parts behind each other, from the start."""
        at = 0
        for part in parts:
            rest = memoryview(part).cast("B")
            while rest:
                written = os.pwrite(self.descriptor, rest, at)
                at, rest = at + written, rest[written:]

    def read(self, start: int, length: int) -> bytearray:
        """Return a copy of `length` bytes from `start`; raises EOFError where there are fewer."""
        found = bytearray(length)
        at, view = 0, memoryview(found)
        while at < length:
            got = os.preadv(self.descriptor, [view[at:]], start + at)
            if not got:
                raise EOFError(f"shared memory ends {length - at} bytes early")
            at += got
        return found

    def shrink(self) -> None:
        """Give a large piece back to the system."""
        if os.fstat(self.descriptor).st_size > _KEPT_BYTES:
            os.ftruncate(self.descriptor, 0)

    def close(self) -> None:
        """Let it go; it is gone when the other process has done so too."""
        os.close(self.descriptor)


def _receive(duplicate: Any) -> Shared:
    return Shared(duplicate.detach())


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker process is started with."""

    decode: Decode
    prepare: Prepare | None
    wants: Wants
    cache: Path | None


class Slot:
    """One worker process and the way to it; ready once it has prepared itself."""

    def __init__(self, task: Task) -> None:
        self._limits = task.wants.limits
        self._input, self._output = Shared(), Shared()
        self.connection, theirs = _spawn.Pipe()
        self.process = _spawn.Process(
            target=_serve,
            args=(theirs, self._input, self._output, task),
            name="downscaled-decoder",
            daemon=True,
        )
        with _no_main():
            self.process.start()
        # Only the child's end stays open, so that its death reads as the end of the pipe.
        theirs.close()
        self.is_ready = False

    def send(self, value: bytes, again: str) -> None:
        """Hand over a record; raises OSError if the process is gone."""
        self._input.write([value])
        self.connection.send_bytes(_ANSWER.pack(len(value)) + again.encode())

    def receive(self) -> list[Decoded] | None:
        """Return the answer that is there; None was the word that the process is ready.

        Raises EOFError or OSError if the process is gone, Failed if its decode function raised.
        """
        answer = self.connection.recv_bytes()
        if answer == _READY:
            self.is_ready = True
            return None
        if answer[:1] == _FAILED:
            raise Failed(answer[1:].decode(errors="replace"))
        sizes = [size for (size,) in _ANSWER.iter_unpack(answer[1:])]
        parts, at = [], 0
        for size in sizes:
            parts.append(self._output.read(at, size))
            at += size
        self._input.shrink()
        self._output.shrink()
        decoded: list[Decoded] = pickle.loads(parts[0], buffers=parts[1:])
        return decoded

    def end(self, patience_s: float = 0.0) -> str:
        """End the process, by force after `patience_s`; say in words how it ended."""
        self.connection.close()
        self.process.join(patience_s)
        killed = self.process.is_alive()
        if killed:
            self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        with contextlib.suppress(ValueError):  # who else waits for children took its status
            self.process.close()
        self._input.close()
        self._output.close()
        if code >= 0:
            return f"exit status {code}"
        return signal.Signals(-code).name


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Let the new process not run the program's main module again, as spawn does otherwise.

    That imported the Kafka client and all commands into each decoder: 0.7 s and 15 MB.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(connection: Connection, given: Shared, answers: Shared, task: Task) -> None:
    """Decode records until the parent closes the pipe; runs in the worker process."""
    keep_freed_memory()
    _settle(task)
    if task.prepare is not None:
        task.prepare(task.wants)
    patience_s = math.ceil(task.wants.limits.worker_timeout_s) + _ORPHAN_S
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send_bytes(_READY)
        while True:
            asked = connection.recv_bytes()
            (length,) = _ANSWER.unpack(asked[: _ANSWER.size])
            # The parent kills a worker that hangs. Should it be gone, the alarm does.
            signal.alarm(patience_s)
            answer = _answer(
                bytes(given.read(0, length)), asked[_ANSWER.size :].decode(), answers, task
            )
            signal.alarm(0)
            connection.send_bytes(answer)


def _answer(value: bytes, again: str, answers: Shared, task: Task) -> bytes:
    try:
        decoded = task.decode(value, task.wants, again)
    except Exception as error:  # noqa: BLE001 - the loop's edge: the parent decides
        return _FAILED + f"{type(error).__name__}: {error}"[:1000].encode()
    arrays: list[pickle.PickleBuffer] = []
    head = pickle.dumps(decoded, protocol=5, buffer_callback=arrays.append)
    parts: list[bytes | memoryview] = [head]
    parts += [memoryview(array) for array in arrays]
    answers.write(parts)
    return _DONE + b"".join(_ANSWER.pack(memoryview(part).nbytes) for part in parts)


def _settle(task: Task) -> None:
    """Make the process quiet, small and deaf to signals that are meant for its parent."""
    # A terminal and systemd signal the whole group; the parent finishes its work and closes us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The libraries write of every bad message and of their caches; Python's own words still pass.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    if task.cache is not None:
        regrid.use_cache(task.cache)
    size = task.wants.limits.worker_memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
