"""The engines' own threads: steps go in, draws in physical units come out.

One thread an engine, one queue for all; whoever is free takes what is most urgent. The runtimes
release the interpreter while they compute, so intake and output go on beside them.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from engines.denoiser import Denoiser, Sampling
from engines.errors import EngineError, OutOfMemory
from streamer.domain import Array
from streamer.downscale.engine import Counters, Engine, Sizes
from streamer.downscale.paths import Batch
from streamer.downscale.products import physical
from streamer.downscale.work import Finished, Work
from streamer.downscale.workload import Whole, Workload

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A step that the engines are done with.

    draws: (D, C, H, W) float32 in the bundle's units, or None where `fault` says why and where
    the work's `on_draw` has taken all of them. calls: denoiser calls that its tiles took.
    seconds: its share of the time of those calls.
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
class Gauge:
    """One engine as its meters show it. batch: the most tiles in a call, as things are now."""

    device: str
    batch: int
    is_alive: bool
    counters: Counters


class EngineRoom:
    """The engines of one model and their workload. All methods may be called from any thread."""

    def __init__(
        self,
        denoisers: Sequence[Denoiser],
        wake: Callable[[], None] = lambda: None,
        *,
        reproducible: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Make the room; `start` opens it. Raises UsageError for engines that do not fit together.

        wake: called on an engine's thread whenever a result is ready, and at its death.
        reproducible: a tile's bytes depend neither on its company nor on the engine.
        """
        self._wake = wake
        self._reproducible = reproducible
        sizes = Sizes(denoisers, reproducible=reproducible)
        self._engines = [Engine(i, d, sizes, clock) for i, d in enumerate(denoisers)]
        self._workload = Workload(_whole(denoisers, reproducible=reproducible))
        self._changed = threading.Condition()
        self._results: deque[Result] = deque()
        self._pending: dict[Hashable, Work] = {}
        self._is_closing = False
        self._death: BaseException | None = None
        # Daemon threads, so that a runtime that hangs cannot keep the process from ending.
        self._threads = [
            threading.Thread(target=self._run, args=(e,), name=f"engine-{e.number}", daemon=True)
            for e in self._engines
        ]

    def start(self) -> None:
        """Start the threads, once."""
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work) -> None:
        """Queue a step. Raises ValueError when its key is pending already."""
        with self._changed:
            if work.key in self._pending:
                raise ValueError(f"{work.key}: is in the engine room already")
            self._pending[work.key] = work
            self._workload.add(work)
            self._changed.notify_all()

    def cancel(self, key: Hashable) -> None:
        """Forget a step; its result will not come. An unknown key is no fault."""
        with self._changed:
            if self._pending.pop(key, None) is not None:
                self._workload.cancel(key)

    def finished(self) -> list[Result]:
        """Take the results that are ready, in the order in which they became so."""
        with self._changed:
            ready = [r for r in self._results if self._pending.get(r.key) is r.work]
            self._results.clear()
            for result in ready:
                del self._pending[result.key]
        return ready

    def close(self, timeout_s: float) -> bool:
        """Stop after the running calls; return whether all threads ended in time."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return not self.alive

    @property
    def alive(self) -> bool:
        """Whether any engine runs."""
        return any(thread.is_alive() for thread in self._threads)

    @property
    def death(self) -> BaseException | None:
        """What ended the work: the last engine's death, or a fault outside the engines."""
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
    def gauges(self) -> tuple[Gauge, ...]:
        """Each engine as it is now."""
        return tuple(
            Gauge(e.device, e.batching.limit, e.death is None, e.counters) for e in self._engines
        )

    @property
    def counters(self) -> Counters:
        """What all engines together have done since the start."""
        return sum((engine.counters for engine in self._engines), Counters())

    def _run(self, engine: Engine) -> None:
        try:
            while self._wait_for_jobs():
                batching = engine.batching
                batch = self._workload.next_batch(batching.limit)
                if batch is None:
                    continue
                if not self._serve(engine, batch, batching.bucket(len(batch.jobs))):
                    break
                with self._changed:
                    self._changed.notify_all()
                for finished in self._workload.finished():
                    self._report(finished)
        except BaseException as error:  # noqa: BLE001 - the edge of a thread: told by `death`
            engine.death = error
            # What this thread held is lost, so no other may go on as if nothing had happened.
            self._end(error)
        self._wake()

    def _wait_for_jobs(self) -> bool:
        """Wait while there is nothing that this thread could take; False when closing."""
        with self._changed:
            while not (self._is_closing or self._workload.has_jobs):
                self._changed.wait()
            return not self._is_closing

    def _serve(self, engine: Engine, batch: Batch, size: int) -> bool:
        """Answer a batch by a call of `size`, or find out what is wrong; False at its death."""
        try:
            answers, seconds = engine.answer(batch, size)
        except (OutOfMemory, MemoryError) as error:
            if engine.ran_short(size):
                self._workload.put_back(batch)
                self._tell_shortage(engine, size)
                return True
            return self._blame(engine, batch, error)
        except Exception as error:  # noqa: BLE001 - a job's fault or the engine's, to be found out
            return self._blame(engine, batch, error)
        self._workload.store(batch, answers, seconds)
        return True

    def _blame(self, engine: Engine, batch: Batch, error: Exception) -> bool:
        """Find out whose fault a failed call was; False when it is the engine's.

        Jobs that failed together are tried alone; where a lone job failed, the engine must show
        that it can still compute. The jobs of one that cannot go back to the others.
        """
        fault = str(error) or type(error).__name__
        if len(batch.jobs) > 1 or engine.is_sound(batch):
            if len(batch.jobs) == 1 and not isinstance(error, EngineError | MemoryError):
                log.error("a fault of ours, or the runtime's", exc_info=error)
            self._workload.fail(batch, fault)
            return True
        engine.death = error
        self._workload.put_back(batch)
        left = sum(other.death is None for other in self._engines)
        log.error(
            "the engine on %s is out of order: %s; %s", engine.device, fault,
            f"{left} of {len(self._engines)} go on" if left else "none is left",
        )  # fmt: skip
        if not left:
            self._end(error)
        with self._changed:
            self._changed.notify_all()
        return False

    def _tell_shortage(self, engine: Engine, size: int) -> None:
        """Say once what a lack of memory changes, and what an operator may do about it."""
        limit = engine.batching.limit
        meaning = (
            "the last bits of fields may differ from those made before, and from other "
            f"instances; engine.batch: {limit} everywhere makes them alike again"
            if self._reproducible
            else "calls take fewer tiles"
        )
        log.warning(
            "%s ran out of memory with %d tiles; until the end of this process it gets at most "
            "%d in a call: %s", engine.device, size, limit, meaning,
        )  # fmt: skip

    def _end(self, error: BaseException) -> None:
        with self._changed:
            self._death = self._death or error
            self._is_closing = True
            self._changed.notify_all()

    def _report(self, finished: Finished) -> None:
        work, draws = finished.work, None
        if finished.residual is not None:
            draws = physical(finished.residual, work.condition, work.recipe.bundle)
        result = Result(work, draws, finished.calls, finished.seconds, finished.fault)
        with self._changed:
            self._results.append(result)
        self._wake()


def _whole(denoisers: Sequence[Denoiser], *, reproducible: bool) -> Whole:
    """Decide which tiles are carried their whole way on the device, if the engines can do that."""
    if not all(isinstance(denoiser, Sampling) for denoiser in denoisers):
        return "never"
    return "always" if reproducible else "full"
