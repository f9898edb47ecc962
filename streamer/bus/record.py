"""What a bus carries, and what the house asks of one: `MemoryBus` and `KafkaBus` both answer."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from engines.errors import DownscaledError

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read. timestamp_ms: milliseconds since 1970, UTC."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be written; the key decides its partition, as Java's murmur2 does."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """What is remembered of a partition: the next offset that is needed, and a note of ours."""

    next_offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A partition that is ours from now on. committed: None when nobody ever committed it."""

    partition: Partition
    committed: Commit | None


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought: new partitions first (paused, to be `start`ed), then records."""

    assigned: Sequence[Assignment] = ()
    records: Sequence[Record] = ()
    #: partitions whose next offset the broker no longer holds: (partition, offset wanted)
    out_of_range: Sequence[tuple[Partition, int]] = ()
    #: whether the group has just dealt its partitions out, perhaps none of them to us
    is_dealt: bool = False


class BusError(DownscaledError):
    """The bus failed at work and may succeed when tried again."""

    reason: ClassVar[str] = "bus"


class Fenced(BusError):
    """Our hold on the partitions is gone or renewed: what was sent did not happen.

    Poll, forget what was revoked or lost, and publish what is still ours with a new membership.
    """

    reason: ClassVar[str] = "fenced"


class Replaced(Fenced):
    """Somebody else runs under our instance name: this one must stop, it will not recover."""

    reason: ClassVar[str] = "replaced"

    def __init__(self, group: str, instance: str) -> None:
        super().__init__(
            f"instance {instance} of group {group} is held by another process that started "
            f"later, or was stopped for longer than its transaction may last; one name serves "
            f"one daemon: give each its own `bus.instance`"
        )


class Uncertain(BusError):
    """The commit of a transaction was asked for and never answered: it may have happened.

    Only the committed offsets can tell, so this process must end and a new one read them.
    """

    reason: ClassVar[str] = "uncertain"


@dataclass(frozen=True, slots=True)
class Membership:
    """Proof that we hold our partitions, taken on the polling thread before work is published."""

    token: object = field(compare=False, default=None)


class Bus(Protocol):
    """A partitioned log with consumer groups and transactions.

    `poll` and all that concerns reading belongs to one thread; `publish` may be called from one
    other thread. Partitions come out of `poll` paused; `start` says where each is read from.
    """

    def poll(self, timeout_s: float) -> Polled:
        """Wait for records of partitions that are started and not paused; call it often.

        Calls the `revoked` and `lost` callbacks given at construction, on this thread.
        """
        ...

    def start(self, partition: Partition, offset: int) -> None:
        """Read an assigned partition from `offset` on; it is no longer paused."""
        ...

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop reading these; polling goes on, and keeps us in the group."""
        ...

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Read these again from where they stopped."""
        ...

    def position(self, partition: Partition) -> int:
        """Return the offset of the next record to be read, past any transaction markers."""
        ...

    def end_offset(self, partition: Partition) -> int:
        """Return the offset after the last stable record: where a reader has caught up."""
        ...

    def beginning_offset(self, partition: Partition) -> int:
        """Return the lowest offset that the topic still holds."""
        ...

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """Return the first offset not older than a time, or the end where there is none."""
        ...

    def timestamp_at(self, partition: Partition, offset: int) -> int | None:
        """Return the time (ms) of the first record from `offset` on, None at the end."""
        ...

    def history(self, topic: str, since_ms: int) -> Generator[Sequence[Record], None, None]:
        """Yield a topic's committed records since a time, up to the high watermark taken now.

        Reads outside the group, in small lots, so that the caller can poll in between. Who does not
        read to the end closes it: left to the end of the interpreter, a reader of Kafka's waits for
        a thread that is gone, and the process never ends.
        """
        ...

    def membership(self) -> Membership:
        """Take the proof that goes with the next `publish`; on the polling thread."""
        ...

    def publish(
        self,
        records: Sequence[Outgoing],
        commits: Mapping[Partition, Commit],
        membership: Membership,
    ) -> None:
        """Write records and commits in one transaction; on return it is committed.

        Raises BusError when a topic does not exist, a record is above its topic's limit or the
        broker did not take it in time: nothing was written, the same may be published again.
        Raises Fenced when our hold on the partitions is gone, Replaced when another process took
        our instance name: nothing was written either. Raises Uncertain when only the last answer
        is missing.
        """
        ...

    def record_limit(self, topic: str) -> int:
        """Return the largest record value, in bytes, that a topic takes with key and headers."""
        ...

    def close(self) -> None:
        """Leave; a static member keeps its partitions for the session timeout."""
        ...


Revoked = Callable[[Sequence[Partition]], None]
