"""The bus inside one process: what demo, replay and tests run on."""

import time
from collections.abc import Generator, Mapping, Sequence

from streamer.bus.memory_broker import MemoryBroker
from streamer.bus.record import (
    Assignment,
    BusError,
    Commit,
    Membership,
    Outgoing,
    Partition,
    Polled,
    Record,
    Revoked,
)
from streamer.bus.sizes import RESERVE_BYTES

_LOT_RECORDS = 64
_LOT_BYTES = 16 * 2**20


def _ignore(partitions: Sequence[Partition]) -> None:
    """Nobody wants to know."""


class MemoryBus:
    """One instance of a group on a `MemoryBroker`; the protocol is `Bus`'s.

    reads: the topics that the group divides; writes: topics that must exist, too. Raises
    BusError where one does not. Joins the group at once; a bus made later with the same group
    and instance replaces this one.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        reads: Sequence[str],
        *,
        writes: Sequence[str] = (),
        group_id: str = "memory",
        instance: str = "memory",
        revoked: Revoked = _ignore,
        lost: Revoked = _ignore,
    ) -> None:
        self._broker = broker
        self._instance = instance
        self._revoked, self._lost = revoked, lost
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._held: tuple[Partition, ...] = ()
        self._turn = 0
        with broker.changed:
            for topic in writes:
                broker.partitions(topic)
            self._wanted = [p for topic in reads for p in broker.partitions(topic)]
            self._group = broker.group(group_id)
            self._epoch = self._group.join(instance, self._wanted)
            broker.changed.notify_all()

    def poll(self, timeout_s: float) -> Polled:
        """Wait for records of partitions that are started and not paused; see `Bus.poll`."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._let_go()
            with self._broker.changed:
                polled = self._look()
                left_s = deadline - time.monotonic()
                if polled or left_s <= 0:
                    return polled or Polled()
                self._broker.changed.wait(left_s)

    def start(self, partition: Partition, offset: int) -> None:
        """Read an assigned partition from `offset` on; it is no longer paused."""
        if partition not in self._held:
            raise BusError(f"{partition.topic} {partition.number} is not ours to start")
        self._positions[partition] = offset
        self._paused.discard(partition)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop reading these; polling goes on."""
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Read these again from where they stopped."""
        self._paused.difference_update(partitions)

    def position(self, partition: Partition) -> int:
        """Return the offset of the next record to be read."""
        if partition not in self._positions:
            raise BusError(f"{partition.topic} {partition.number} was not started")
        return self._positions[partition]

    def end_offset(self, partition: Partition) -> int:
        """Return the offset after the last record: where a reader has caught up."""
        with self._broker.changed:
            return self._broker.log(partition).next_offset

    def beginning_offset(self, partition: Partition) -> int:
        """Return the lowest offset that the topic still holds."""
        with self._broker.changed:
            return self._broker.log(partition).first_offset

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """Return the first offset not older than a time, or the end where there is none."""
        with self._broker.changed:
            return self._broker.log(partition).offset_at(timestamp_ms)

    def timestamp_at(self, partition: Partition, offset: int) -> int | None:
        """Return the time of the first record from `offset` on, None at the end."""
        with self._broker.changed:
            log = self._broker.log(partition)
            found = log.read(max(offset, log.first_offset), 1, 1)
        return found[0].timestamp_ms if found else None

    def history(self, topic: str, since_ms: int) -> Generator[Sequence[Record], None, None]:
        """Yield a topic's records since a time, up to the end as it is when the first is asked."""
        with self._broker.changed:
            spans = [
                (p, self._broker.log(p).offset_at(since_ms), self._broker.log(p).next_offset)
                for p in self._broker.partitions(topic)
            ]
        for partition, begin, end in spans:
            offset = begin
            while offset < end:
                with self._broker.changed:
                    found = self._broker.log(partition).read(offset, _LOT_RECORDS, _LOT_BYTES)
                lot = [r for r in found if r.offset < end and r.timestamp_ms >= since_ms]
                offset = found[-1].offset + 1 if found else end
                if lot:
                    yield lot

    def membership(self) -> Membership:
        """Take the proof that goes with the next `publish`."""
        with self._broker.changed:
            self._group.is_lost(self._instance, self._epoch)
            return Membership(self._group.token(self._instance))

    def publish(
        self,
        records: Sequence[Outgoing],
        commits: Mapping[Partition, Commit],
        membership: Membership,
    ) -> None:
        """Write records and commits in one transaction; see `Bus.publish`."""
        with self._broker.changed:
            self._group.check(self._instance, membership.token)
            self._broker.transact(records, self._group, commits)

    def record_limit(self, topic: str) -> int:
        """Return the largest record value, in bytes, that a topic takes with key and headers."""
        return max(0, self._broker.limit_bytes(topic) - RESERVE_BYTES)

    def close(self) -> None:
        """Leave the group; the others get what we held."""
        with self._broker.changed:
            self._group.leave(self._instance, self._epoch)
            self._broker.changed.notify_all()

    def _let_go(self) -> None:
        # The callbacks publish and ask for positions, so they run without the broker's lock.
        with self._broker.changed:
            is_lost = self._group.is_lost(self._instance, self._epoch)
            revoked = () if is_lost else self._group.to_give_back(self._instance)
        if is_lost:
            self._forget(self._lost)
            with self._broker.changed:
                self._epoch = self._group.join(self._instance, self._wanted)
                self._broker.changed.notify_all()
        elif revoked:
            self._forget(self._revoked)
            with self._broker.changed:
                self._group.give_back(self._instance, self._epoch)
                self._broker.changed.notify_all()

    def _forget(self, tell: Revoked) -> None:
        if self._held:
            tell(self._held)
        self._held = ()
        self._positions.clear()
        self._paused.clear()

    def _look(self) -> Polled | None:
        dealt = self._group.newly_dealt(self._instance, self._epoch)
        if dealt is not None:
            self._held = dealt
            commits = self._group.commits
            assigned = tuple(Assignment(p, commits.get(p)) for p in dealt)
            return Polled(assigned=assigned, is_dealt=True)
        for partition in self._in_turn():
            offset, log = self._positions[partition], self._broker.log(partition)
            if not log.first_offset <= offset <= log.next_offset:
                del self._positions[partition]
                return Polled(out_of_range=((partition, offset),))
            found = log.read(offset, _LOT_RECORDS, _LOT_BYTES)
            # Past the last record there may be the end of a transaction, which is no record.
            self._positions[partition] = found[-1].offset + 1 if found else log.next_offset
            if found:
                return Polled(records=found)
        return None

    def _in_turn(self) -> list[Partition]:
        self._turn += 1
        ready = [p for p in self._held if p in self._positions and p not in self._paused]
        at = self._turn % len(ready) if ready else 0
        return ready[at:] + ready[:at]
