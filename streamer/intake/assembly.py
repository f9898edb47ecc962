"""Fields to complete steps: duplicates, disorder, late fields, expiry, and the end of runs.

A state machine fed with fields and with time. Whatever keeps a field holds its origin; whatever
ends a step or drops a field gives the origins back, for the ledger to release. An accumulation
is kept by its own step and lent to the next, each on its own: one may end long before the other.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import ClassVar

from engines.errors import DownscaledError
from streamer.domain import Field, Origin, RunKey, Step, StepKey, Unwanted
from streamer.intake.ended import EndedSteps
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
from streamer.intake.runs import Runs
from streamer.intake.settings import AssemblySettings
from streamer.intake.waiting import FlyingStep, WaitingStep


class AssemblyError(DownscaledError):
    """An end told of a step that is not in flight: a fault of ours."""

    reason: ClassVar[str] = "assembly"


class Assembler:
    """All steps and runs of the partitions that are ours."""

    def __init__(self, settings: AssemblySettings) -> None:
        self._settings = settings
        self._expire_after = timedelta(seconds=settings.expire_after_s)
        self._horizon = timedelta(hours=settings.repeat_horizon_h)
        self._open: dict[StepKey, WaitingStep] = {}
        self._in_flight: dict[StepKey, FlyingStep] = {}
        self._ended = EndedSteps(self._horizon)
        self._runs = Runs(settings.steps)
        self._mine: set[int] = set()

    @property
    def open_count(self) -> int:
        """How many steps wait for fields."""
        return len(self._open)

    @property
    def open_run_count(self) -> int:
        """How many runs have begun and will end."""
        return self._runs.open_count

    @property
    def open_bytes(self) -> int:
        """What the steps that wait hold in memory; costs a look at each of them."""
        return sum(step.size_bytes for step in self._open.values())

    def in_flight_count(self, partition: int) -> int:
        """How many complete steps of a partition have not ended."""
        return sum(step.partition == partition for step in self._in_flight.values())

    def is_run_spread(self, key: RunKey) -> bool:
        """Whether a run may lie in several partitions and so never ends; for `EndedStep`."""
        return self._runs.is_spread(key)

    def add(
        self,
        field: Field,
        origin: Origin,
        record_time: datetime,
        now: datetime,
        *,
        is_run_spread: bool = False,
    ) -> Added:
        """Take a field into its step, or say why not; the caller holds `origin` until it ends.

        record_time: as the partition's clock gave it. is_run_spread: whether the record's key
        names the step (`runs.names_step`).
        """
        dropped = self._unwanted(field, now) or self._repeated(field, origin)
        if dropped is not None:
            return dropped
        key = self._settings.step_of(field.key)
        reopened = not self._is_begun(key) and self._ended.has_expired(key)
        step = self._open.setdefault(key, WaitingStep(origin.partition, record_time))
        let_go = step.move(origin.partition)
        refused = step.take(field, origin, record_time)
        if refused is not None:
            return refused
        self._runs.begin(key, step.partition, record_time, is_spread=is_run_spread)
        if not self._settings.needs_before(field):
            let_go += step.give_back(field.slot)
        if self._missing(key):
            return Kept(reopened, let_go)
        return self._complete(key, now, let_go)

    def lend(
        self, field: Field, origin: Origin, record_time: datetime, now: datetime
    ) -> Kept | Completed | None:
        """Take a field into the step after its own, whose amount is the difference to it.

        None where no step needs it, whatever became of it in its own; otherwise the caller holds
        `origin` once more.
        """
        key = self._borrower(field, origin, now)
        if key is None:
            return None
        step = self._open.setdefault(key, WaitingStep(origin.partition, record_time))
        step.borrow(field, origin, record_time)
        if self._missing(key):
            return Kept()
        return self._complete(key, now)

    def end(self, key: StepKey, outcome: Outcome) -> RunEnded | None:
        """Note how a step in flight ended, once its transaction is prepared.

        Returns the run's end where that was its last step; it belongs in the same transaction.
        """
        step = self._in_flight.pop(key, None)
        if step is None:
            raise AssemblyError(f"{key.text} ended {outcome}, but it is not in flight")
        return self._end(key, outcome, step.partition, step.newest)

    def expire(self, partition: int, at: datetime | None) -> list[Ending]:
        """End what has waited too long at a partition's record time, steps before their runs.

        at: None while the partition's clock shows nothing: then nothing expires.
        Also forgets ended steps beyond the repeat horizon. Costs a look at every open step.
        """
        if at is None:
            return []
        due = [
            key
            for key, step in self._open.items()
            if step.partition == partition
            and step.newest + self._expire_after <= at
            # A step of which nothing came yet may be late: the end of its run is its own.
            and (step.fields or not self._runs.awaits(key))
        ]
        endings = [ending for key in due for ending in self._expire(key)]
        for run in self._runs.silent(partition, at - self._expire_after):
            endings += self._expire_run(run)
        oldest = self._ended.prune(partition, at)
        if oldest is not None:
            self._runs.prune(partition, oldest)
        return endings

    def expire_oldest(self, partition: int | None = None) -> list[Ending]:
        """End one open step before its time, where room is short; nothing where none is open.

        Of a partition the one with the lowest offset, which holds the frontier back; of all
        partitions the one whose records are oldest.
        """
        mine = [k for k, s in self._open.items() if partition is None or s.partition == partition]
        if not mine:
            return []
        if partition is None:
            return list(self._expire(min(mine, key=lambda key: self._open[key].newest)))
        return list(self._expire(min(mine, key=lambda key: self._open[key].lowest_offset)))

    def finish(self) -> list[Ending]:
        """End all that is incomplete: the input has ended. Steps in flight keep their runs open."""
        begun = [key for key in self._open if not self._runs.awaits(key)]
        endings = [ending for key in begun for ending in self._expire(key)]
        for run in self._runs.idle():
            endings += self._expire_run(run)
        return endings

    def restore(
        self, steps: Iterable[EndedStep], runs: Iterable[EndedRun], partitions: Collection[int]
    ) -> None:
        """Take in what the steps topic holds before the first field of new partitions is added.

        steps, runs: of all partitions, in any order. partitions: those just assigned; of ours
        that stayed, more is known here than there.
        """
        stayed = self._mine - set(partitions)
        self._mine |= set(partitions)
        for partition in partitions:
            self._ended.watch(partition)
        news = [ended for ended in steps if ended.partition not in stayed]
        known = {ended.key: self._ended.remember(ended) for ended in news}
        self._runs.restore(known.values(), runs, partitions)

    def abandon(self, partition: int) -> None:
        """Forget everything of a partition that is no longer ours; `restore` when it returns."""
        self._mine.discard(partition)
        self._open = {k: s for k, s in self._open.items() if s.partition != partition}
        self._in_flight = {k: s for k, s in self._in_flight.items() if s.partition != partition}
        self._ended.forget(partition)
        self._runs.forget(partition)

    def _unwanted(self, field: Field, now: datetime) -> Unwanted | None:
        settings = self._settings
        key = settings.step_of(field.key)
        if field.parameter not in settings.parameters_at(key.minutes):
            return Unwanted("parameter")
        if not settings.wants_member(field.key.run):
            return Unwanted("member")
        if key.minutes not in settings.expected(key.run):
            return Unwanted("step")
        if settings.max_age_h is None or key in self._open:
            return None
        age = now - field.key.run.reference_time
        return Unwanted("old") if age > timedelta(hours=settings.max_age_h) else None

    def _repeated(self, field: Field, origin: Origin) -> DuplicateField | None:
        """Return a duplicate where the step is in flight or over."""
        key = self._settings.step_of(field.key)
        flying = self._in_flight.get(key)
        if flying is not None:
            return DuplicateField(origin, flying.digests[field.slot] == field.digest)
        if not self._is_begun(key) and self._ended.is_over(key, origin):
            return DuplicateField(origin, None)
        return None

    def _is_begun(self, key: StepKey) -> bool:
        """Whether a step waits that has a field of its own."""
        return key in self._open and bool(self._open[key].fields)

    def _borrower(self, field: Field, origin: Origin, now: datetime) -> StepKey | None:
        """Return the step after a field's own, if it still needs the field."""
        name, settings = field.parameter, self._settings
        if name not in settings.accumulated or not settings.exists(name, field.key.minutes):
            return None
        if not settings.wants_member(field.key.run):
            return None
        key = settings.after(settings.step_of(field.key))
        if key is None or key in self._in_flight:
            return None
        step = self._open.get(key)
        if step is None or not step.fields:
            is_elsewhere = self._runs.partition_of(key.run) not in (None, origin.partition)
            if is_elsewhere or self._ended.is_over(key, origin):
                return None
        if step is None:
            return None if self._unwanted(field, now) is not None else key
        own = step.fields.get(field.slot)
        is_needed = own is None or settings.needs_before(own[0])
        is_first = field.slot not in step.before and origin.partition == step.partition
        return key if is_needed and is_first else None

    def _missing(self, key: StepKey) -> tuple[str, ...]:
        step = self._open[key]
        fields = {slot: field for slot, (field, _) in step.fields.items()}
        return self._settings.missing(key, fields, step.before)

    def _complete(self, key: StepKey, now: datetime, let_go: tuple[Origin, ...] = ()) -> Completed:
        step = self._open.pop(key)
        slots = self._settings.slots(key)
        own = [step.fields[slot] for slot in slots]
        lent = [step.before[slot] for slot in slots if slot in step.before]
        digests = {slot: field.digest for slot, (field, _) in step.fields.items()}
        self._in_flight[key] = FlyingStep(step.partition, step.newest, digests)
        before = self._settings.before(key)
        complete = Step(
            key,
            fields=tuple(field for field, _ in own),
            origins=tuple(origin for _, origin in (*own, *lent)),
            newest_record_time=step.newest,
            completed_at=now,
            before=tuple(field for field, _ in lent),
            since=None if before is None else before.minutes,
        )
        return Completed(complete, tuple(step.rejected), let_go)

    def _expire(self, key: StepKey) -> Iterator[Ending]:
        """End a waiting step; one of which nothing came only lets go of what it borrowed."""
        missing, step = self._missing(key), self._open.pop(key)
        if not step.fields:
            yield LetGo(key, step.partition, step.origins)
            return
        yield ExpiredStep(
            key,
            step.partition,
            missing=missing,
            origins=step.origins,
            newest_record_time=step.newest,
            seen=tuple(step.seen),
            rejected=tuple(step.rejected),
        )
        offsets = frozenset((origin.partition, origin.offset) for origin in step.seen)
        run = self._end(key, Outcome.EXPIRED, step.partition, step.newest, offsets)
        if run is not None:
            yield run

    def _expire_run(self, key: RunKey) -> Iterator[Ending]:
        """End the steps of a run that were never seen, and the run."""
        steps, partition, newest = self._runs.unseen(key)
        ended = None if steps else self._runs.end(key)
        for step in steps:
            missing, origins = self._settings.missing(step, {}, ()), tuple[Origin, ...]()
            if step in self._open and self._open[step].partition == partition:
                origins = self._open.pop(step).origins
            yield ExpiredStep(step, partition, missing, origins, newest, seen=origins)
            offsets = frozenset((origin.partition, origin.offset) for origin in origins)
            ended = self._end(step, Outcome.EXPIRED, partition, newest, offsets)
        if ended is not None:
            yield ended

    def _end(
        self,
        key: StepKey,
        outcome: Outcome,
        partition: int,
        newest: datetime,
        offsets: frozenset[tuple[int, int]] = frozenset(),
    ) -> RunEnded | None:
        is_spread = self._runs.is_spread(key.run)
        self._ended.remember(EndedStep(key, outcome, partition, newest, offsets, is_spread))
        return self._runs.end_step(key, outcome, newest)
