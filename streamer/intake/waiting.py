"""A step that waits for its fields, and why it cannot keep one; what is left of it in flight."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import field as of
from datetime import datetime

from streamer.domain import Field, Origin, Reason, Rejected, Slot
from streamer.intake.events import DuplicateField


@dataclass(slots=True)
class WaitingStep:
    """A step with some of its fields, all from one partition and on one grid.

    newest: record time. before: accumulations of the step before; a step may have nothing else
    yet. seen: every message that came for it. rejected: those of its own partition
    that it refused; another partition's ledger is not part of its transaction.
    """

    partition: int
    newest: datetime
    fields: dict[Slot, tuple[Field, Origin]] = of(default_factory=dict)
    before: dict[Slot, tuple[Field, Origin]] = of(default_factory=dict)
    seen: list[Origin] = of(default_factory=list)
    rejected: list[Origin] = of(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """What it holds in memory; a field that the step before waits with counts twice."""
        kept = (*self.fields.values(), *self.before.values())
        return sum(field.size_bytes for field, _ in kept)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where all that it holds came from."""
        return tuple(origin for _, origin in (*self.fields.values(), *self.before.values()))

    @property
    def lowest_offset(self) -> int:
        """The lowest offset that it holds."""
        return min(origin.offset for origin in self.origins)

    def take(
        self, field: Field, origin: Origin, time: datetime
    ) -> Rejected | DuplicateField | None:
        """Keep a field, or say why not; the first to come decides."""
        self.seen.append(origin)
        refused = self._refused(field, origin)
        if isinstance(refused, Rejected) and origin.partition == self.partition:
            self.rejected.append(origin)
        if refused is None:
            self.fields[field.slot] = (field, origin)
            self.newest = max(self.newest, time)
        return refused

    def borrow(self, field: Field, origin: Origin, time: datetime) -> None:
        """Keep an accumulation of the step before; its grid may be another, they are all ours."""
        self.seen.append(origin)
        # Its own step may end long before this one, and nothing is made from its message here.
        self.before[field.slot] = (replace(field, message=b""), origin)
        self.newest = max(self.newest, time)

    def give_back(self, slot: Slot) -> tuple[Origin, ...]:
        """Let go of an accumulation of the step before, if there is one."""
        kept = self.before.pop(slot, None)
        return () if kept is None else (kept[1],)

    def move(self, partition: int) -> tuple[Origin, ...]:
        """Go with the first own field to its partition; let go of what came from another."""
        if self.fields or partition == self.partition:
            return ()
        origins, self.partition = self.origins, partition
        self.before.clear()
        return origins

    def _refused(self, field: Field, origin: Origin) -> Rejected | DuplicateField | None:
        where = f"{field.parameter} of {field.key.text}"
        if origin.partition != self.partition:
            return Rejected(
                Reason.SPLIT,
                f"{where} came from partition {origin.partition}, the step's first field from "
                f"partition {self.partition}; all records of a step must share one",
            )
        if field.slot in self.fields:
            first, _ = self.fields[field.slot]
            return DuplicateField(origin, first.digest == field.digest)
        grid = next((first.grid for first, _ in self.fields.values()), field.grid)
        if field.grid != grid:
            return Rejected(
                Reason.GRID_MISMATCH,
                f"{where} is on grid {field.grid}, the step's first field on {grid}",
            )
        return None


@dataclass(frozen=True, slots=True)
class FlyingStep:
    """A complete step on its way through the engine: enough to know its duplicates.

    newest: record time. digests: of its messages.
    """

    partition: int
    newest: datetime
    digests: Mapping[Slot, bytes]
