"""The bus on a real Apache Kafka keeps the contract of a bus, and what only Kafka can show."""

import uuid
from collections.abc import Iterator, Sequence

import confluent_kafka as independent
import pytest

from streamer.bus.kafka import KafkaBus
from streamer.bus.record import Outgoing, Partition, Revoked
from tests.contracts.bus_contract import *  # noqa: F403 - the contract's tests run here
from tests.contracts.bus_contract import ignore
from tests.kafka_broker import Broker

pytestmark = pytest.mark.kafka


class KafkaWorld:
    """A real broker, seen from outside with a client that is not the one under test."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.group = f"group-{uuid.uuid4().hex[:8]}"
        self._open: list[KafkaBus] = []

    def topic(self, partitions: int = 1, limit_bytes: int = 1_000_000) -> str:
        name = f"topic-{uuid.uuid4().hex[:8]}"
        return self.broker.create(name, partitions, {"max.message.bytes": str(limit_bytes)})

    def open(
        self,
        reads: Sequence[str],
        *,
        writes: Sequence[str] = (),
        instance: str = "one",
        revoked: Revoked = ignore,
        lost: Revoked = ignore,
    ) -> KafkaBus:
        settings = self.broker.settings(self.group, instance)
        bus = KafkaBus(settings, reads, writes=writes, revoked=revoked, lost=lost)
        self._open.append(bus)
        return bus

    def feed(self, records: Sequence[Outgoing], timestamp_ms: int | None = None) -> None:
        producer = self.broker.producer()
        for record in records:
            producer.produce(
                record.topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                timestamp=timestamp_ms or 0,
            )
        assert producer.flush(30) == 0

    def read(self, topic: str) -> list[tuple[int, bytes | None, bytes]]:
        return [(m.partition() or 0, m.key(), m.value() or b"") for m in self.broker.read(topic)]

    def delete_before(self, partition: Partition, offset: int) -> None:
        wanted = independent.TopicPartition(partition.topic, partition.number, offset)
        administrator = self.broker.administrator()
        for future in administrator.delete_records([wanted]).values():
            future.result(30)

    def close(self) -> None:
        for bus in self._open:
            bus.close()


@pytest.fixture
def world(kafka_broker: Broker) -> Iterator[KafkaWorld]:
    world = KafkaWorld(kafka_broker)
    yield world
    world.close()
