"""What has ended is told: steps, runs and dead letters become transactions, in their order."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from engines.errors import DownscaledError
from streamer.begun import Made
from streamer.bus.record import (
    Bus,
    BusError,
    Commit,
    Fenced,
    Outgoing,
    Partition,
    Replaced,
    Uncertain,
)
from streamer.intake.events import Ending, ExpiredStep, LetGo, Outcome
from streamer.intake.ledger import LedgerFull
from streamer.outbox import Answer, Halted, Outbox, Publication
from streamer.parts import Parts, ServiceError
from streamer.reception import Tenure

log = logging.getLogger(__name__)

#: What is closed without a step's transaction is committed in one of its own after this.
_FLUSH_AFTER_S = 1.0
#: How long a transaction is tried again before the process gives up and a new one takes over.
_PUBLISH_DEADLINE_S = 120.0


class Publishing:
    """Prepares what the outbox publishes, and decides what becomes of what it could not.

    Belongs to the loop's thread: a publication is prepared when something ends, and everything
    that was closed by then is committed with it.
    """

    def __init__(self, bus: Bus, parts: Parts) -> None:
        self._bus = bus
        self._parts = parts
        self._metrics = parts.meters.metrics
        self._outbox = Outbox(bus, parts.wake.set, parts.filing.write)
        self._held_back: list[Publication] = []
        self._failing_since: float | None = None
        self._try_again_at = 0.0
        self._prepared_at: dict[Partition, float] = {}
        self.waiting_bytes = 0
        #: steps that were published complete
        self.published = 0
        #: reference time of the newest run of which a step was published
        self.newest_run: datetime | None = None

    @property
    def pending(self) -> int:
        """How many transactions are prepared and not committed."""
        return self._outbox.pending + len(self._held_back)

    def close(self, timeout_s: float = 1.0) -> None:
        """End the thread that publishes."""
        self._outbox.close(timeout_s)

    def publish_step(self, made: Made) -> None:
        """Publish a step that the engine is done with, unless its partition is no longer ours."""
        tenure, step = made.tenure, made.step
        if not self._is_ours(tenure.partition, tenure.epoch):
            return
        outcome = Outcome.FAILED if made.fault else Outcome.COMPLETE
        if made.fault:
            log.error("step %s failed: %s", step.key.text, made.fault)
        trace = tenure.traceparent(step.origins)
        records = [*made.records, self._parts.announcer.made(made, trace, self._parts.now())]
        run_ended = self._parts.assembler.end(step.key, outcome)
        tenure.let_go(step.origins, tenure.refused.pop(step.key, ()))
        if run_ended is not None:
            records.append(self._parts.announcer.ended(run_ended))
        self._submit(tenure, records, lambda seconds: self._count(made, outcome, seconds))

    def publish_endings(self, endings: Sequence[Ending], tenure: Tenure) -> None:
        """Publish the records of steps and runs that ended without the engine."""
        self._submit(tenure, self._end(endings, tenure))

    def commit(self, tenure: Tenure) -> None:
        """Publish nothing but what is closed: offsets and dead letters."""
        self._submit(tenure, [])

    def flush(self, tenure: Tenure, *, now: bool = False) -> None:
        """Commit what was closed a while ago without a step's transaction, or at once."""
        waited_s = time.monotonic() - self._prepared_at.get(tenure.partition, 0.0)
        if not tenure.ledger.is_settled and (now or waited_s >= _FLUSH_AFTER_S):
            self.commit(tenure)

    def take_answers(self, timeout_s: float = 0.0) -> bool:
        """Take note of what was committed, and try again what was not; whether there was any."""
        answers = self._outbox.finished(timeout_s)
        self._note(answers)
        if self._held_back and time.monotonic() >= self._try_again_at:
            waiting, self._held_back = self._held_back, []
            for publication in waiting:
                if self._is_ours(publication.partition, publication.epoch):
                    self._outbox.submit(publication.renewed(self._bus.membership()))
                else:
                    self.waiting_bytes -= publication.size_bytes
        return bool(answers)

    def settle(self, deadline: float) -> None:
        """Wait until what is under way has been answered, at most until `deadline` (monotonic)."""
        while self._outbox.pending and (left_s := deadline - time.monotonic()) > 0:
            self._note(self._outbox.finished(timeout_s=min(0.1, left_s)))

    def _count(self, made: Made, outcome: Outcome, seconds: float) -> None:
        """Tell of a step that is committed."""
        step = made.step
        delay_s = max(0.0, (self._parts.now() - step.completed_at).total_seconds())
        self._metrics.steps.labels(outcome=outcome.value).inc()
        self._metrics.fields_published.inc(len(made.records))
        self._metrics.step_delay.observe(delay_s)
        self._metrics.stage.labels(stage="publish").observe(seconds)
        reference = step.key.run.reference_time
        self.newest_run = max(self.newest_run or reference, reference)
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
            elif isinstance(ending, LetGo):
                log.info("nothing came for step %s: what it borrowed is let go", ending.key.text)
                tenure.let_go(ending.origins, ())
            else:
                log.info("run %s ended", ending.key.text)
        told = (ending for ending in endings if not isinstance(ending, LetGo))
        return [self._parts.announcer.ended(ending) for ending in told]

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
        self._prepared_at[partition] = time.monotonic()
        self.waiting_bytes += publication.size_bytes
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

    def _note(self, answers: Sequence[Answer]) -> None:
        for i, answer in enumerate(answers):
            if isinstance(answer, Halted):
                self._hold_back(answers[i:], answer.error)
                return
            self._failing_since = None
            self.waiting_bytes -= answer.publication.size_bytes
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

    def _is_ours(self, partition: Partition, epoch: int) -> bool:
        tenure = self._parts.reception.tenures.get(partition)
        return tenure is not None and tenure.epoch == epoch
