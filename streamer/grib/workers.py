"""Worker processes that decode: one a slot, so that a message that kills one costs itself alone.

`concurrent.futures` breaks its whole pool when one process dies; here the slot gets a new process
and the record's messages are tried again, each alone. The caller's thread owns everything.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from engines.errors import DownscaledError
from streamer.domain import Decoded, Reason, Rejected
from streamer.grib.jobs import Job, Submitted
from streamer.grib.slots import Decode, Failed, Prepare, Slot, Task
from streamer.grib.wants import Wants

#: a process that ends this often before it is ready will not become so
_STARTS = 3
#: importing takes a second, preparing as much; a machine may have better things to do
_START_S = 120.0
_CLOSE_S = 1.0


class WorkersError(DownscaledError):
    """Worker processes do not start."""

    reason: ClassVar[str] = "workers"


@dataclass(slots=True, eq=False)
class _Place:
    """A slot with what it works on, and until when it may."""

    slot: Slot
    deadline: float
    job: Job | None = None
    failed_starts: int = 0


class Workers:
    """Decodes records in `slots` processes; answers carry the ticket that the caller gave.

    decode, prepare: importable functions. prepare runs once in each new process, before it is
    ready. cache: MIR's folder. Limits come with `wants`. Raises WorkersError from any method if
    processes die again and again before they are ready.
    """

    def __init__(
        self,
        decode: Decode,
        wants: Wants,
        slots: int,
        *,
        prepare: Prepare | None = None,
        cache: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._task = Task(decode, prepare, wants, cache)
        self._limits = wants.limits
        self._clock = clock
        self._waiting: deque[Job] = deque()
        self._done: list[tuple[int, list[Decoded]]] = []
        self._pending: dict[int, int] = {}
        self._places: list[_Place] = []
        self._places.extend(self._started() for _ in range(slots))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pending(self) -> int:
        """Records that were submitted and not yet handed back."""
        return len(self._pending)

    @property
    def pending_bytes(self) -> int:
        """Bytes of the records that were submitted and not yet handed back."""
        return sum(self._pending.values())

    @property
    def is_ready(self) -> bool:
        """Whether every process has prepared itself."""
        return all(place.slot.is_ready for place in self._places)

    @property
    def connections(self) -> list[Connection]:
        """What to wait for, with `multiprocessing.connection.wait`, before `finished` has news.

        The list changes when a process is replaced.
        """
        return [place.slot.connection for place in self._places]

    def submit(self, ticket: int, value: bytes, again: str = "") -> None:
        """Queue a record; `finished` hands it back under its ticket, in any order."""
        assert ticket not in self._pending, f"ticket {ticket} is out already"
        self._pending[ticket] = len(value)
        self._waiting.append(Submitted(ticket, value, again).whole())
        self._dispatch()

    def finished(self, timeout_s: float = 0.0) -> list[tuple[int, list[Decoded]]]:
        """Return what is ready, waiting for something at most `timeout_s`."""
        until = self._clock() + timeout_s
        while True:
            self._collect(max(0.0, until - self._clock()))
            if self._done or not self._pending or self._clock() >= until:
                break
        done, self._done = self._done, []
        for ticket, _ in done:
            del self._pending[ticket]
        return done

    def warm(self, timeout_s: float = 60.0) -> bool:
        """Wait until every process is ready, at most `timeout_s`; whether they are."""
        until = self._clock() + timeout_s
        while not self.is_ready and self._clock() < until:
            self._collect(until - self._clock())
        return self.is_ready

    def close(self) -> None:
        """End all processes; what is pending is forgotten."""
        for place in self._places:
            # All pipes first, so that the processes end at the same time.
            place.slot.connection.close()
        for place in self._places:
            place.slot.end(_CLOSE_S if place.job is None else 0.0)
        self._places.clear()
        self._waiting.clear()
        self._pending.clear()

    def _collect(self, timeout_s: float) -> None:
        """Wait for news of the processes, deal with it, and give idle ones work."""
        self._dispatch()
        now = self._clock()
        ends = [p.deadline for p in self._places if p.job is not None or not p.slot.is_ready]
        patience_s = max(0.0, min([timeout_s, *(end - now for end in ends)]))
        ready = set(wait(self.connections, patience_s))
        now = self._clock()
        for place in self._places:
            if place.slot.connection in ready:
                self._hear(place)
            elif now >= place.deadline and (place.job is not None or not place.slot.is_ready):
                self._replace(place, Reason.WORKER_HUNG)
        self._dispatch()

    def _dispatch(self) -> None:
        for place in self._places:
            if not self._waiting:
                return
            if place.job is not None or not place.slot.is_ready:
                continue
            place.job = self._waiting.popleft()
            place.deadline = self._clock() + self._limits.worker_timeout_s
            try:
                place.slot.send(place.job.value, place.job.record.again)
            except OSError:
                # It died idle: the job is not to blame and is the next one's.
                self._waiting.appendleft(place.job)
                place.job = None
                self._replace(place, Reason.WORKER_DIED)

    def _hear(self, place: _Place) -> None:
        try:
            answer = place.slot.receive()
        except Failed as failed:
            job, place.job = place.job, None
            assert job is not None
            self._retry(job, Rejected(Reason.UNDECODABLE, f"decoding failed: {failed}"))
        except (EOFError, OSError):
            self._replace(place, Reason.WORKER_DIED)
        else:
            if answer is None:
                place.failed_starts = 0
                return
            job, place.job = place.job, None
            assert job is not None
            self._answered(job, answer)

    def _replace(self, place: _Place, reason: Reason) -> None:
        """Put a new process into a slot, and decide about what the old one was doing."""
        was_ready, job = place.slot.is_ready, place.job
        died = reason is Reason.WORKER_DIED
        ended = place.slot.end(_CLOSE_S if died else 0.0)
        starts = 0 if was_ready else place.failed_starts + 1
        if starts >= _STARTS:
            self._places.remove(place)
            raise WorkersError(f"decoding processes end before they are ready: {ended}")
        fresh = self._started()
        place.slot, place.deadline = fresh.slot, fresh.deadline
        place.job, place.failed_starts = None, starts
        if job is None:
            return
        limit_s = self._limits.worker_timeout_s
        how = f"died of it ({ended})" if died else f"did not finish it in {limit_s:g} s"
        self._retry(job, Rejected(reason, f"the process that decoded it {how}"))

    def _retry(self, job: Job, rejected: Rejected) -> None:
        """Try a record's messages again, each alone; one that was alone already is refused."""
        further = job.failed(rejected, self._limits)
        self._waiting.extendleft(reversed(further))
        if not further:
            self._answered(job, [rejected])

    def _answered(self, job: Job, answer: list[Decoded]) -> None:
        complete = job.answered(answer)
        if complete is not None:
            self._done.append((job.record.ticket, complete))

    def _started(self) -> _Place:
        return _Place(Slot(self._task), self._clock() + _START_S)
