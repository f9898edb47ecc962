"""The loop: polls, hands on, prepares transactions. Everything slow runs beside it.

Records go to the workers, complete steps to the engine, draws to the encoders, transactions to
the outbox; what any of them has finished is taken up on the next turn. All state that decides
what is committed belongs to this thread.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from engines.errors import DownscaledError
from monitoring.metrics import Metrics
from monitoring.probes import Status
from streamer.announcements import Announcer
from streamer.bus.record import (
    Assignment,
    Bus,
    BusError,
    Commit,
    Fenced,
    Outgoing,
    Partition,
    Record,
    Replaced,
    Uncertain,
)
from streamer.config import Config
from streamer.dispatch import Dispatch, Made
from streamer.downscale.engine_room import Counters, EngineRoom
from streamer.headers import read_identity
from streamer.intake.assembly import Assembler
from streamer.intake.events import EndedRun, EndedStep, Ending, ExpiredStep, Outcome, RunEnded
from streamer.intake.ledger import LedgerFull
from streamer.outbox import Answer, Halted, Outbox, Publication
from streamer.reception import Reception, Tenure
from streamer.records import RecordError

log = logging.getLogger(__name__)

#: How long the loop waits when there is nothing to do, and when something is under way.
_IDLE_S, _BUSY_S = 0.1, 0.005
#: What is closed without a step's transaction is committed in one of its own after this.
_FLUSH_AFTER_S = 1.0
#: Expiry, gauges and pausing are looked at this often.
_LOOK_EVERY_S = 0.5
#: How full the commit's metadata may be before a partition pauses, or its oldest step is given up.
_METADATA_SHARE = 0.75
#: How long a transaction is tried again before the process gives up and a new one takes over.
_PUBLISH_DEADLINE_S = 120.0


class ServiceError(DownscaledError):
    """The daemon cannot go on."""

    reason = "service"


@dataclass(frozen=True, slots=True)
class Meters:
    """What the daemon tells of itself."""

    metrics: Metrics
    status: Status


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loop turns; made by a composition root."""

    reception: Reception
    dispatch: Dispatch
    assembler: Assembler
    announcer: Announcer
    room: EngineRoom
    meters: Meters
    wake: threading.Event
    now: Callable[[], datetime]


class Service:
    """One daemon. `run` returns when it is told to stop, and raises when it cannot go on."""

    def __init__(self, config: Config, bus: Bus, parts: Parts) -> None:
        self._config = config
        self._parts = parts
        self._reception = parts.reception
        self._dispatch = parts.dispatch
        self._metrics = parts.meters.metrics
        self._status = parts.meters.status
        self._bus = bus
        self._outbox = Outbox(self._bus, parts.wake.set)
        self._joining: list[Assignment] = []
        self._history: Iterator[Sequence[Record]] | None = None
        self._ended: list[EndedStep | EndedRun] = []
        self._held_back: list[Publication] = []
        self._failing_since: float | None = None
        self._try_again_at = 0.0
        self._unsent_bytes = 0
        self._flushed: dict[Partition, float] = {}
        self._is_paused = False
        self._narrow: set[Partition] = set()
        self._is_stopping = False
        self._looked_at = 0.0
        self._newest_run: datetime | None = None
        self._counters = Counters()
        self.published = 0
        self._status.waits_for("partitions to be assigned")

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Turn until told to stop, then finish or abandon what is begun within the budget."""
        while not should_stop():
            self.turn()
        self.stop(self._config.limits.stop_budget_s)

    def turn(self) -> None:
        """Do everything once: read, assemble, hand on, publish, look after."""
        self._status.progressed()
        did = self._read()
        did |= self._restore()
        for step in self._reception.collect():
            tenure = self._tenure_of(step.origins[0].partition)
            self._dispatch.begin(step, tenure)
            did = True
        for made in self._dispatch.made():
            self._publish_step(made)
            did = True
        did |= self._take_answers()
        if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            self.look_after()
        if not did and self._is_busy:
            self._wait()

    @property
    def is_drained(self) -> bool:
        """Whether all that the topic holds was read and answered; open steps may still wait."""
        tenures = self._reception.tenures
        if self._is_busy or self._joining or not tenures:
            return False
        return all(self._bus.position(p) >= self._bus.end_offset(p) for p in tenures)

    @property
    def engine_work(self) -> tuple[int, float]:
        """Calls of the network since the start, and the seconds inside it."""
        return self._parts.room.counters.calls, self._parts.room.counters.busy_s

    def room_for(self, partition: Partition, ahead: int) -> int:
        """Return how many records may be fed so that no more than `ahead` wait to be read."""
        if partition not in self._reception.tenures:
            return ahead
        return max(0, ahead - self._bus.end_offset(partition) + self._bus.position(partition))

    def finish(self) -> None:
        """End all that is incomplete, as at the end of an input that will not go on."""
        for ending in self._parts.assembler.finish():
            tenure = self._tenure_of(ending.partition)
            self._submit(tenure, self._end([ending], tenure))
        self._flush_all()
        while self._is_busy:
            self.turn()

    def stop(self, budget_s: float) -> None:
        """Finish what is begun within a budget, and commit what is done.

        What is not committed is done again by whoever reads it next.
        """
        self._is_stopping = True
        self._bus.pause(list(self._reception.tenures))
        self._status.waits_for("the daemon to stop")
        deadline = time.monotonic() + budget_s
        while self._is_busy and time.monotonic() < deadline:
            self.turn()
        self._flush_all()
        while self._outbox.pending and time.monotonic() < deadline:
            self._take_answers()
            self._parts.wake.wait(_BUSY_S)
        self._outbox.close(max(1.0, deadline - time.monotonic()))
        log.info("stopped; %d steps were published", self.published)

    # Reading

    @property
    def _is_busy(self) -> bool:
        under_way = self._reception.decoding + self._dispatch.pending + self._outbox.pending
        return bool(under_way or self._held_back)

    def _wait(self) -> None:
        """Wait a moment for whoever is at work: a worker's pipe, or a thread that wakes us."""
        if self._reception.decoding:
            self._reception.wait(_BUSY_S)
        else:
            self._parts.wake.wait(_BUSY_S)
        self._parts.wake.clear()

    def _read(self) -> bool:
        polled = self._bus.poll(0.0 if self._is_busy or self._joining else _IDLE_S)
        if polled.assigned:
            self._joining += polled.assigned
            self._ended = []
            self._history = self._bus.history(
                self._config.output.steps_topic, self._remembered_since_ms()
            )
        for partition, wanted in polled.out_of_range:
            self._skip_lost(partition, wanted)
        for record in polled.records:
            self._reception.receive(record)
        return bool(polled.assigned or polled.records or polled.out_of_range)

    def _remembered_since_ms(self) -> int:
        """Return how far back ended steps matter: a horizon before the oldest record to be read.

        After an outage of days that is long ago, and its backlog may hold repeats of then.
        """
        oldest = [self._parts.now().timestamp() * 1000]
        for assignment in self._joining:
            if assignment.committed is not None:
                next_offset = assignment.committed.next_offset
                found = self._bus.timestamp_at(assignment.partition, next_offset)
                oldest += [] if found is None else [found]
        return int(min(oldest) - self._config.input.repeat_horizon_h * 3_600_000)

    def _restore(self) -> bool:
        """Read back one lot of what has been published; at the end start the new partitions."""
        if self._history is None:
            return False
        lot = next(self._history, None)
        if lot is not None:
            for record in lot:
                try:
                    self._ended.append(read_identity(record.headers))
                except RecordError as error:
                    log.warning("%s, offset %d: %s", record.partition, record.offset, error)
            return True
        self._parts.assembler.restore(
            [e for e in self._ended if isinstance(e, EndedStep)],
            [e for e in self._ended if isinstance(e, EndedRun)],
            [a.partition.number for a in self._joining],
        )
        log.info("read back %d records of ended steps and runs", len(self._ended))
        self._history, self._ended = None, []
        joining, self._joining = self._joining, []
        for assignment in joining:
            self._start(assignment)
        return True

    def _start(self, assignment: Assignment, first_offset: int | None = None) -> None:
        partition = assignment.partition
        if first_offset is None and assignment.committed is None:
            first_offset = self._first_offset(partition)
        commit = assignment.committed or Commit(first_offset or 0)
        tenure = self._reception.begin(partition, commit)
        self._flushed[partition] = time.monotonic()
        self._bus.start(partition, commit.next_offset)
        if assignment.committed is None:
            # Resolved once: a restart before the first step must not resolve it anew.
            self._submit(tenure, [])
        if self._is_paused or self._is_stopping:
            self._bus.pause([partition])
        log.info("reading %s %d from %d", partition.topic, partition.number, commit.next_offset)
        self._status.is_served()

    def _first_offset(self, partition: Partition) -> int:
        start = self._config.input.start_at
        if start.time is not None:
            return self._bus.offset_at(partition, int(start.time.timestamp() * 1000))
        if start.where == "latest":
            return self._bus.end_offset(partition)
        return self._bus.beginning_offset(partition)

    def _skip_lost(self, partition: Partition, wanted: int) -> None:
        """Go on behind records that retention took away, loudly, or stop, as configured."""
        policy = self._config.input.out_of_range
        held = self._bus.beginning_offset(partition)
        text = (
            f"{partition.topic} {partition.number}: wanted offset {wanted}, the topic holds "
            f"{held} to {self._bus.end_offset(partition)}"
        )
        if policy == "stop":
            raise ServiceError(f"{text}; input.out_of_range is stop")
        offset = held if policy == "earliest" else self._bus.end_offset(partition)
        log.error("%s: records were lost to retention; going on from %d", text, offset)
        if offset < wanted:
            # The topic was made anew: what the ledger knows is of records that never come again.
            self._forget(partition)
            self._start(Assignment(partition, None), offset)
        else:
            self._bus.start(partition, offset)
            if self._is_paused or self._is_stopping:
                self._bus.pause([partition])
            # Resolved once, as at the first start.
            self._submit(self._reception.tenures[partition], [])

    # Leaving

    def close(self) -> None:
        """End the thread that publishes; for who leaves without `stop`."""
        self._outbox.close(1.0)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Let what is on its way to the bus arrive, within a budget, then forget the rest."""
        deadline = time.monotonic() + 0.2 * self._config.bus.max_poll_interval_s
        while self._outbox.pending and time.monotonic() < deadline:
            self._note(self._outbox.finished(timeout_s=0.1))
        self.lost(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Forget partitions that are somebody else's by now, and all that is under way for them."""
        self._joining = [a for a in self._joining if a.partition not in partitions]
        for partition in partitions:
            self._forget(partition)
        log.info("gave up partitions %s", ", ".join(str(p.number) for p in partitions))
        if not self._reception.tenures:
            self._status.waits_for("partitions to be assigned")

    def _forget(self, partition: Partition) -> None:
        tenure = self._reception.tenures.get(partition)
        if tenure is not None:
            self._dispatch.forget(tenure)
            self._reception.end(partition)
            self._narrow.discard(partition)

    # Publishing

    def _publish_step(self, made: Made) -> None:
        tenure, step = made.tenure, made.step
        if self._reception.tenures.get(tenure.partition) is not tenure:
            return
        outcome = Outcome.FAILED if made.fault else Outcome.COMPLETE
        if made.fault:
            log.error("step %s failed: %s", step.key.text, made.fault)
        trace = self._reception.traceparent(step.origins, tenure)
        records = [*made.records, self._parts.announcer.made(made, trace, self._parts.now())]
        run_ended = self._parts.assembler.end(step.key, outcome)
        tenure.let_go(step.origins, tenure.refused.pop(step.key, ()))
        if run_ended is not None:
            records.append(self._parts.announcer.ended(run_ended))
        self._submit(tenure, records, lambda seconds: self._count(made, outcome, seconds))

    def _count(self, made: Made, outcome: Outcome, seconds: float) -> None:
        """Tell of a step that is committed."""
        step = made.step
        delay_s = max(0.0, (self._parts.now() - step.completed_at).total_seconds())
        self._metrics.steps.labels(outcome=outcome.value).inc()
        self._metrics.fields_published.inc(len(made.records))
        self._metrics.step_delay.observe(delay_s)
        self._metrics.stage.labels(stage="publish").observe(seconds)
        reference = step.key.run.reference_time
        self._newest_run = max(self._newest_run or reference, reference)
        self.published += outcome is Outcome.COMPLETE
        log.info(
            "step %s %s: %d fields, %.1f s after its last field",
            step.key.text, outcome, len(made.records), delay_s,
        )  # fmt: skip

    def _end(self, endings: Sequence[Ending], tenure: Tenure) -> list[Outgoing]:
        """Release what ended steps held, and return the records that tell of them."""
        for ending in endings:
            if isinstance(ending, ExpiredStep):
                missing = ", ".join(ending.missing)
                log.warning("step %s expired: %s is missing", ending.key.text, missing)
                self._metrics.steps.labels(outcome="expired").inc()
                tenure.let_go(ending.origins, ending.rejected)
            elif isinstance(ending, RunEnded):
                log.info("run %s ended", ending.key.text)
        return [self._parts.announcer.ended(ending) for ending in endings]

    def _submit(
        self,
        tenure: Tenure,
        records: Sequence[Outgoing],
        on_done: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Prepare a transaction: what it writes, and what of its partition is done with it."""
        partition, told = tenure.partition, list(records)
        position = self._bus.position(partition)
        while True:
            try:
                prepared = tenure.ledger.prepare(position)
                break
            except LedgerFull:
                told += self._give_up_oldest(tenure)
        publication = Publication(
            partition,
            tenure.epoch,
            (*told, *prepared.dead_letters),
            Commit(prepared.next_offset, prepared.metadata),
            self._bus.membership(),
            on_done,
        )
        self._flushed[partition] = time.monotonic()
        self._unsent_bytes += publication.size_bytes
        if self._held_back:
            self._held_back.append(publication)
        else:
            self._outbox.submit(publication)

    def _give_up_oldest(self, tenure: Tenure) -> list[Outgoing]:
        endings = self._parts.assembler.expire_oldest(tenure.partition.number)
        if not endings:
            raise ServiceError(
                f"{tenure.partition.topic} {tenure.partition.number}: what is closed does not fit "
                "the commit's metadata, and no open step is left to give up"
            )
        return self._end(endings, tenure)

    def _take_answers(self) -> bool:
        answers = self._outbox.finished()
        self._note(answers)
        if self._held_back and time.monotonic() >= self._try_again_at:
            waiting, self._held_back = self._held_back, []
            for publication in waiting:
                if self._is_ours(publication):
                    self._outbox.submit(publication.renewed(self._bus.membership()))
                else:
                    self._unsent_bytes -= publication.size_bytes
        return bool(answers)

    def _note(self, answers: Sequence[Answer]) -> None:
        for i, answer in enumerate(answers):
            if isinstance(answer, Halted):
                self._hold_back(answers[i:], answer.error)
                return
            self._failing_since = None
            self._unsent_bytes -= answer.publication.size_bytes
            answer.publication.on_done(answer.seconds)

    def _hold_back(self, halted: Sequence[Answer], error: DownscaledError) -> None:
        """Keep what was not committed, to be tried again in the order it was prepared.

        Each commit contains the ones before it: another order would take commits back.
        """
        self._consider(error)
        left = [*halted, *self._outbox.recall()]
        self._held_back += [answer.publication for answer in left]

    def _consider(self, error: DownscaledError) -> None:
        """Decide whether a failed transaction is tried again; raise when it must not be."""
        now = time.monotonic()
        if isinstance(error, Replaced | Uncertain) or not isinstance(error, BusError):
            raise error
        self._failing_since = self._failing_since or now
        if now - self._failing_since > _PUBLISH_DEADLINE_S:
            raise ServiceError(f"no transaction succeeded for {_PUBLISH_DEADLINE_S:.0f} s: {error}")
        self._try_again_at = now + (0.1 if isinstance(error, Fenced) else 1.0)
        log.warning("a transaction is tried again: %s", error)

    def _is_ours(self, publication: Publication) -> bool:
        tenure = self._reception.tenures.get(publication.partition)
        return tenure is not None and tenure.epoch == publication.epoch

    def _tenure_of(self, number: int) -> Tenure:
        return self._reception.tenures[Partition(self._config.input.topic, number)]

    # Looking after

    def look_after(self) -> None:
        """Expire, flush, pause or resume, and set the gauges."""
        self._looked_at = time.monotonic()
        for tenure in list(self._reception.tenures.values()):
            self._look_after_partition(tenure)
        self._bound_open_steps()
        waiting = self._unsent_bytes + self._reception.waiting_bytes + self._dispatch.waiting_bytes
        limit = self._config.limits.waiting_bytes
        if not self._is_paused and waiting > limit:
            self._is_paused = True
            self._bus.pause(list(self._reception.tenures))
        elif self._is_paused and waiting <= limit // 2 and not self._is_stopping:
            self._is_paused = False
            self._bus.resume([p for p in self._reception.tenures if p not in self._narrow])
        self._count_engine()
        self._metrics.open_steps.set(self._parts.assembler.open_count + self._dispatch.pending)
        if self._newest_run is not None:
            age = self._parts.now() - self._newest_run
            self._metrics.forecast_age.set(age.total_seconds())

    def _bound_open_steps(self) -> None:
        """Give up the oldest incomplete steps while all of them hold more than they may."""
        assembler, limit = self._parts.assembler, self._config.limits.open_bytes
        while assembler.open_bytes > limit and (endings := assembler.expire_oldest()):
            log.error("incomplete steps hold more than limits.open_bytes, %d", limit)
            tenure = self._tenure_of(endings[0].partition)
            self._submit(tenure, self._end(endings, tenure))

    def _count_engine(self) -> None:
        done, before = self._parts.room.counters, self._counters
        device = self._parts.room.device
        self._metrics.denoiser_calls.labels(device=device).inc(done.calls - before.calls)
        self._metrics.denoiser_busy_seconds.labels(device=device).inc(done.busy_s - before.busy_s)
        if done.calls > before.calls:
            jobs = (done.calls - before.calls) * self._parts.room.batch
            self._metrics.batch_fill_ratio.observe((done.tiles - before.tiles) / jobs)
        self._counters = done

    def _look_after_partition(self, tenure: Tenure) -> None:
        partition = tenure.partition
        position, end = self._bus.position(partition), self._bus.end_offset(partition)
        endings = self._reception.expire(tenure, is_at_end=position >= end)
        records = self._end(endings, tenure)
        if self._is_narrow(tenure, position):
            records += self._end(self._parts.assembler.expire_oldest(partition.number), tenure)
        if records or self._is_flush_due(tenure):
            self._submit(tenure, records)
        number = str(partition.number)
        self._metrics.lag.labels(partition=number).set(max(0, end - position))
        self._metrics.frontier_age.labels(partition=number).set(self._frontier_age_s(tenure))

    def _is_narrow(self, tenure: Tenure, position: int) -> bool:
        """Whether an open step must be given up, since the closed set hardly fits the metadata.

        While a complete step is on its way the partition is only paused: that step will make
        room. An open step would not, since what it lacks may lie behind the pause.
        """
        partition = tenure.partition
        fits = tenure.ledger.fits(position, _METADATA_SHARE)
        on_its_way = self._parts.assembler.in_flight_count(partition.number)
        if not fits and on_its_way and partition not in self._narrow:
            self._narrow.add(partition)
            self._bus.pause([partition])
        elif partition in self._narrow and (fits or not on_its_way):
            self._narrow.discard(partition)
            if not (self._is_paused or self._is_stopping):
                self._bus.resume([partition])
        return not fits and not on_its_way

    def _is_flush_due(self, tenure: Tenure) -> bool:
        waited_s = time.monotonic() - self._flushed[tenure.partition]
        return waited_s >= _FLUSH_AFTER_S and not tenure.ledger.is_settled

    def _flush_all(self) -> None:
        for tenure in self._reception.tenures.values():
            if not tenure.ledger.is_settled:
                self._submit(tenure, [])

    def _frontier_age_s(self, tenure: Tenure) -> float:
        oldest = min(tenure.arrived.values(), default=None)
        if oldest is None:
            return 0.0
        at = datetime.fromtimestamp(oldest / 1000, UTC)
        return max(0.0, (self._parts.now() - at).total_seconds())
