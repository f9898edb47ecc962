"""The memory of steps that have ended, so that a repeat of their fields opens nothing."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from streamer.domain import Origin, StepKey
from streamer.intake.events import EndedStep, Outcome

LONG_AGO = datetime.min.replace(tzinfo=UTC)


class EndedSteps:
    """Ended steps by key, as far back as the repeat horizon of input record time."""

    def __init__(self, horizon: timedelta) -> None:
        self._horizon = horizon
        self._steps: dict[StepKey, EndedStep] = {}
        self._pruned_at: dict[int, datetime | None] = {}  # of our partitions; None: not yet

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[EndedStep]:
        return iter(self._steps.values())

    def watch(self, partition: int) -> None:
        """Note that a partition is ours: its steps are forgotten by its own clock alone."""
        self._pruned_at[partition] = None

    def remember(self, ended: EndedStep) -> EndedStep:
        """Add a step's end; return what is known now.

        Only an expired step may end again. The records that any of its ends listed stay listed,
        and a step that ended otherwise never becomes expired again, in whatever order it is told.
        """
        known = self._steps.get(ended.key)
        if known is not None:
            is_weaker = ended.outcome is Outcome.EXPIRED and known.outcome is not Outcome.EXPIRED
            ended = replace(
                known if is_weaker else ended,
                newest_record_time=max(known.newest_record_time, ended.newest_record_time),
                offsets=known.offsets | ended.offsets,
                is_run_spread=known.is_run_spread or ended.is_run_spread,
            )
            if ended.outcome is not Outcome.EXPIRED:
                ended = replace(ended, offsets=frozenset())
        self._steps[ended.key] = ended
        return ended

    def is_over(self, key: StepKey, origin: Origin) -> bool:
        """Whether a field from `origin` comes to a step that has ended and does not reopen it."""
        known = self._steps.get(key)
        if known is None:
            return False
        is_listed = (origin.partition, origin.offset) in known.offsets
        return known.outcome is not Outcome.EXPIRED or is_listed

    def has_expired(self, key: StepKey) -> bool:
        """Whether the step is known as expired."""
        known = self._steps.get(key)
        return known is not None and known.outcome is Outcome.EXPIRED

    def forget(self, partition: int) -> None:
        """Forget what is known of a partition that left: it is read back when it returns."""
        self._steps = {k: e for k, e in self._steps.items() if e.partition != partition}
        self._pruned_at.pop(partition, None)

    def prune(self, partition: int, at: datetime) -> datetime | None:
        """Forget a partition's steps whose newest record is beyond the horizon at record time.

        Looks at all of them only when the time has moved by a fiftieth of the horizon; returns
        the oldest record time that is remembered, None when it did not look.
        """
        last = self._pruned_at.get(partition)
        if last is not None and at - last < self._horizon / 50:
            return None
        self._pruned_at[partition] = at
        # Steps of partitions that are not ours have no clock here: they go by the slowest of ours.
        slowest = min((time or LONG_AGO) for time in self._pruned_at.values())
        self._steps = {
            key: ended
            for key, ended in self._steps.items()
            if ended.newest_record_time + self._horizon
            >= (self._pruned_at.get(ended.partition, slowest) or LONG_AGO)
        }
        return at - self._horizon
