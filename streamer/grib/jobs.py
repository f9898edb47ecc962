"""A submitted record on its way through the workers: whole first, then message by message."""

from dataclasses import dataclass, field

from streamer.domain import Decoded, Reason, Rejected
from streamer.grib.frame import split
from streamer.grib.wants import Limits


@dataclass(slots=True)
class Submitted:
    """A record under its ticket; `parts` holds the answers to its messages if they go alone."""

    ticket: int
    value: bytes
    again: str
    parts: list[list[Decoded] | None] = field(default_factory=list)

    def whole(self) -> "Job":
        """Return the job that asks for all of it at once."""
        return Job(self, self.value)

    def alone(self, limits: Limits) -> "list[Job]":
        """Return one job a message; what is no message has its answer already."""
        pieces = split(self.value, limits)
        self.parts = [[piece] if isinstance(piece, Rejected) else None for piece in pieces]
        return [
            Job(self, piece, index)
            for index, piece in enumerate(pieces)
            if not isinstance(piece, Rejected)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What one process is asked: a whole record, or one message of it alone."""

    record: Submitted
    value: bytes
    part: int | None = None

    def failed(self, rejected: Rejected, limits: Limits) -> "list[Job]":
        """Return what to try next, in order; nothing if the job's answer is the rejection.

        A single message is tried again if its process died, which can have had other causes, but
        not if it hung: that would cost its time twice.
        """
        if self.part is not None:
            return []
        alone = self.record.alone(limits)
        hung_alone = len(alone) == 1 == len(self.record.parts) and (
            rejected.reason is not Reason.WORKER_DIED
        )
        return [] if hung_alone else alone

    def answered(self, answer: list[Decoded]) -> list[Decoded] | None:
        """Take the answer; return the record's own, in message order, once it is complete."""
        if self.part is None:
            return answer
        self.record.parts[self.part] = answer
        found = [part for part in self.record.parts if part is not None]
        if len(found) < len(self.record.parts):
            return None
        return [one for part in found for one in part]
