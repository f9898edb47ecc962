"""The sink's loop: polls fields, finds their steps' records, writes files, then commits.

An offset is committed only after the files of its step are durable, and files are the same
however often they are written. So the process may die at any line: what was not committed is
read and written again.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitoring.metrics import SinkMetrics
from monitoring.probes import Status
from streamer.bus.record import (
    Assignment,
    Bus,
    BusError,
    Commit,
    Fenced,
    Partition,
    Polled,
    Replaced,
    Uncertain,
)
from streamer.outlets.outlet import Outlet
from streamer.sink.announced import Announced
from streamer.sink.gathering import Gathering
from streamer.sink.writing import write_step

log = logging.getLogger(__name__)

_IDLE_S = 0.2
#: A commit costs the broker more than it saves us: files are written again, that is all.
_COMMIT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class SinkParts:
    """What the sink turns; made by a composition root.

    now: seconds since 1970. steps_topic: where the fields' steps are announced.
    from_end: begin at the end of a partition that was never committed.
    """

    bus: Bus
    outlets: Sequence[Outlet]
    metrics: SinkMetrics
    status: Status
    steps_topic: str
    waiting_bytes: int
    from_end: bool = False
    commit_every_s: float = _COMMIT_EVERY_S
    idle_s: float = _IDLE_S
    now: Callable[[], float] = time.time


class Sink:
    """One member of a group of sinks. `run` returns when told to stop, raises when it must end."""

    def __init__(self, parts: SinkParts) -> None:
        self._parts = parts
        self.metrics = parts.metrics
        self._bus, self._status = parts.bus, parts.status
        self._announced = Announced(lambda since: self._bus.history(parts.steps_topic, since))
        self._held: dict[Partition, Gathering] = {}
        self._committed: dict[Partition, int] = {}
        self._committed_at = 0.0
        self._read_alone: Partition | None = None
        self._status.waits_for("partitions to be assigned")

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Turn until told to stop; what is written is committed, what is not is read again."""
        while not should_stop():
            self.turn()
        self._status.waits_for("the sink to stop")
        self.commit()
        log.info("stopped")

    def turn(self) -> None:
        """Read what is there, write every step that is whole, and commit now and then.

        What the broker does not answer is asked again on the next turn: nothing is lost by it.
        """
        self._status.progressed()
        try:
            polled = self._bus.poll(self._parts.idle_s)
            self._take(polled)
            if self.waiting_bytes:
                self._find_records()
                self._write_all()
            self._watch()
            if self._is_due or not polled.records:
                self.commit()
        except (Replaced, Uncertain):
            raise
        except BusError as error:
            log.warning("trying again: %s", error)

    @property
    def frontiers(self) -> dict[Partition, int]:
        """By partition, the offset up to which all is written."""
        return {p: held.frontier(self._bus.position(p)) for p, held in self._held.items()}

    @property
    def waiting_bytes(self) -> int:
        """What the fields of steps that are not whole take."""
        return sum(held.size_bytes for held in self._held.values())

    def commit(self) -> None:
        """Commit how far the files follow the topic; a rebalance meanwhile is no harm."""
        moved = {p: o for p, o in self.frontiers.items() if o != self._committed.get(p)}
        self._committed_at = time.monotonic()
        if not moved:
            return
        commits = {partition: Commit(offset) for partition, offset in moved.items()}
        try:
            self._bus.publish([], commits, self._bus.membership())
        except Replaced:
            raise
        except Fenced as error:
            log.warning("the offsets are somebody else's by now: %s", error)
        else:
            self._committed.update(moved)
            self._measure_lag()

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Commit what is written, then forget."""
        try:
            self.commit()
        except BusError as error:
            log.warning("not committed before leaving, so it is written twice: %s", error)
        self.lost(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Forget partitions that are somebody else's by now."""
        for partition in partitions:
            self._held.pop(partition, None)
            self._committed.pop(partition, None)
            self.metrics.lag.remove_by_labels({"partition": str(partition.number)})
        self._read_alone = None
        log.info("gave up partitions %s", ", ".join(str(p.number) for p in partitions))

    @property
    def _is_due(self) -> bool:
        return time.monotonic() - self._committed_at >= self._parts.commit_every_s

    def _take(self, polled: Polled) -> None:
        for assignment in polled.assigned:
            self._start(assignment)
        if polled.is_dealt:
            self._status.is_served()
        for partition, wanted in polled.out_of_range:
            self._skip_lost(partition, wanted)
        for record in polled.records:
            if record.partition in self._held:
                self._held[record.partition].add(record)

    def _start(self, assignment: Assignment) -> None:
        partition, committed = assignment.partition, assignment.committed
        if committed is not None:
            offset = committed.next_offset
            self._committed[partition] = offset
        elif self._parts.from_end:
            offset = self._bus.end_offset(partition)
        else:
            offset = self._bus.beginning_offset(partition)
        self._held[partition] = Gathering()
        self._bus.start(partition, offset)
        log.info("reading %s %d from %d", partition.topic, partition.number, offset)

    def _skip_lost(self, partition: Partition, wanted: int) -> None:
        """Go on behind records that retention took before they were files; loudly."""
        first = self._bus.beginning_offset(partition)
        log.error(
            "%s %d: wanted offset %d, the topic holds %d to %d: steps were deleted before they "
            "were written; going on from %d",
            partition.topic, partition.number, wanted, first, self._bus.end_offset(partition),
            first,
        )  # fmt: skip
        self._held[partition] = Gathering()
        self._bus.start(partition, first)

    def _find_records(self) -> None:
        """Match fields and records; what is announced nowhere is given up."""
        self._claim()
        for _ in self._announced.look_up(self._unclaimed):
            self._status.progressed()
            self._claim()
        for partition, held in self._held.items():
            for key in held.give_up_unclaimed():
                self.metrics.steps.labels(outcome="unannounced").inc()
                log.error(
                    "%s %d: fields of %s are announced by no record of %s; nothing is written",
                    partition.topic, partition.number, key.decode(errors="replace"),
                    self._parts.steps_topic,
                )  # fmt: skip

    def _unclaimed(self) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        for held in self._held.values():
            found.update(held.unclaimed)
        return found

    def _claim(self) -> None:
        for partition, held in self._held.items():
            found = [record for key in held.unclaimed for record in self._announced.of(key)]
            end = self._bus.end_offset(partition) if found else 0
            for record in found:
                held.claim(record, end)

    def _write_all(self) -> None:
        for partition, held in self._held.items():
            while (ready := held.ready()) is not None:
                write_step(ready, self._parts.outlets, self.metrics, self._status, self._parts.now)
                held.done(ready.record)
                if self._is_due:
                    # Not once a lot: who dies in every lot would never get on.
                    self.commit()
            for record in held.give_up_torn(self._bus.position(partition)):
                self.metrics.steps.labels(outcome="torn").inc()
                log.error(
                    "%s: some of its fields were deleted from %s before they were read; nothing "
                    "is written", record.key.text, partition.topic,
                )  # fmt: skip

    def _watch(self) -> None:
        """Read one partition alone while too much waits."""
        waiting = self.waiting_bytes
        self.metrics.waiting_bytes.set(waiting)
        if self._read_alone is not None and waiting <= self._parts.waiting_bytes:
            self._bus.resume([p for p in self._held if p != self._read_alone])
            self._read_alone = None
        if waiting > self._parts.waiting_bytes:
            # The fullest is the nearest to a step that is whole.
            fullest = max(self._held, key=lambda p: self._held[p].size_bytes)
            self._bus.pause([p for p in self._held if p != fullest])
            self._bus.resume([fullest])
            self._read_alone = fullest

    def _measure_lag(self) -> None:
        for partition in self._held:
            behind = self._bus.end_offset(partition) - self._bus.position(partition)
            self.metrics.lag.labels(partition=partition.number).set(max(0, behind))
