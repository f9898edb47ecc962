"""What happens between the assignment of partitions and their first record."""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime

from streamer.bus.record import Assignment, Bus, Commit, Partition, Record
from streamer.headers import read_identity
from streamer.intake.assembly import Assembler
from streamer.intake.events import EndedRun, EndedStep
from streamer.records import RecordError
from streamer.sections import InputSettings

log = logging.getLogger(__name__)


class Joining:
    """Partitions that are ours and wait until it is read back which steps have ended.

    They are paused meanwhile; polling goes on between the lots that are read.
    """

    def __init__(
        self,
        settings: InputSettings,
        steps_topic: str,
        bus: Bus,
        assembler: Assembler,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._steps_topic = steps_topic
        self._bus = bus
        self._assembler = assembler
        self._now = now
        self._waiting: list[Assignment] = []
        self._first_offsets: dict[Partition, int] = {}
        self._history: Generator[Sequence[Record], None, None] | None = None
        self._ended: list[EndedStep | EndedRun] = []

    @property
    def is_pending(self) -> bool:
        """Whether any partition waits to be started."""
        return bool(self._waiting)

    def add(self, assigned: Sequence[Assignment]) -> None:
        """Let partitions wait, and begin to read back for all that do."""
        self.close()
        self._waiting += assigned
        self._ended = []
        self._history = self._bus.history(self._steps_topic, self._remembered_since_ms())

    def add_anew(self, partition: Partition, offset: int) -> None:
        """Let a partition wait whose topic was made anew, to be read from `offset`."""
        self._first_offsets[partition] = offset
        self.add([Assignment(partition, None)])

    def drop(self, partitions: Sequence[Partition]) -> None:
        """Forget partitions that left before they were started."""
        self._waiting = [a for a in self._waiting if a.partition not in partitions]

    def close(self) -> None:
        """Read back no further."""
        history, self._history = self._history, None
        if history is not None:
            history.close()

    def read_lot(self) -> list[Assignment] | None:
        """Read one lot; at the end return the partitions to be started. None: not at work."""
        if self._history is None:
            return None
        lot = next(self._history, None)
        if lot is not None:
            self._ended += list(_identities(lot))
            return []
        self._assembler.restore(
            [e for e in self._ended if isinstance(e, EndedStep)],
            [e for e in self._ended if isinstance(e, EndedRun)],
            [a.partition.number for a in self._waiting],
        )
        log.info("read back %d records of ended steps and runs", len(self._ended))
        self._history, self._ended = None, []
        ready, self._waiting = self._waiting, []
        return ready

    def first_commit(self, assignment: Assignment) -> Commit:
        """Return what was committed, or where the configuration begins when nothing ever was."""
        if assignment.committed is not None:
            return assignment.committed
        partition, start = assignment.partition, self._settings.start_at
        if partition in self._first_offsets:
            return Commit(self._first_offsets.pop(partition))
        if start.time is not None:
            return Commit(self._bus.offset_at(partition, int(start.time.timestamp() * 1000)))
        if start.where == "latest":
            return Commit(self._bus.end_offset(partition))
        return Commit(self._bus.beginning_offset(partition))

    def _remembered_since_ms(self) -> int:
        """Return how far back ended steps matter: a horizon before the oldest record to be read.

        After an outage of days that is long ago, and its backlog may hold repeats of then.
        """
        oldest = [self._now().timestamp() * 1000]
        for assignment in self._waiting:
            if assignment.committed is not None:
                next_offset = assignment.committed.next_offset
                found = self._bus.timestamp_at(assignment.partition, next_offset)
                oldest += [] if found is None else [found]
        return int(min(oldest) - self._settings.repeat_horizon_h * 3_600_000)


def _identities(lot: Sequence[Record]) -> Iterator[EndedStep | EndedRun]:
    for record in lot:
        try:
            yield read_identity(record.headers)
        except RecordError as error:
            log.warning("%s, offset %d: %s", record.partition, record.offset, error)
