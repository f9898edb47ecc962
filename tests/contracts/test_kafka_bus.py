"""The bus on a real Apache Kafka keeps the contract of a bus, and what only Kafka can show."""

import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import confluent_kafka as independent
import pytest

from streamer.bus.kafka import KafkaBus
from streamer.bus.publisher import Attempt
from streamer.bus.record import BusError, Commit, Outgoing, Partition, Revoked, Uncertain
from streamer.bus.settings import BusSettings
from tests.contracts.bus_contract import *  # noqa: F403 - the contract's tests run here
from tests.contracts.bus_contract import (
    PATIENCE_S,
    assigned,
    ignore,
    outgoing,
    polled,
    records,
    started,
)
from tests.kafka_broker import Broker, new_broker

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


def transactional(broker: Broker) -> independent.Producer:
    """Return somebody else's producer, with a transaction begun."""
    producer = independent.Producer(
        {"bootstrap.servers": broker.address, "transactional.id": uuid.uuid4().hex}
    )
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    return producer


def test_history_reads_what_an_open_transaction_of_another_hides(world: KafkaWorld) -> None:
    source, steps = world.topic(), world.topic()
    bus = world.open([source], writes=[steps])
    started(bus)
    other = transactional(world.broker)
    other.produce(steps, b"never committed")
    other.flush()
    bus.publish(outgoing(steps, "committed, but hidden"), {}, bus.membership())

    found: list[bytes] = []
    waited = False
    for lot in bus.history(steps, 0):
        found += [record.value for record in lot]
        if not lot and not waited:
            waited = True
            assert found == []
            other.abort_transaction()

    assert waited
    assert found == [b"committed, but hidden"]


def test_offsets_that_a_transaction_is_about_to_commit_are_waited_for(world: KafkaWorld) -> None:
    source = world.topic()
    dead = independent.Consumer(
        {"bootstrap.servers": world.broker.address, "group.id": world.group}
    )
    other = transactional(world.broker)
    other.send_offsets_to_transaction(
        [independent.TopicPartition(source, 0, 5)], dead.consumer_group_metadata()
    )

    with ThreadPoolExecutor(1) as pool:
        heir = pool.submit(assigned, world.open([source]))
        other.commit_transaction()
        [assignment] = heir.result(PATIENCE_S).values()

    dead.close()
    assert assignment.committed == Commit(5, "")


@pytest.mark.slow
def test_who_stops_polling_loses_the_partitions_and_gets_them_back(world: KafkaWorld) -> None:
    topic = world.topic()
    lost: list[Partition] = []
    settings = replace(
        world.broker.settings(world.group), session_timeout_s=6.0, max_poll_interval_s=6.0
    )
    bus = KafkaBus(settings, [topic], lost=lost.extend)
    [partition] = started(bus)
    stale = bus.membership()

    administrator = world.broker.administrator()
    deadline = time.monotonic() + PATIENCE_S
    while administrator.describe_consumer_groups([world.group])[world.group].result(30).members:
        assert time.monotonic() < deadline, "the silent member was never thrown out"
    with pytest.raises(BusError):
        bus.publish(outgoing(topic, "stale"), {partition: Commit(1)}, stale)
    again = assigned(bus)
    bus.start(partition, 0)
    bus.publish(outgoing(topic, "fresh"), {partition: Commit(2)}, bus.membership())
    bus.close()

    assert lost == [partition]
    assert again[partition].committed is None
    assert [value for _, _, value in world.read(topic)] == [b"fresh"]


def test_a_broker_that_is_not_there_is_named_in_time() -> None:
    settings = BusSettings(("localhost:1",), "wind", "one", connect_timeout_s=1.0)

    began = time.monotonic()
    with pytest.raises(BusError, match=r"no answer from a broker at localhost:1: .*REFUSED"):
        KafkaBus(settings, ["in"])

    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_a_broker_that_goes_away_costs_one_error_in_time_and_nothing_twice(tmp_path: Path) -> None:
    broker = new_broker(tmp_path / "kafka")
    source, topic = broker.create("in"), broker.create("out")
    settings = replace(broker.settings("wind"), request_timeout_s=2.0, transaction_timeout_s=4.0)
    bus = KafkaBus(settings, [source], writes=[topic])
    [partition] = started(bus)
    bus.publish(outgoing(topic, "before"), {partition: Commit(0, "1")}, bus.membership())

    broker.stop()
    began = time.monotonic()
    with pytest.raises(BusError, match=broker.address):
        bus.publish(outgoing(topic, "away"), {partition: Commit(0, "2")}, bus.membership())
    took = time.monotonic() - began
    broker.start()
    producer = broker.producer()
    producer.produce(source, b"after")
    producer.flush()
    polled(bus, lambda found: any(r.value == b"after" for r in found.records))
    bus.publish(outgoing(topic, "after"), {partition: Commit(1, "3")}, bus.membership())
    bus.close()

    assert took < 10
    assert [m.value() for m in broker.read(topic)] == [b"before", b"after"]
    broker.stop()


@pytest.mark.slow
def test_what_was_given_up_while_the_broker_slept_is_not_committed_when_it_wakes(
    tmp_path: Path,
) -> None:
    broker = new_broker(tmp_path / "kafka")
    source, topic = broker.create("in"), broker.create("out")
    settings = replace(broker.settings("wind"), request_timeout_s=3.0, transaction_timeout_s=4.0)
    bus = KafkaBus(settings, [source], writes=[topic])
    [partition] = started(bus)
    bus.publish(outgoing(topic, "before"), {partition: Commit(0, "1")}, bus.membership())

    broker.signal(signal.SIGSTOP)
    with pytest.raises(BusError, match=broker.address) as given_up:
        bus.publish(outgoing(topic, "asleep"), {partition: Commit(0, "2")}, bus.membership())
    broker.signal(signal.SIGCONT)
    polled(bus, lambda _: bus.end_offset(partition) == 0)
    bus.publish(outgoing(topic, "awake"), {partition: Commit(0, "3")}, bus.membership())
    bus.close()

    assert not isinstance(given_up.value, Uncertain)
    assert [m.value() for m in broker.read(topic)] == [b"before", b"awake"]
    broker.stop()


def test_a_transaction_is_either_given_up_or_committed() -> None:
    given_up, committed = Attempt(), Attempt()

    committed.begin_commit()

    assert given_up.give_up()
    assert not committed.give_up()
    with pytest.raises(BusError, match="given up"):
        given_up.begin_commit()


def test_bytes_in_flight_are_bounded_and_everything_arrives(world: KafkaWorld) -> None:
    source, topic = world.topic(), world.topic(partitions=3)
    settings = replace(world.broker.settings(world.group), max_in_flight_bytes=600_000)
    bus = KafkaBus(settings, [source], writes=[topic])
    started(bus)

    sent = [Outgoing(topic, b"%d" % n, bytes([n]) * 500_000) for n in range(12)]
    bus.publish(sent, {}, bus.membership())
    bus.close()

    assert sorted(value[0] for _, _, value in world.read(topic)) == list(range(12))


def test_a_record_larger_than_a_fetch_comes_alone(world: KafkaWorld) -> None:
    topic = world.topic(limit_bytes=4_000_000)
    settings = replace(world.broker.settings(world.group), fetch_max_bytes=1000)
    bus = KafkaBus(settings, [topic])
    started(bus)

    bus.publish([Outgoing(topic, b"key", b"v" * 3_000_000)], {}, bus.membership())
    [record] = records(bus, 1)
    bus.close()

    assert len(record.value) == 3_000_000
