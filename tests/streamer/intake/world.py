"""A small world to kill daemons in: a log, a broker with transactions, and a daemon's bookkeeping.

The broker commits a transaction whole or not at all, as Kafka does. The daemon is what a service
does with the state machines of `streamer.intake`, without arrays, threads and I/O: it may be
thrown away at any point, and a new one knows only what was committed.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from streamer.domain import (
    Field,
    Interval,
    Origin,
    Reason,
    Rejected,
    RunKey,
    Step,
    StepKey,
    Unwanted,
)
from streamer.intake.assembly import Assembler
from streamer.intake.clock import RecordClock
from streamer.intake.events import (
    Added,
    Completed,
    DuplicateField,
    EndedRun,
    EndedStep,
    Ending,
    ExpiredStep,
    Kept,
    LetGo,
    Outcome,
    RunEnded,
)
from streamer.intake.ledger import METADATA_BYTES, Ledger, Prepared
from streamer.intake.order import InOrder
from streamer.intake.settings import AssemblySettings

START = datetime(2018, 10, 8, tzinfo=UTC)
PARAMETERS = ("10u", "10v")
#: The same with an accumulation, which does not exist at step 0.
RAINY = (*PARAMETERS, "tp")
ACCUMULATED = {"tp": 1}
SOURCE, MEMBERS = "gfs", (0, 1, 2)
EXPIRE_AFTER = timedelta(hours=3)
NOTHING = np.zeros((1, 1), np.float32)

Message = Field | Rejected | Unwanted


def make_field(
    key: StepKey, parameter: str, *, digest: bytes = b"first", grid: str = "1x1"
) -> Field:
    return Field(key, parameter, grid, NOTHING, NOTHING, b"GRIB", digest)


def make_rain(key: StepKey, since: int, *, digest: bytes = b"first", grid: str = "1x1") -> Field:
    """What fell up to a step since some minutes of lead time."""
    interval = Interval(since, key.minutes)
    return replace(make_field(key, "tp", digest=digest, grid=grid), interval=interval)


def make_run(member: int = 0, hour: int = 0) -> RunKey:
    return RunKey("kwbc", SOURCE, "-", START + timedelta(hours=hour), member)


@dataclass(frozen=True, slots=True)
class LogRecord:
    offset: int
    time: datetime
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class StepWritten:
    """A step's record. fields: digests by parameter; still_open: as its header lists them."""

    key: StepKey
    outcome: Outcome
    partition: int
    origins: tuple[Origin, ...]
    digests: tuple[tuple[str, bytes], ...]
    newest: datetime
    still_open: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class LetterWritten:
    origin: Origin
    reason: Reason


Written = StepWritten | RunEnded | LetterWritten


@dataclass(slots=True)
class World:
    """What survives every crash. limit_bytes: of the metadata that goes with an offset."""

    logs: dict[int, list[LogRecord]]
    now: datetime
    limit_bytes: int = METADATA_BYTES
    committed: dict[int, tuple[int, str]] = field(default_factory=dict)
    written: list[Written] = field(default_factory=list)

    def next_offset(self, partition: int, position: int) -> int:
        """Pass transaction markers by, as a consumer's position does."""
        later = [r.offset for r in self.logs[partition] if r.offset >= position]
        return later[0] if later else self.end(partition)

    def end(self, partition: int) -> int:
        log = self.logs[partition]
        return log[-1].offset + 1 if log else 0

    def commit(
        self, partition: int, prepared: Prepared[LetterWritten], records: list[Written]
    ) -> None:
        assert len(prepared.metadata.encode()) <= self.limit_bytes
        self.written += [*records, *prepared.dead_letters]
        self.committed[partition] = (prepared.next_offset, prepared.metadata)

    def steps(self) -> list[StepWritten]:
        return [record for record in self.written if isinstance(record, StepWritten)]

    def letters(self) -> list[LetterWritten]:
        return [record for record in self.written if isinstance(record, LetterWritten)]

    def runs(self) -> list[RunEnded]:
        return [record for record in self.written if isinstance(record, RunEnded)]


@dataclass(slots=True)
class Holding:
    """A partition while a daemon holds it. due: records that the next transaction carries."""

    ledger: Ledger[LetterWritten]
    position: int
    clock: RecordClock = field(default_factory=RecordClock)
    order: InOrder[LogRecord] = field(default_factory=InOrder)
    decoding: list[LogRecord] = field(default_factory=list)
    due: list[Written] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Transaction:
    partition: int
    prepared: Prepared[LetterWritten]
    records: list[Written]


class Daemon:
    """One life of a daemon: everything in it is lost when it dies."""

    def __init__(
        self,
        world: World,
        chance: random.Random,
        expected: Callable[[RunKey], tuple[int, ...]],
        *,
        is_rainy: bool = False,
        is_pooled: bool = False,
    ) -> None:
        self.world = world
        self.chance = chance
        self.assembler = Assembler(
            AssemblySettings(
                RAINY if is_rainy else PARAMETERS,
                expected,
                EXPIRE_AFTER.total_seconds(),
                accumulated=ACCUMULATED if is_rainy else {},
                pools={SOURCE: MEMBERS} if is_pooled else {},
            )
        )
        self.holdings: dict[int, Holding] = {}
        self.engine: list[tuple[Step, tuple[Origin, ...]]] = []
        self.queue: deque[Transaction] = deque()

    def assign(self, partitions: list[int]) -> None:
        steps = [
            EndedStep(s.key, s.outcome, s.partition, s.newest, s.still_open)
            for s in self.world.steps()
        ]
        runs = [EndedRun(r.key, r.partition, r.newest_record_time) for r in self.world.runs()]
        self.chance.shuffle(runs)
        self.assembler.restore(steps, runs, partitions)
        for partition in partitions:
            offset, metadata = self.world.committed.get(partition, (0, ""))
            ledger: Ledger[LetterWritten] = Ledger(offset, metadata, self.world.limit_bytes)
            self.holdings[partition] = Holding(ledger, self.world.next_offset(partition, offset))

    def revoke(self, partition: int) -> None:
        """Lose a partition; work under way for it is thrown away, as another epoch's is."""
        del self.holdings[partition]
        self.assembler.abandon(partition)
        self.engine = [work for work in self.engine if work[0].origins[0].partition != partition]
        self.queue = deque(t for t in self.queue if t.partition != partition)

    def act(self) -> None:
        """Do one thing, by chance."""
        if not self.holdings:
            return
        partition = self.chance.choice(sorted(self.holdings))
        do = self.chance.choice(
            [self.poll, self.poll, self.decode, self.decode, self.infer, self.publish, self.tick]
        )
        do(partition)

    def poll(self, partition: int) -> None:
        holding = self.holdings[partition]
        log = self.world.logs[partition]
        fresh = [r for r in log if r.offset >= holding.position][: self.chance.randint(1, 4)]
        for record in fresh:
            holding.position = self.world.next_offset(partition, record.offset + 1)
            holding.order.expect(record.offset)
            if holding.ledger.open(record.offset):
                holding.decoding.append(record)
            else:
                self._let_through(partition, replace(record, messages=()))

    def decode(self, partition: int) -> None:
        """Finish one of the records under way, not always the first."""
        decoding = self.holdings[partition].decoding
        if decoding:
            self._let_through(partition, decoding.pop(self.chance.randrange(len(decoding))))

    def _let_through(self, partition: int, record: LogRecord) -> None:
        holding = self.holdings[partition]
        for _, ready in holding.order.arrive(record.offset, record):
            time = holding.clock.see(ready.time, self.world.now)
            if ready.messages:
                self._take(partition, ready, time)
        self._make_room(partition)

    def _take(self, partition: int, record: LogRecord, time: datetime) -> None:
        holding = self.holdings[partition]
        for index, message in enumerate(record.messages):
            origin = Origin("in", partition, record.offset, index)
            if not isinstance(message, Field):
                self._settle(holding, origin, message)
                continue
            now = self.world.now
            self._settle(holding, origin, self.assembler.add(message, origin, time, now))
            lent = self.assembler.lend(message, origin, time, now)
            if lent is not None:
                self._settle(holding, origin, lent)
        holding.ledger.release(record.offset)

    def _settle(self, holding: Holding, origin: Origin, added: Added) -> None:
        """Hold an offset for each step that keeps a message."""
        match added:
            case Kept(let_go=let_go):
                holding.ledger.retain(origin.offset)
            case Completed(step=step, rejected=rejected, let_go=let_go):
                holding.ledger.retain(origin.offset)
                self.engine.append((step, rejected))
            case Rejected(reason=reason):
                letter = LetterWritten(origin, reason)
                holding.ledger.add_dead_letter(origin.offset, letter, origin.message)
                return
            case DuplicateField() | Unwanted():
                return
        for needless in let_go:
            self.holdings[needless.partition].ledger.release(needless.offset)

    def _make_room(self, partition: int) -> None:
        """Expire the oldest step while the closed set would not fit; wait for those in flight."""
        holding = self.holdings[partition]
        while not holding.ledger.fits(holding.position):
            endings = self.assembler.expire_oldest(partition)
            if not endings:
                return
            self._note(partition, endings)

    def infer(self, partition: int) -> None:
        """Finish one step of the engine, and prepare its transaction."""
        if not self.engine:
            return
        step, rejected = self.engine.pop(self.chance.randrange(len(self.engine)))
        number = step.origins[0].partition
        self._send_letters(rejected)
        holding = self.holdings[number]
        run = self.assembler.end(step.key, Outcome.COMPLETE)
        for origin in step.origins:
            holding.ledger.release(origin.offset)
        digests = tuple((f.parameter, f.digest) for f in (*step.fields, *step.before))
        holding.due.append(
            StepWritten(
                step.key,
                Outcome.COMPLETE,
                number,
                step.origins,
                digests,
                step.newest_record_time,
            )
        )
        holding.due += [run] if run else []
        self._make_room(number)
        # An expiry told before must not overtake: the step may have come back, and be complete.
        for other in [p for p, h in self.holdings.items() if h.due and p != number]:
            self._prepare(other)
        self._prepare(number)

    def tick(self, partition: int) -> None:
        """Expire what is due, and commit what is left over in a transaction of its own."""
        holding = self.holdings[partition]
        if not holding.order.pending and holding.position >= self.world.end(partition):
            holding.clock.reach_end()
        at = holding.clock.time(self.world.now)
        self._note(partition, self.assembler.expire(partition, at))
        if holding.due or not holding.ledger.is_settled:
            self._prepare(partition)

    def publish(self, partition: int) -> None:
        """Commit the oldest prepared transaction."""
        if self.queue:
            transaction = self.queue.popleft()
            self.world.commit(transaction.partition, transaction.prepared, transaction.records)

    def _note(self, partition: int, endings: list[Ending]) -> None:
        holding = self.holdings[partition]
        for ending in endings:
            if isinstance(ending, RunEnded):
                holding.due.append(ending)
                continue
            if isinstance(ending, LetGo):
                for origin in ending.origins:
                    holding.ledger.release(origin.offset)
                continue
            self._send_letters(ending.rejected)
            for origin in ending.origins:
                holding.ledger.release(origin.offset)
            holding.due.append(self._expired(ending))

    def _expired(self, ending: ExpiredStep) -> StepWritten:
        still_open = frozenset(
            (origin.partition, origin.offset)
            for origin in ending.seen
            if origin.partition in self.holdings
            and not self.holdings[origin.partition].ledger.is_closed(origin.offset)
        )
        return StepWritten(
            ending.key,
            Outcome.EXPIRED,
            ending.partition,
            ending.origins,
            (),
            ending.newest_record_time,
            still_open,
        )

    def _send_letters(self, rejected: tuple[Origin, ...]) -> None:
        for origin in rejected:
            if origin.partition in self.holdings:
                ledger = self.holdings[origin.partition].ledger
                ledger.send_dead_letter(origin.offset, origin.message)

    def _prepare(self, partition: int) -> None:
        holding = self.holdings[partition]
        if not holding.ledger.fits(holding.position):
            return
        prepared = holding.ledger.prepare(holding.position)
        self.queue.append(Transaction(partition, prepared, holding.due))
        holding.due = []

    def is_idle(self) -> bool:
        return (
            not self.queue
            and not self.engine
            and not self.assembler.open_count
            and not self.assembler.open_run_count
            and all(
                h.position >= self.world.end(p)
                and not h.order.pending
                and not h.due
                and h.ledger.is_settled
                for p, h in self.holdings.items()
            )
        )
