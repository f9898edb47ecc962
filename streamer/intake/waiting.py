"""A step that waits for its fields, and why it cannot keep one; what is left of it in flight."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as of
from datetime import datetime

from streamer.domain import Field, Origin, Reason, Rejected
from streamer.intake.events import DuplicateField


@dataclass(slots=True)
class WaitingStep:
    """A step with some of its fields, all from one partition and on one grid.

    newest: record time. seen: every message that came for it. rejected: those of its own
    partition that it refused; another partition's ledger is not part of its transaction.
    """

    partition: int
    grid: str
    newest: datetime
    fields: dict[str, tuple[Field, Origin]] = of(default_factory=dict)
    seen: list[Origin] = of(default_factory=list)
    rejected: list[Origin] = of(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """What its fields hold in memory."""
        return sum(
            field.coarse.nbytes + field.interpolated.nbytes + len(field.message)
            for field, _ in self.fields.values()
        )

    @property
    def lowest_offset(self) -> int:
        """The lowest offset that it holds."""
        return min(origin.offset for _, origin in self.fields.values())

    def take(
        self, field: Field, origin: Origin, time: datetime
    ) -> Rejected | DuplicateField | None:
        """Keep a field, or say why not; the first to come decides."""
        self.seen.append(origin)
        refused = self._refused(field, origin)
        if isinstance(refused, Rejected) and origin.partition == self.partition:
            self.rejected.append(origin)
        if refused is None:
            self.fields[field.parameter] = (field, origin)
            self.newest = max(self.newest, time)
        return refused

    def _refused(self, field: Field, origin: Origin) -> Rejected | DuplicateField | None:
        where = f"{field.parameter} of {field.key.text}"
        if origin.partition != self.partition:
            return Rejected(
                Reason.SPLIT,
                f"{where} came from partition {origin.partition}, the step's first field from "
                f"partition {self.partition}; all records of a step must share one",
            )
        if field.parameter in self.fields:
            first, _ = self.fields[field.parameter]
            return DuplicateField(origin, first.digest == field.digest)
        if field.grid != self.grid:
            return Rejected(
                Reason.GRID_MISMATCH,
                f"{where} is on grid {field.grid}, the step's first field on {self.grid}",
            )
        return None


@dataclass(frozen=True, slots=True)
class FlyingStep:
    """A complete step on its way through the engine: enough to know its duplicates.

    newest: record time. digests: of its messages, by parameter.
    """

    partition: int
    newest: datetime
    digests: Mapping[str, bytes]
