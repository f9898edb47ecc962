"""The bus in memory keeps the contract of a bus."""

from collections.abc import Sequence
from itertools import count

import pytest

from streamer.bus.memory import MemoryBus
from streamer.bus.memory_broker import MemoryBroker
from streamer.bus.record import Outgoing, Partition, Revoked
from tests.contracts.bus_contract import *  # noqa: F403 - the contract's tests run here
from tests.contracts.bus_contract import ignore


class MemoryWorld:
    """A broker in memory, seen from outside."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self._names = (f"topic{n}" for n in count())

    def topic(self, partitions: int = 1, limit_bytes: int = 1_000_000) -> str:
        name = next(self._names)
        self.broker.create(name, partitions, limit_bytes=limit_bytes)
        return name

    def open(
        self,
        reads: Sequence[str],
        *,
        writes: Sequence[str] = (),
        instance: str = "one",
        revoked: Revoked = ignore,
        lost: Revoked = ignore,
    ) -> MemoryBus:
        return MemoryBus(
            self.broker, reads, writes=writes, instance=instance, revoked=revoked, lost=lost
        )

    def feed(self, records: Sequence[Outgoing], timestamp_ms: int | None = None) -> None:
        self.broker.append(records, timestamp_ms)

    def read(self, topic: str) -> list[tuple[int, bytes | None, bytes]]:
        return [(r.partition.number, r.key, r.value) for r in self.broker.read(topic)]

    def delete_before(self, partition: Partition, offset: int) -> None:
        self.broker.delete_before(partition, offset)


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()
