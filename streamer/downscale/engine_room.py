"""The engine's own thread: steps go in, draws in physical units come out.

The runtimes release the interpreter while they compute, so intake and output go on beside it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from engines.denoiser import Denoiser
from engines.errors import EngineError
from streamer.domain import Array
from streamer.downscale.products import physical
from streamer.downscale.work import Finished, Work
from streamer.downscale.workload import Batch, Workload


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A step that the engine is done with.

    draws: (D, C, H, W) float32 in the bundle's units, or None where `fault` says why.
    calls: denoiser calls that its tiles took. seconds: its share of the time of those calls.
    """

    work: Work
    draws: Array | None
    calls: int
    seconds: float
    fault: str = ""

    @property
    def key(self) -> Hashable:
        """The key that the step was submitted under."""
        return self.work.key


@dataclass(frozen=True, slots=True)
class Counters:
    """What the engine has done so far. tiles: jobs served, so tiles / calls fills a batch."""

    calls: int = 0
    tiles: int = 0
    busy_s: float = 0.0


class EngineRoom:
    """One denoiser, its workload and its thread. All methods may be called from any thread."""

    def __init__(
        self,
        denoiser: Denoiser,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Make the room; `start` opens it.

        wake: called on the engine's thread whenever a result is ready, and at its death.
        """
        self._denoiser = denoiser
        self._wake = wake
        self._clock = clock
        self._workload = Workload()
        self._changed = threading.Condition()
        self._orders: deque[Work | _Cancelled] = deque()
        self._results: deque[Result] = deque()
        self._pending: dict[Hashable, Work] = {}
        self._counters = Counters()
        self._is_closing = False
        self._death: BaseException | None = None
        # A daemon thread, so that a runtime that hangs cannot keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread, once."""
        self._thread.start()

    def submit(self, work: Work) -> None:
        """Queue a step. Raises ValueError when its key is pending already."""
        with self._changed:
            if work.key in self._pending:
                raise ValueError(f"{work.key}: is in the engine room already")
            self._pending[work.key] = work
            self._orders.append(work)
            self._changed.notify()

    def cancel(self, key: Hashable) -> None:
        """Forget a step; its result will not come. An unknown key is no fault."""
        with self._changed:
            if self._pending.pop(key, None) is not None:
                self._orders.append(_Cancelled(key))
                self._changed.notify()

    def finished(self) -> list[Result]:
        """Take the results that are ready, in the order in which they became so."""
        with self._changed:
            ready = [r for r in self._results if self._pending.get(r.key) is r.work]
            self._results.clear()
            for result in ready:
                del self._pending[result.key]
        return ready

    def close(self, timeout_s: float) -> bool:
        """Stop after the running call; return whether the thread ended in time."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def death(self) -> BaseException | None:
        """What the thread died of, None while it lives and after an orderly end."""
        return self._death

    @property
    def pending_steps(self) -> int:
        """Steps submitted whose results were not taken."""
        return len(self._pending)

    @property
    def pending_bytes(self) -> int:
        """What those steps hold, or will: conditions and draws."""
        with self._changed:
            return sum(work.size_bytes for work in self._pending.values())

    @property
    def device(self) -> str:
        """Where the denoiser runs."""
        return self._denoiser.spec.device

    @property
    def batch(self) -> int:
        """How many tiles a full call takes."""
        return self._denoiser.spec.batch

    @property
    def counters(self) -> Counters:
        """Calls, tiles and busy seconds since the start."""
        return self._counters

    def _run(self) -> None:
        try:
            while self._take_orders():
                batch = self._workload.next_batch(self._denoiser.spec.batch)
                if batch is not None:
                    self._serve(batch)
                for finished in self._workload.finished():
                    self._report(finished)
        except BaseException as error:  # noqa: BLE001 - the edge of a thread: told by `death`
            self._death = error
        self._wake()

    def _take_orders(self) -> bool:
        """Take what was submitted and cancelled, waiting while idle; False when closing."""
        with self._changed:
            while not (self._orders or len(self._workload) or self._is_closing):
                self._changed.wait()
            orders, self._orders = self._orders, deque()
            is_open = not self._is_closing
        for order in orders:
            if isinstance(order, _Cancelled):
                self._workload.cancel(order.key)
            else:
                self._workload.add(order)
        return is_open

    def _serve(self, batch: Batch) -> None:
        """Answer a batch by one call; a call that fails takes at most the jobs at fault along."""
        bucket = self._denoiser.spec.batch
        try:
            inputs = batch.inputs(bucket)
            began = self._clock()
            denoised = self._denoiser.denoise(*inputs)
            seconds = self._clock() - began
        except (EngineError, MemoryError) as error:
            self._workload.fail(batch, str(error) or type(error).__name__)
            return
        self._workload.store(batch, denoised, seconds)
        done = self._counters
        self._counters = Counters(
            done.calls + 1, done.tiles + len(batch.jobs), done.busy_s + seconds
        )

    def _report(self, finished: Finished) -> None:
        work, draws = finished.work, None
        if finished.residual is not None:
            draws = physical(finished.residual, work.condition, work.recipe.bundle)
        result = Result(work, draws, finished.calls, finished.seconds, finished.fault)
        with self._changed:
            self._results.append(result)
        self._wake()


@dataclass(frozen=True, slots=True)
class _Cancelled:
    key: Hashable
