"""What assembly reports: what became of a field, and how steps and runs end."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from streamer.domain import Origin, Rejected, RunKey, Step, StepKey, Unwanted


class Outcome(StrEnum):
    """How a step ended; the words of its record and of the metrics."""

    COMPLETE = "complete"
    EXPIRED = "expired"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Kept:
    """A field that its step keeps, holding its origin, until the step is complete or expires.

    reopened: whether the step had expired before, and this late field opens it again.
    let_go: what the step kept of the one before and needs no longer.
    """

    reopened: bool = False
    let_go: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Completed:
    """A field that made its step complete: the step holds all its origins until it ends.

    rejected: messages of its partition that were refused because of this step; their dead
      letters travel no later than the step's own end (see ExpiredStep).
    let_go: as with Kept.
    """

    step: Step
    rejected: tuple[Origin, ...] = ()
    let_go: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class DuplicateField:
    """A field that its step has already; counted and dropped, the first one wins.

    same_bytes: whether the message is the same to the byte; None where the step has ended and
      its bytes are gone.
    """

    origin: Origin
    same_bytes: bool | None


Added = Kept | Completed | DuplicateField | Rejected | Unwanted


@dataclass(frozen=True, slots=True)
class ExpiredStep:
    """A step that ended incomplete: its record is due, and its origins are let go with it.

    missing: parameters, in the bundle's order, then accumulations of the step before, as
    `tp@+3h`. origins: of all that it kept; none where nothing for it was ever seen.
    newest_record_time: then the run's.
    """

    key: StepKey
    partition: int
    missing: tuple[str, ...]
    origins: tuple[Origin, ...]
    newest_record_time: datetime
    seen: tuple[Origin, ...] = ()
    rejected: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run of which every step has ended: its record is due. outcomes: by minutes, rising."""

    key: RunKey
    partition: int
    outcomes: tuple[tuple[int, Outcome], ...]
    newest_record_time: datetime


@dataclass(frozen=True, slots=True)
class LetGo:
    """Accumulations kept for a step of which nothing came: given back, and nothing is told.

    key: the step that would have needed them; it has ended, or others see to its end.
    """

    key: StepKey
    partition: int
    origins: tuple[Origin, ...]


Ending = ExpiredStep | RunEnded | LetGo


@dataclass(frozen=True, slots=True)
class EndedStep:
    """What its published record says of a step, as far as assembly must remember it.

    offsets: of an expired step, the (partition, offset) pairs of records that it has seen and
      that stay open for other steps: read again, they do not reopen it. Empty for every other
      outcome, since those never reopen.
    is_run_spread: whether the run's records may lie in several partitions, so that nobody
      can say when it has ended.
    """

    key: StepKey
    outcome: Outcome
    partition: int
    newest_record_time: datetime
    offsets: frozenset[tuple[int, int]] = field(default=frozenset())
    is_run_spread: bool = False


@dataclass(frozen=True, slots=True)
class EndedRun:
    """What its published record says of a run."""

    key: RunKey
    partition: int
    newest_record_time: datetime
