"""The bus on Apache Kafka: a member of a consumer group, and its transactions."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from streamer.bus import client
from streamer.bus.history import offset_at, read_history, record_of, timestamp_at
from streamer.bus.publisher import Publisher
from streamer.bus.record import (
    Assignment,
    BusError,
    Commit,
    Membership,
    Outgoing,
    Partition,
    Polled,
    Record,
    Replaced,
    Revoked,
)
from streamer.bus.settings import BusSettings
from streamer.bus.sizes import RESERVE_BYTES, size_bytes, too_large_text
from streamer.bus.topics import limits

_SECOND_MS = 1000
_JOINING_S = 0.05
#: How long the loop may wait for an answer that it asks for all the time.
_ASKED_OFTEN_MS = 5000


def _ignore(partitions: Sequence[Partition]) -> None:
    """Nobody wants to know."""


class KafkaBus:
    """One instance of a group on Apache Kafka; the protocol is `Bus`'s.

    reads: the topics that the group divides. writes: the topics that `publish` is meant for; they
    are looked up now, so that a missing one is known before the first record is read.
    revoked, lost: called on the polling thread while the group waits; the heartbeats go on.
    Raises BusError when no broker answers in `connect_timeout_s`, or a topic does not exist.
    """

    def __init__(
        self,
        settings: BusSettings,
        reads: Sequence[str],
        *,
        writes: Sequence[str] = (),
        revoked: Revoked = _ignore,
        lost: Revoked = _ignore,
    ) -> None:
        self._settings = settings
        self._revoked, self._lost = revoked, lost
        self._started: set[Partition] = set()
        self._fresh: list[Partition] | None = None
        self._limits = limits(settings, [*reads, *writes])
        # First the producer: it ends what a dead predecessor left open, and fences a live one.
        self._publisher = Publisher(settings)
        self._consumer: Any = client.open_consumer(settings, in_group=True)
        # A broker answers one connection's requests in their order, and a fetch may wait there
        # for half a second: what is asked in between goes another way.
        self._asker: Any = client.open_consumer(settings, in_group=False)
        self._listener = client.Listener(self._take)
        self._consumer.subscribe(topics=list(reads), listener=self._listener)
        with client.translated(settings):
            client.look_up(self._consumer, reads, settings.connect_timeout_s)

    def poll(self, timeout_s: float) -> Polled:
        """Wait for records of partitions that are started and not paused; see `Bus.poll`."""
        # Without partitions the client waits to the end even when it is given some meanwhile.
        wait_s = timeout_s if self._listener.held else min(timeout_s, _JOINING_S)
        try:
            with client.translated(self._settings):
                found = self._consumer.poll(timeout_ms=wait_s * _SECOND_MS)
        except client.GiveBack as going:
            self._let_go(going)
            return Polled()
        except BusError as error:
            if isinstance(error.__cause__, client.OffsetOutOfRange):
                return self._out_of_range(error.__cause__)
            raise
        if client.is_fenced(self._consumer):
            raise Replaced(self._settings.group_id, self._settings.instance)
        if self._fresh is not None:
            fresh, self._fresh = self._fresh, None
            dealt = [Assignment(p, self._committed(p)) for p in fresh]
            return Polled(assigned=dealt, is_dealt=True)
        return Polled(records=[record_of(r) for lot in found.values() for r in lot])

    def start(self, partition: Partition, offset: int) -> None:
        """Read an assigned partition from `offset` on; it is no longer paused."""
        if partition not in self._listener.held:
            raise BusError(f"{partition.topic} {partition.number} is not ours to start")
        self._consumer.seek(_key(partition), offset)
        self._consumer.resume(_key(partition))
        self._started.add(partition)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop reading these; polling goes on, and keeps us in the group."""
        self._consumer.pause(*(_key(p) for p in partitions))

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Read these again from where they stopped."""
        self._consumer.resume(*(_key(p) for p in partitions))

    def position(self, partition: Partition) -> int:
        """Return the offset of the next record to be read, past any transaction markers."""
        if partition not in self._started:
            raise BusError(f"{partition.topic} {partition.number} was not started")
        with client.translated(self._settings):
            return int(self._consumer.position(_key(partition)))

    def end_offset(self, partition: Partition) -> int:
        """Return the offset after the last stable record: where a reader has caught up."""
        key = _key(partition)
        with client.translated(self._settings):
            return int(self._asker.end_offsets([key], timeout_ms=_ASKED_OFTEN_MS)[key])

    def beginning_offset(self, partition: Partition) -> int:
        """Return the lowest offset that the topic still holds."""
        key = _key(partition)
        with client.translated(self._settings):
            return int(self._asker.beginning_offsets([key])[key])

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """Return the first offset not older than a time, or the end where there is none."""
        return offset_at(self._asker, self._settings, partition, timestamp_ms)

    def timestamp_at(self, partition: Partition, offset: int) -> int | None:
        """Return the time of the first record from `offset` on, None at the end."""
        return timestamp_at(self._asker, self._settings, partition, offset)

    def history(self, topic: str, since_ms: int) -> Generator[Sequence[Record], None, None]:
        """Yield a topic's committed records since a time, up to the high watermark taken now.

        Yields an empty lot now and then while it waits, as for another's open transaction.
        """
        return read_history(self._settings, topic, since_ms)

    def membership(self) -> Membership:
        """Take the proof that goes with the next `publish`; on the polling thread."""
        return Membership(self._consumer.group_metadata())

    def publish(
        self,
        records: Sequence[Outgoing],
        commits: Mapping[Partition, Commit],
        membership: Membership,
    ) -> None:
        """Write records and commits in one transaction; see `Bus.publish`."""
        for record in records:
            if size_bytes(record) > self._limit(record.topic):
                raise BusError(
                    too_large_text(record.topic, size_bytes(record), self._limit(record.topic))
                )
        self._publisher.publish(records, commits, membership)

    def record_limit(self, topic: str) -> int:
        """Return the largest record value, in bytes, that a topic takes with key and headers."""
        return max(0, self._limit(topic) - RESERVE_BYTES)

    def close(self) -> None:
        """Leave; a static member keeps its partitions for the session timeout."""
        self._listener.held = []
        self._publisher.close()
        self._asker.close(autocommit=False, timeout_ms=_SECOND_MS)
        self._consumer.close(autocommit=False, timeout_ms=_SECOND_MS)

    def _limit(self, topic: str) -> int:
        if topic not in self._limits:
            self._limits.update(limits(self._settings, [topic]))
        return self._limits[topic]

    def _take(self, assigned: list[Any]) -> None:
        # A partition comes back unpaused, and one without a position would be looked up by the
        # client in its own way: so both are settled here, without asking the broker.
        self._started.clear()
        for key in assigned:
            self._consumer.seek(key, 0)
        self._consumer.pause(*assigned)
        self._fresh = [Partition(*key) for key in assigned]

    def _committed(self, partition: Partition) -> Commit | None:
        with client.translated(self._settings):
            found = self._consumer.committed(
                _key(partition),
                metadata=True,
                # A dead instance's transaction may hold the offset back until it is ended.
                timeout_ms=(self._settings.transaction_timeout_s + 30) * _SECOND_MS,
            )
        return None if found is None else Commit(found.offset, found.metadata or "")

    def _let_go(self, going: client.GiveBack) -> None:
        (self._lost if going.is_lost else self._revoked)(going.partitions)
        self._listener.held = []
        self._started.clear()
        self._fresh = None

    def _out_of_range(self, error: Any) -> Polled:
        found = [(Partition(*key), offset) for key, offset in error.args[0].items()]
        for partition, _ in found:
            self._consumer.seek(_key(partition), 0)
            self._consumer.pause(_key(partition))
            self._started.discard(partition)
        return Polled(out_of_range=found)


def _key(partition: Partition) -> Any:
    return client.TopicPartition(partition.topic, partition.number)
