"""Fields of one partition that wait until their step is whole; a pure state machine.

All fields of a step share a key, and so a partition. Its record lies in another topic and says
which fields belong together, by id and SHA-256. What waits holds the frontier: the offset up to
which nothing is needed any more.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from streamer.bus.record import Record
from streamer.records import StepRecord

_ID = "ce_id"


@dataclass(slots=True)
class _Waiting:
    """A field whose step is not whole, and every place where it lies."""

    key: bytes
    value: bytes
    offsets: list[int]
    timestamp_ms: int
    is_claimed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Claim:
    """A step's record, and the fields that it lists, by id and sum.

    until: where its partition ended when the record was found. The transaction was whole then,
    so what has not come by there was deleted.
    """

    record: StepRecord
    names: tuple[tuple[str, str], ...]
    until: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A step of which every field is there; messages in the order of the record's list.

    timestamp_ms: when the newest of them was published.
    """

    record: StepRecord
    messages: Sequence[bytes]
    timestamp_ms: int


class Gathering:
    """What has been read of one partition and not been written."""

    def __init__(self) -> None:
        self._fields: dict[tuple[str, str], _Waiting] = {}
        self._claims: list[_Claim] = []
        self.size_bytes = 0

    def add(self, record: Record) -> None:
        """Take a field as it was read."""
        told = dict(record.headers).get(_ID, b"").decode(errors="replace")
        name = (told, hashlib.sha256(record.value).hexdigest())
        there = self._fields.get(name)
        if there is not None:
            there.offsets.append(record.offset)
            return
        self._fields[name] = _Waiting(
            record.key or b"", record.value, [record.offset], record.timestamp_ms
        )
        self.size_bytes += len(record.value)

    @property
    def unclaimed(self) -> dict[bytes, int]:
        """The keys of steps whose record is not known, and when their first field was published."""
        found: dict[bytes, int] = {}
        for field in self._fields.values():
            if not field.is_claimed:
                found[field.key] = min(field.timestamp_ms, found.get(field.key, 2**63))
        return found

    def claim(self, record: StepRecord, until: int) -> bool:
        """Note which fields belong together; False where none of them waits for this record."""
        names = _names(record)
        mine = [self._fields[name] for name in names if name in self._fields]
        if all(field.is_claimed for field in mine):
            return False
        for field in mine:
            field.is_claimed = True
        self._claims.append(_Claim(record, names, until))
        return True

    def ready(self) -> Ready | None:
        """Return the first step that is whole, None where there is none; `done` lets go of it.

        The first by where it lies: so the frontier moves with every step, and of two that share
        a file the later one is written last.
        """
        whole = (claim for claim in self._claims if self._is_whole(claim))
        first = min(whole, key=self._place, default=None)
        if first is None:
            return None
        fields = [self._fields[name] for name in first.names]
        newest = max(field.timestamp_ms for field in fields)
        return Ready(first.record, [field.value for field in fields], newest)

    def done(self, record: StepRecord) -> None:
        """Let go of a step's fields: they are written, or never will be."""
        names = _names(record)
        self._claims = [claim for claim in self._claims if claim.names != names]
        for name in names:
            self._drop(name)

    def give_up_unclaimed(self) -> list[bytes]:
        """Let go of fields that no record lists; returns the keys of their steps."""
        orphans = {name: f.key for name, f in self._fields.items() if not f.is_claimed}
        for name in orphans:
            self._drop(name)
        return sorted(set(orphans.values()))

    def give_up_torn(self, position: int) -> list[StepRecord]:
        """Let go of steps that will never be whole, the partition being read up to `position`."""
        torn = [
            claim.record
            for claim in self._claims
            if position >= claim.until and not self._is_whole(claim)
        ]
        for record in torn:
            self.done(record)
        return torn

    def frontier(self, position: int) -> int:
        """Return the offset before which nothing waits, the partition being read to `position`."""
        return min((min(field.offsets) for field in self._fields.values()), default=position)

    def _is_whole(self, claim: _Claim) -> bool:
        return all(name in self._fields for name in claim.names)

    def _place(self, claim: _Claim) -> int:
        return min(self._fields[name].offsets[0] for name in claim.names)

    def _drop(self, name: tuple[str, str]) -> None:
        field = self._fields.pop(name, None)
        if field is not None:
            self.size_bytes -= len(field.value)


def _names(record: StepRecord) -> tuple[tuple[str, str], ...]:
    return tuple((entry.id, entry.sha256) for entry in record.fields)
