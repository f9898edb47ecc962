"""What the broker in memory offers beside the contract of a bus."""

import pytest

from streamer.bus.memory import MemoryBus
from streamer.bus.memory_broker import MemoryBroker
from streamer.bus.record import BusError, Commit, Fenced, Outgoing, Partition

IN, OUT = Partition("in", 0), Partition("out", 0)


def outgoing(topic: str, *texts: str) -> list[Outgoing]:
    return [Outgoing(topic, b"key", text.encode()) for text in texts]


def ready(broker: MemoryBroker, instance: str = "memory") -> MemoryBus:
    bus = MemoryBus(broker, ["in"], writes=["out"], instance=instance)
    for assignment in bus.poll(0).assigned:
        bus.start(assignment.partition, 0)
    return bus


def test_a_topic_that_keeps_few_bytes_lets_the_oldest_go() -> None:
    broker = MemoryBroker()
    broker.create("out", keep_bytes=10)

    broker.append(outgoing("out", "aaaa", "bbbb", "cccc"))

    assert [r.value for r in broker.read("out")] == [b"bbbb", b"cccc"]
    assert broker.log(OUT).first_offset == 1
    assert broker.log(OUT).size_bytes == 8


def test_one_record_larger_than_what_is_kept_stays_until_the_next() -> None:
    broker = MemoryBroker()
    broker.create("out", keep_bytes=2)

    broker.append(outgoing("out", "large"))

    assert [r.value for r in broker.read("out")] == [b"large"]


def test_what_is_taken_is_gone_and_offsets_go_on() -> None:
    broker = MemoryBroker({"out": 1})
    broker.append(outgoing("out", "a"))

    taken = [r.value for r in broker.take("out")]
    [later] = broker.append(outgoing("out", "b"))

    assert taken == [b"a"]
    assert [r.value for r in broker.read("out")] == [b"b"]
    assert later.offset == 1


def test_timestamps_come_from_the_clock_that_is_passed_in() -> None:
    broker = MemoryBroker({"out": 1}, clock=lambda: 1_700_000_000.25)

    [record] = broker.append(outgoing("out", "a"))

    assert record.timestamp_ms == 1_700_000_000_250


def test_a_member_that_was_thrown_out_loses_its_partitions_and_comes_back() -> None:
    broker = MemoryBroker({"in": 1, "out": 1})
    lost: list[Partition] = []
    bus = MemoryBus(broker, ["in"], lost=lost.extend)
    bus.poll(0)
    bus.start(IN, 0)
    stale = bus.membership()

    broker.evict("memory", "memory")
    with pytest.raises(Fenced):
        bus.publish(outgoing("out", "stale"), {IN: Commit(1)}, stale)
    polled = bus.poll(0)

    assert lost == [IN]
    assert [a.partition for a in polled.assigned] == [IN]
    assert broker.read("out") == []


def test_a_silent_member_holds_up_the_others_until_it_is_thrown_out() -> None:
    broker = MemoryBroker({"in": 2, "out": 1})
    ready(broker, "silent")
    heir = MemoryBus(broker, ["in"], instance="heir")

    before = heir.poll(0).assigned
    broker.evict("memory", "silent")

    assert list(before) == []
    assert len(heir.poll(0).assigned) == 2


def test_the_end_of_a_transaction_takes_an_offset() -> None:
    broker = MemoryBroker({"in": 1, "out": 1})
    bus = ready(broker)

    for text in ("a", "b"):
        bus.publish(outgoing("out", text), {}, bus.membership())

    assert [r.offset for r in broker.read("out")] == [0, 2]


def test_a_partition_that_is_not_ours_cannot_be_started() -> None:
    broker = MemoryBroker({"in": 1, "out": 1})
    bus = ready(broker)

    with pytest.raises(BusError, match="out 0 is not ours to start"):
        bus.start(OUT, 0)


def test_a_topic_is_made_once() -> None:
    broker = MemoryBroker({"in": 1})

    with pytest.raises(BusError, match="topic in exists already"):
        broker.create("in")
