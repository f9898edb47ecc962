"""What a partition's records are still needed for, and what may be committed of it.

Every record that is read opens its offset and holds it until it is decoded; each of its messages
that an unfinished step needs holds it once more. When the last hold is released the offset is
closed, and its dead letters travel in the next transaction, which is the one that says so.
"""

from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np

from engines.errors import DownscaledError
from streamer.intake import offsets

Letter = TypeVar("Letter")

# Apache Kafka's offset.metadata.max.bytes.
METADATA_BYTES = 4096


class LedgerError(DownscaledError):
    """A use of the ledger that would lose or double a record: a fault of ours."""

    reason: ClassVar[str] = "ledger"


class LedgerFull(LedgerError):
    """The closed set does not fit the metadata: expire a step before committing."""

    reason: ClassVar[str] = "ledger_full"


@dataclass(frozen=True, slots=True)
class Prepared(Generic[Letter]):
    """A snapshot that goes with one transaction: what to commit, and the letters that close."""

    next_offset: int
    metadata: str
    dead_letters: tuple[Letter, ...]


class Ledger(Generic[Letter]):
    """The frontier and the closed set of one partition, from one assignment to its end.

    Offsets are opened in rising order, all that are read, before `position` passes them.
    """

    def __init__(
        self, next_offset: int, metadata: str = "", limit_bytes: int = METADATA_BYTES
    ) -> None:
        """Go on from what was committed; raises MetadataError where that is not ours."""
        unread, self._end = offsets.decode(next_offset, metadata)
        self._unread: deque[int] = deque(unread.tolist())
        self._awaited = set(self._unread)
        self._holds: dict[int, int] = {}  # rises, since offsets are opened in order
        self._letters: dict[int, dict[int, Letter]] = {}  # by offset, then message
        self._due_letters: list[Letter] = []
        self._limit_bytes = limit_bytes
        self._metadata: str | None = None
        self._is_settled = True

    @property
    def is_settled(self) -> bool:
        """Whether the last snapshot still says all: nothing was opened or closed after it."""
        return self._is_settled

    @property
    def open_count(self) -> int:
        """How many offsets that were read are still needed."""
        return len(self._holds)

    def is_closed(self, offset: int) -> bool:
        """Whether an offset needs nothing more: closed here, or before a restart."""
        return offset < self._end and offset not in self._holds and offset not in self._awaited

    def open(self, offset: int) -> bool:
        """Hold a record that was read once; False where it was closed before: skip it then."""
        self._pass_by(offset)
        if self._unread and self._unread[0] == offset:
            self._awaited.discard(self._unread.popleft())
        elif offset < self._end:
            return False
        self._end = max(self._end, offset + 1)
        self._holds[offset] = 1
        self._touch()
        return True

    def retain(self, offset: int) -> None:
        """Hold an open offset once more."""
        self._holds[self._open(offset)] += 1

    def release(self, offset: int) -> bool:
        """Let go of one hold; True when it was the last one and the offset is closed."""
        self._holds[self._open(offset)] -= 1
        if self._holds[offset]:
            return False
        del self._holds[offset]
        self._due_letters += self._letters.pop(offset, {}).values()
        self._touch()
        return True

    def add_dead_letter(self, offset: int, letter: Letter, message: int = 0) -> None:
        """Keep the dead letter of a message until the transaction that closes its offset."""
        self._letters.setdefault(self._open(offset), {})[message] = letter

    def send_dead_letter(self, offset: int, message: int) -> None:
        """Let a dead letter go with the next transaction, although its offset stays open.

        For a message that nothing would refuse again after a restart; no letter there is no fault.
        """
        letter = self._letters.get(offset, {}).pop(message, None)
        if letter is not None:
            self._due_letters.append(letter)
            self._is_settled = False

    def frontier(self, position: int) -> int:
        """Return the lowest offset that is still needed, else what is to be read next.

        position: the consumer's; every record below it has been opened.
        """
        self._pass_by(position)
        if self._holds:
            return next(iter(self._holds))
        return self._unread[0] if self._unread else max(position, self._end)

    def fits(self, position: int, share: float = 1.0) -> bool:
        """Whether the closed set fits a share of the metadata's limit; cheap where it does easily.

        Ask with a share below 1 to stop in time: closing an offset can split a run in two.
        """
        limit = int(share * self._limit_bytes)
        self._pass_by(position)
        count = len(self._holds) + len(self._unread)
        # Each open offset costs two runs at most, none longer than the whole window.
        widest = 1 + (self._end - self.frontier(position)).bit_length() // 7
        return 2.5 * count * widest + 8 <= limit or len(self._text()) <= limit

    def prepare(self, position: int) -> Prepared[Letter]:
        """Snapshot what the next transaction commits; its dead letters are given out once.

        All that was released before goes with this very transaction, and with none before it.
        Raises LedgerFull, changing nothing, where the closed set does not fit.
        """
        next_offset = self.frontier(position)
        text = self._text()
        if len(text) > self._limit_bytes:
            raise LedgerFull(
                f"closed set at offset {next_offset} takes {len(text)} bytes, "
                f"the metadata has room for {self._limit_bytes}"
            )
        letters, self._due_letters = tuple(self._due_letters), []
        self._is_settled = True
        return Prepared(next_offset, text, letters)

    def _text(self) -> str:
        if self._metadata is None:
            count = len(self._holds) + len(self._unread)
            still_open = np.fromiter((*self._holds, *self._unread), np.int64, count)
            self._metadata = offsets.encode(still_open, self._end)
        return self._metadata

    def _pass_by(self, position: int) -> None:
        """Give up unread offsets below `position`: retention took their records away."""
        while self._unread and self._unread[0] < position:
            self._awaited.discard(self._unread.popleft())
            self._touch()

    def _open(self, offset: int) -> int:
        if offset not in self._holds:
            raise LedgerError(f"offset {offset} is not open, the ledger ends at {self._end}")
        return offset

    def _touch(self) -> None:
        self._metadata = None
        self._is_settled = False
