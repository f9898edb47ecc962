"""A small broker inside the process: topics, transactions and groups for `MemoryBus`."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamer.bus.memory_group import Group
from streamer.bus.memory_log import Log
from streamer.bus.partitioner import partition_of
from streamer.bus.record import BusError, Commit, Outgoing, Partition, Record
from streamer.bus.sizes import size_bytes, too_large_text

_LIMIT_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class _Topic:
    logs: tuple[Log, ...]
    limit_bytes: int


class MemoryBroker:
    """Topics and groups shared by the `MemoryBus`es of one process; safe for many threads.

    Everything is kept until `take`, `delete_before` or a topic's `keep_bytes` removes it: who
    runs for long names one of them. clock: seconds since 1970, for the records' timestamps.
    """

    def __init__(
        self, topics: Mapping[str, int] | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.changed = threading.Condition()
        self._clock = clock
        self._topics: dict[str, _Topic] = {}
        self._groups: dict[str, Group] = {}
        self._unkeyed = itertools.count()
        for name, partitions in (topics or {}).items():
            self.create(name, partitions)

    def create(
        self,
        topic: str,
        partitions: int = 1,
        *,
        limit_bytes: int = _LIMIT_BYTES,
        keep_bytes: int | None = None,
    ) -> None:
        """Make a topic. limit_bytes: largest record; keep_bytes: what a partition may hold."""
        logs = tuple(Log(Partition(topic, n), keep_bytes) for n in range(partitions))
        with self.changed:
            if topic in self._topics:
                raise BusError(f"topic {topic} exists already")
            self._topics[topic] = _Topic(logs, limit_bytes)

    def append(self, records: Sequence[Outgoing], timestamp_ms: int | None = None) -> list[Record]:
        """Write records outside any transaction, as a plain producer does; returns them placed."""
        with self.changed:
            written = self._write(records, timestamp_ms)
            self.changed.notify_all()
        return written

    def transact(
        self, records: Sequence[Outgoing], group: Group, commits: Mapping[Partition, Commit]
    ) -> None:
        """Write records and commits as one; call with the lock held, after checking membership."""
        written = self._write(records, None)
        for partition in {record.partition for record in written}:
            self.log(partition).mark()
        group.commits.update(commits)
        self.changed.notify_all()

    def read(self, topic: str) -> list[Record]:
        """Return everything that a topic holds, by partition and offset."""
        with self.changed:
            logs = self._topic(topic).logs
            return [r for log in logs for r in log.read(0, log.next_offset, 2**62)]

    def take(self, topic: str) -> list[Record]:
        """Return everything that a topic holds, and let go of it."""
        with self.changed:
            logs = self._topic(topic).logs
            return [r for log in logs for r in log.delete_before(log.next_offset)]

    def delete_before(self, partition: Partition, offset: int) -> None:
        """Delete a partition's records below `offset`, as retention does."""
        with self.changed:
            self.log(partition).delete_before(offset)

    def committed(self, group: str, partition: Partition) -> Commit | None:
        """Return what a group last committed for a partition."""
        with self.changed:
            return self.group(group).commits.get(partition)

    def evict(self, group: str, instance: str) -> None:
        """Throw a silent member out of its group, as Kafka does after the session timeout."""
        with self.changed:
            self.group(group).evict(instance)
            self.changed.notify_all()

    def partitions(self, topic: str) -> list[Partition]:
        """Return a topic's partitions. Raises BusError when there is no such topic."""
        return [log.partition for log in self._topic(topic).logs]

    def limit_bytes(self, topic: str) -> int:
        """Return the largest record, in bytes, that a topic takes."""
        return self._topic(topic).limit_bytes

    def log(self, partition: Partition) -> Log:
        """Return a partition's log; hold the lock while using it."""
        logs = self._topic(partition.topic).logs
        if not 0 <= partition.number < len(logs):
            raise BusError(
                f"topic {partition.topic} has {len(logs)} partitions, no number {partition.number}"
            )
        return logs[partition.number]

    def group(self, name: str) -> Group:
        """Return a group, made at first use; hold the lock while using it."""
        return self._groups.setdefault(name, Group(name))

    def _topic(self, name: str) -> _Topic:
        if name not in self._topics:
            known = ", ".join(sorted(self._topics)) or "none"
            raise BusError(f"topic {name} does not exist in memory; there are: {known}")
        return self._topics[name]

    def _write(self, records: Sequence[Outgoing], timestamp_ms: int | None) -> list[Record]:
        placed = [(record, self._place(record)) for record in records]
        stamp = round(self._clock() * 1000) if timestamp_ms is None else timestamp_ms
        return [log.append(r.key, r.value, r.headers, stamp) for r, log in placed]

    def _place(self, record: Outgoing) -> Log:
        topic = self._topic(record.topic)
        size = size_bytes(record)
        if size > topic.limit_bytes:
            raise BusError(too_large_text(record.topic, size, topic.limit_bytes))
        if record.key is None:
            return topic.logs[next(self._unkeyed) % len(topic.logs)]
        return topic.logs[partition_of(record.key, len(topic.logs))]
