"""Receives records: decodes them beside the loop, assembles steps, keeps the ledgers."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import wait

from monitoring.metrics import Metrics
from streamer.bus.record import Commit, Outgoing, Partition, Record
from streamer.dead_letters import bury
from streamer.domain import Decoded, Field, Origin, Rejected, Step, StepKey, Unwanted
from streamer.grib.workers import Workers
from streamer.headers import find_again, find_traceparent
from streamer.intake.assembly import Assembler
from streamer.intake.clock import RecordClock
from streamer.intake.events import Added, Completed, DuplicateField, Ending, Kept
from streamer.intake.ledger import METADATA_BYTES, Ledger
from streamer.intake.order import InOrder
from streamer.intake.runs import names_step

log = logging.getLogger(__name__)

#: How a repeated field is counted, by whether its bytes are the first one's; None: long gone.
_DUPLICATES = {True: "duplicate", False: "differing_duplicate", None: "late"}


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Where dead letters go, and how large one may be there."""

    topic: str
    limit_bytes: int


@dataclass(slots=True)
class Tenure:
    """A partition for as long as it is ours. epoch: tells this tenure from an earlier one.

    records: by offset, those that are being decoded. arrived: of offsets that are still needed,
    the record's time in milliseconds. refused: by step, messages that were refused because of it.
    """

    partition: Partition
    epoch: int
    ledger: Ledger[Outgoing]
    clock: RecordClock = field(default_factory=RecordClock)
    order: InOrder[list[Decoded] | None] = field(default_factory=InOrder)  #: None: skipped
    records: dict[int, Record] = field(default_factory=dict)
    arrived: dict[int, int] = field(default_factory=dict)
    traceparents: dict[int, bytes] = field(default_factory=dict)
    refused: dict[StepKey, tuple[Origin, ...]] = field(default_factory=dict)

    def traceparent(self, origins: Iterable[Origin]) -> bytes | None:
        """Return the first trace context that came with one of these records."""
        known = (self.traceparents.get(origin.offset) for origin in origins)
        return next((trace for trace in known if trace), None)

    def let_go(self, origins: Iterable[Origin], refused: Iterable[Origin]) -> None:
        """Release what a step held, and send the letters of what was refused because of it."""
        for origin in refused:
            self.ledger.send_dead_letter(origin.offset, origin.message)
        for origin in origins:
            self.release(origin.offset)

    def release(self, offset: int) -> None:
        """Let go of one hold on an offset, and of what is known of it with the last."""
        if self.ledger.release(offset):
            self.arrived.pop(offset, None)
            self.traceparents.pop(offset, None)


class Reception:
    """All that happens to records between the bus and the engine; belongs to the loop's thread."""

    def __init__(
        self,
        workers: Workers,
        assembler: Assembler,
        dead_letters: DeadLetters,
        metrics: Metrics,
        now: Callable[[], datetime],
        metadata_bytes: int = METADATA_BYTES,
    ) -> None:
        self._workers = workers
        self._assembler = assembler
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._now = now
        self._metadata_bytes = metadata_bytes
        #: whose record it is, its offset, and when it was handed to the workers
        self._tickets: dict[int, tuple[Tenure, int, float]] = {}
        self._next_ticket = 0
        self._epoch = 0
        self.tenures: dict[Partition, Tenure] = {}

    @property
    def decoding(self) -> int:
        """How many records are in the workers."""
        return len(self._tickets)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of records that wait to be decoded."""
        return self._workers.pending_bytes

    def tenure_of(self, number: int) -> Tenure:
        """Return our tenure of the input topic's partition of this number."""
        return next(t for p, t in self.tenures.items() if p.number == number)

    def begin(self, partition: Partition, commit: Commit) -> Tenure:
        """Take a partition over at what was committed; MetadataError if that is unreadable."""
        self._epoch += 1
        ledger: Ledger[Outgoing] = Ledger(commit.next_offset, commit.metadata, self._metadata_bytes)
        tenure = self.tenures[partition] = Tenure(partition, self._epoch, ledger)
        return tenure

    def end(self, partition: Partition) -> None:
        """Forget a partition that is no longer ours; what is under way for it is thrown away."""
        if self.tenures.pop(partition, None) is not None:
            self._assembler.abandon(partition.number)
            self._metrics.forget_partition(partition.number)

    def receive(self, record: Record) -> None:
        """Open a record in its ledger and hand it to a worker, unless it was closed before."""
        tenure = self.tenures.get(record.partition)
        if tenure is None:
            return
        tenure.order.expect(record.offset)
        tenure.records[record.offset] = record
        if not tenure.ledger.open(record.offset):
            # No step can become complete here: skipped records only move the clock, in turn.
            self._let_through(tenure, record.offset, None)
            self._metrics.records.labels(outcome="skipped").inc()
            return
        tenure.arrived[record.offset] = record.timestamp_ms
        traceparent = find_traceparent([record.headers])
        if traceparent is not None:
            tenure.traceparents[record.offset] = traceparent
        self._next_ticket += 1
        self._tickets[self._next_ticket] = (tenure, record.offset, time.monotonic())
        self._workers.submit(self._next_ticket, record.value, find_again(record.headers))

    def collect(self, timeout_s: float = 0.0) -> list[Step]:
        """Take what the workers have decoded, and return the steps that became complete."""
        steps: list[Step] = []
        for ticket, messages in self._workers.finished(timeout_s):
            tenure, offset, since = self._tickets.pop(ticket)
            self._metrics.stage.labels(stage="decode").observe(time.monotonic() - since)
            if self.tenures.get(tenure.partition) is tenure:
                steps += self._let_through(tenure, offset, messages)
        return steps

    def wait(self, timeout_s: float) -> None:
        """Wait until a worker has something to tell, at most so long."""
        wait(self._workers.connections, timeout_s)

    def expire(self, tenure: Tenure, *, is_at_end: bool) -> list[Ending]:
        """End what has waited too long at the partition's record time.

        is_at_end: the partition is read to its end; once all is decoded its clock is wall time.
        """
        if is_at_end and not tenure.order.pending:
            tenure.clock.reach_end()
        return self._assembler.expire(tenure.partition.number, tenure.clock.time(self._now()))

    def _let_through(
        self, tenure: Tenure, offset: int, messages: list[Decoded] | None
    ) -> list[Step]:
        """Assemble a record and those that waited for it, in the order of the partition."""
        steps: list[Step] = []
        for earlier, found in tenure.order.arrive(offset, messages):
            record = tenure.records.pop(earlier)
            if found is None:
                tenure.clock.see(_time(record), self._now())
            else:
                steps += self._assemble(tenure, record, found)
        return steps

    def _assemble(
        self, tenure: Tenure, record: Record, messages: Sequence[Decoded]
    ) -> Iterator[Step]:
        now = self._now()
        record_time = tenure.clock.see(_time(record), now)
        is_spread = names_step(record.key)
        for index, found in enumerate(messages):
            origin = Origin(record.partition.topic, record.partition.number, record.offset, index)
            added: Added
            lent: Kept | Completed | None = None
            if isinstance(found, Field):
                added = self._assembler.add(
                    found, origin, record_time, now, is_run_spread=is_spread
                )
                lent = self._assembler.lend(found, origin, record_time, now)
            else:
                added = found
            self._settle(tenure, record, origin, added, is_lent=lent is not None)
            for taken in (added, lent):
                if isinstance(taken, Completed):
                    if taken.rejected:
                        tenure.refused[taken.step.key] = taken.rejected
                    yield taken.step
        tenure.release(record.offset)

    def _settle(
        self, tenure: Tenure, record: Record, origin: Origin, added: Added, *, is_lent: bool
    ) -> None:
        """Hold the offset for a field that is kept, bury what is refused, and count.

        is_lent: whether the step after the field's own keeps it, too.
        """
        if is_lent:
            tenure.ledger.retain(origin.offset)
        match added:
            case Kept(let_go=let_go) | Completed(let_go=let_go):
                tenure.ledger.retain(origin.offset)
                for needless in let_go:
                    self.tenure_of(needless.partition).release(needless.offset)
                outcome = "used"
            case DuplicateField() | Unwanted() if is_lent:
                outcome = "used"
            case DuplicateField(same_bytes=same_bytes):
                outcome = _DUPLICATES[same_bytes]
            case Unwanted():
                outcome = "unwanted"
            case Rejected():
                outcome = added.reason.value
                log.warning(
                    "rejected message %d of offset %d, partition %d: %s: %s",
                    origin.message, origin.offset, origin.partition, added.reason, added.text,
                )  # fmt: skip
                letter = bury(
                    record, origin.message, added,
                    self._dead_letters.topic, self._dead_letters.limit_bytes,
                )  # fmt: skip
                tenure.ledger.add_dead_letter(origin.offset, letter, origin.message)
        self._metrics.records.labels(outcome=outcome).inc()


def _time(record: Record) -> datetime | None:
    if record.timestamp_ms < 0:
        return None
    return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
