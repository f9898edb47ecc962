"""What every bus must do; the same tests run on memory and on a real Apache Kafka.

A module that offers the fixture `world` and names these tests runs them on its bus.
"""

import time
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Protocol

import pytest

from streamer.bus.partitioner import partition_of
from streamer.bus.record import (
    Assignment,
    Bus,
    BusError,
    Commit,
    Fenced,
    Outgoing,
    Partition,
    Polled,
    Record,
    Replaced,
    Revoked,
)

#: How long anything may take before the test gives up; nothing waits for it to pass.
PATIENCE_S = 40.0


def ignore(partitions: Sequence[Partition]) -> None:
    """Nobody wants to know."""


class World(Protocol):
    """A broker, and what a test does to it from outside."""

    def topic(self, partitions: int = 1, limit_bytes: int = 1_000_000) -> str:
        """Make a topic with a name of its own."""
        ...

    def open(
        self,
        reads: Sequence[str],
        *,
        writes: Sequence[str] = (),
        instance: str = "one",
        revoked: Revoked = ignore,
        lost: Revoked = ignore,
    ) -> Bus:
        """Open a bus of this world's one group; it is closed after the test."""
        ...

    def feed(self, records: Sequence[Outgoing], timestamp_ms: int | None = None) -> None:
        """Write records as a foreign producer does, without a transaction."""
        ...

    def read(self, topic: str) -> list[tuple[int, bytes | None, bytes]]:
        """Read partition, key and value of all committed records, as a foreign reader does."""
        ...

    def delete_before(self, partition: Partition, offset: int) -> None:
        """Delete records, as retention does."""
        ...


def polled(bus: Bus, until: Callable[[Polled], bool]) -> Polled:
    """Poll until something comes that is waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = bus.poll(0.2)
        if until(found):
            return found
    raise AssertionError(f"nothing of what was waited for came in {PATIENCE_S:g} s")


def assigned(bus: Bus) -> dict[Partition, Assignment]:
    """Poll until partitions are assigned."""
    return {a.partition: a for a in polled(bus, lambda p: bool(p.assigned)).assigned}


def started(bus: Bus, offset: int = 0) -> list[Partition]:
    """Poll until partitions are assigned, and start them all."""
    partitions = sorted(assigned(bus))
    for partition in partitions:
        bus.start(partition, offset)
    return partitions


def records(bus: Bus, count: int) -> list[Record]:
    """Poll until so many records have come."""
    found: list[Record] = []

    def enough(polled: Polled) -> bool:
        found.extend(polled.records)
        return len(found) >= count

    polled(bus, enough)
    return found


def values(found: Sequence[Record]) -> list[bytes]:
    return [record.value for record in found]


def outgoing(topic: str, *texts: str) -> list[Outgoing]:
    return [Outgoing(topic, b"key", text.encode()) for text in texts]


def test_partitions_come_out_of_poll_with_nothing_committed_and_paused(world: World) -> None:
    topic = world.topic(partitions=3)
    bus = world.open([topic])
    world.feed(outgoing(topic, "a"))

    found = assigned(bus)

    assert sorted(found) == [Partition(topic, n) for n in range(3)]
    assert all(a.committed is None for a in found.values())
    assert list(bus.poll(0.3).records) == []


def test_a_record_comes_back_as_it_was_written(world: World) -> None:
    topic = world.topic()
    bus = world.open([topic])
    started(bus)

    before = time.time() * 1000
    world.feed([Outgoing(topic, b"key", b"\x00value", (("name", b"\xff"), ("name", b"2")))])
    [record] = records(bus, 1)

    assert (record.partition, record.offset) == (Partition(topic, 0), 0)
    assert (record.key, record.value) == (b"key", b"\x00value")
    assert record.headers == (("name", b"\xff"), ("name", b"2"))
    assert before - 2000 < record.timestamp_ms < before + 10_000


def test_a_record_may_be_without_key_and_empty(world: World) -> None:
    topic = world.topic()
    bus = world.open([topic])
    started(bus)

    world.feed([Outgoing(topic, None, b"")])
    [record] = records(bus, 1)

    assert (record.key, record.value, record.headers) == (None, b"", ())


def test_records_of_a_partition_come_in_order_whatever_the_polls(world: World) -> None:
    topic = world.topic()
    bus = world.open([topic])
    started(bus)

    written = [b"%d" % n for n in range(300)]
    world.feed([Outgoing(topic, b"key", value) for value in written])

    assert values(records(bus, 300)) == written


def test_what_was_committed_is_there_for_the_next_with_3000_bytes_of_notes(world: World) -> None:
    topic, note = world.topic(), "é" + "n" * 2998
    bus = world.open([topic])
    [partition] = started(bus)
    world.feed(outgoing(topic, *"abc"))
    records(bus, 3)

    bus.publish([], {partition: Commit(2, note)}, bus.membership())
    bus.close()
    found = assigned(world.open([topic]))

    assert found[partition].committed == Commit(2, note)


def test_a_transaction_is_seen_whole_by_a_foreign_reader(world: World) -> None:
    source, fields, steps = world.topic(), world.topic(partitions=2), world.topic()
    bus = world.open([source], writes=[fields, steps])
    [partition] = started(bus)

    bus.publish(
        [*outgoing(fields, "f1", "f2"), *outgoing(steps, "s")],
        {partition: Commit(0, "x")},
        bus.membership(),
    )

    assert [value for _, _, value in world.read(fields)] == [b"f1", b"f2"]
    assert [value for _, _, value in world.read(steps)] == [b"s"]


def test_a_record_above_its_topics_limit_is_refused_and_nothing_is_written(world: World) -> None:
    source, wide, narrow = world.topic(), world.topic(), world.topic(limit_bytes=50_000)
    bus = world.open([source], writes=[wide, narrow])
    [partition] = started(bus)
    large = Outgoing(narrow, b"key", b"v" * 50_001)

    with pytest.raises(BusError, match=rf"{narrow}, 50000 bytes.*nothing was written"):
        bus.publish([*outgoing(wide, "a"), large], {partition: Commit(5)}, bus.membership())
    bus.publish(outgoing(wide, "b"), {}, bus.membership())
    bus.close()

    assert [value for _, _, value in world.read(wide)] == [b"b"]
    assert assigned(world.open([source]))[partition].committed is None


def test_a_value_of_record_limit_fits_with_key_and_headers(world: World) -> None:
    source, narrow = world.topic(), world.topic(limit_bytes=100_000)
    bus = world.open([source], writes=[narrow])
    started(bus)

    limit = bus.record_limit(narrow)
    headers = tuple((f"header{n}", b"h" * 50) for n in range(40))
    bus.publish([Outgoing(narrow, b"k" * 100, b"v" * limit, headers)], {}, bus.membership())

    assert 90_000 < limit < 100_000
    assert [len(value) for _, _, value in world.read(narrow)] == [limit]


def test_keys_lie_where_murmur2_puts_them_whoever_writes(world: World) -> None:
    source, topic = world.topic(), world.topic(partitions=5)
    keys = [f"kwbc/gfs/-/2018100800{n:02d}/0".encode() for n in range(40)]
    bus = world.open([source], writes=[topic])
    started(bus)

    world.feed([Outgoing(topic, key, b"theirs") for key in keys])
    bus.publish([Outgoing(topic, key, b"ours") for key in keys], {}, bus.membership())

    found = {(key, value): partition for partition, key, value in world.read(topic)}
    assert found == {(k, v): partition_of(k, 5) for k in keys for v in (b"ours", b"theirs")}


def test_a_paused_partition_is_silent_while_polling_goes_on(world: World) -> None:
    topic = world.topic(partitions=2)
    quiet, loud = (
        next(k for k in (b"%d" % n for n in range(99)) if partition_of(k, 2) == p) for p in (0, 1)
    )
    bus = world.open([topic])
    started(bus)

    bus.pause([Partition(topic, 0)])
    world.feed([Outgoing(topic, quiet, b"quiet"), Outgoing(topic, loud, b"loud")])
    while_paused = values(records(bus, 1)) + values(bus.poll(0.3).records)
    bus.resume([Partition(topic, 0)])

    assert while_paused == [b"loud"]
    assert values(records(bus, 1)) == [b"quiet"]


def test_the_position_of_a_reader_that_has_caught_up_is_the_end(world: World) -> None:
    topic = world.topic()
    bus = world.open([topic])
    [partition] = started(bus)
    for text in ("a", "b"):
        bus.publish(outgoing(topic, text), {}, bus.membership())

    found = records(bus, 2)
    polled(bus, lambda _: bus.position(partition) == bus.end_offset(partition))

    assert bus.position(partition) > found[-1].offset + 1, "the end of a transaction has an offset"


def test_reading_starts_where_it_is_told_to(world: World) -> None:
    topic = world.topic()
    world.feed(outgoing(topic, *"abcd"))
    bus = world.open([topic])

    [partition] = started(bus, offset=2)

    assert bus.position(partition) == 2
    assert values(records(bus, 2)) == [b"c", b"d"]


def test_offsets_are_found_by_time_and_the_future_is_the_end(world: World) -> None:
    topic, noon = world.topic(), 1_700_000_000_000
    for minute in range(3):
        world.feed(outgoing(topic, "x"), noon + minute * 60_000)
    bus = world.open([topic])
    [partition] = started(bus)

    found = [bus.offset_at(partition, noon + s * 1000) for s in (-1, 0, 60, 61, 120, 121)]

    assert found == [0, 0, 1, 2, 2, 3]
    assert (bus.beginning_offset(partition), bus.end_offset(partition)) == (0, 3)


def test_an_offset_that_was_deleted_is_reported_and_reading_goes_on_where_told(
    world: World,
) -> None:
    topic = world.topic()
    world.feed(outgoing(topic, *"abcdef"))
    partition = Partition(topic, 0)
    world.delete_before(partition, 4)
    bus = world.open([topic])
    started(bus, offset=1)

    gone = polled(bus, lambda p: bool(p.out_of_range)).out_of_range
    in_between = bus.poll(0.3)
    bus.start(partition, bus.beginning_offset(partition))

    assert list(gone) == [(partition, 1)]
    assert (list(in_between.records), list(in_between.out_of_range)) == ([], [])
    assert values(records(bus, 2)) == [b"e", b"f"]


def test_history_gives_what_was_written_since_a_time_from_all_partitions(world: World) -> None:
    topic, noon = world.topic(partitions=3), 1_700_000_000_000
    keys = [b"%d" % n for n in range(12)]
    world.feed([Outgoing(topic, key, b"old") for key in keys], noon)
    world.feed([Outgoing(topic, key, b"new") for key in keys], noon + 60_000)
    bus = world.open([topic])

    found = [record for lot in bus.history(topic, noon + 1) for record in lot]
    nothing = [record for lot in bus.history(topic, noon + 60_001) for record in lot]

    assert sorted(record.key or b"" for record in found) == sorted(keys)
    assert {record.value for record in found} == {b"new"}
    assert nothing == []


def test_history_of_an_empty_topic_is_nothing(world: World) -> None:
    topic = world.topic(partitions=2)

    assert [r for lot in world.open([topic]).history(topic, 0) for r in lot] == []


def test_a_topic_that_does_not_exist_is_named_at_once(world: World) -> None:
    topic = world.topic()

    with pytest.raises(BusError, match="no-such-topic"):
        world.open([topic], writes=["no-such-topic"])


def test_polling_goes_on_while_another_thread_publishes(world: World) -> None:
    source, topic = world.topic(), world.topic()
    bus = world.open([source], writes=[topic])
    started(bus)
    membership = bus.membership()

    def work() -> None:
        for n in range(20):
            bus.publish(outgoing(topic, f"{n}"), {}, membership)

    thread = Thread(target=work)
    thread.start()
    world.feed(outgoing(source, *"abcdefgh"))
    found = values(records(bus, 8))
    thread.join(PATIENCE_S)

    assert found == [bytes([c]) for c in b"abcdefgh"]
    assert [value for _, _, value in world.read(topic)] == [b"%d" % n for n in range(20)]


def test_a_later_holder_of_the_same_name_stops_the_earlier_one(world: World) -> None:
    topic = world.topic()
    first = world.open([topic])
    [partition] = started(first)
    membership = first.membership()

    second = world.open([topic])
    taken = assigned(second)

    assert list(taken) == [partition]
    with pytest.raises(Replaced, match=r"one name serves one daemon"):
        first.publish(outgoing(topic, "zombie"), {partition: Commit(9)}, membership)
    with pytest.raises(Replaced, match=r"instance one of group"):
        polled(first, lambda _: False)
    second.publish(outgoing(topic, "heir"), {}, second.membership())
    assert [value for _, _, value in world.read(topic)] == [b"heir"]


def test_a_second_instance_gets_its_share_and_the_first_is_told(world: World) -> None:
    topic = world.topic(partitions=4)
    told: list[Partition] = []
    first = world.open([topic], revoked=told.extend)
    held = started(first)
    second = world.open([topic], instance="two")

    shares = together(first, second)

    assert sorted(told) == held
    assert sorted([*shares[0], *shares[1]]) == held
    assert [len(share) for share in shares] == [2, 2]


def test_what_was_prepared_before_the_partitions_were_dealt_anew_is_fenced(world: World) -> None:
    topic = world.topic(partitions=2)
    first = world.open([topic])
    [partition, _] = started(first)
    stale = first.membership()
    together(first, world.open([topic], instance="two"))

    with pytest.raises(Fenced):
        first.publish(outgoing(topic, "stale"), {partition: Commit(1)}, stale)
    first.publish(outgoing(topic, "fresh"), {}, first.membership())

    assert [value for _, _, value in world.read(topic)] == [b"fresh"]


def test_what_is_committed_while_letting_go_is_there_for_the_next_owner(world: World) -> None:
    topic = world.topic(partitions=2)

    def finish(partitions: Sequence[Partition]) -> None:
        commits = {p: Commit(7, f"until {p.number}") for p in partitions}
        first.publish(outgoing(topic, "last"), commits, first.membership())

    first = world.open([topic], revoked=finish)
    started(first)
    mine, theirs = together(first, world.open([topic], instance="two"))

    committed = {a.partition.number: a.committed for a in (*mine.values(), *theirs.values())}
    assert committed == {0: Commit(7, "until 0"), 1: Commit(7, "until 1")}


def test_an_instance_without_a_partition_learns_that_all_were_dealt_out(world: World) -> None:
    topic = world.topic(partitions=1)
    first = world.open([topic])
    [partition] = started(first)
    second = world.open([topic], instance="two")

    dealt: dict[str, list[Partition]] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(dealt) < 2 and time.monotonic() < deadline:
        for name, bus in (("first", first), ("second", second)):
            if (found := bus.poll(0.1)).is_dealt:
                dealt[name] = [a.partition for a in found.assigned]

    assert sorted(dealt.values()) == [[], [partition]]


def together(first: Bus, second: Bus) -> list[dict[Partition, Assignment]]:
    """Poll two buses in turn until both have partitions again."""
    shares: list[dict[Partition, Assignment]] = [{}, {}]
    deadline = time.monotonic() + PATIENCE_S
    while not all(shares) and time.monotonic() < deadline:
        for share, bus in zip(shares, (first, second), strict=True):
            share |= {a.partition: a for a in bus.poll(0.1).assigned}
    assert all(shares), f"the partitions were not dealt out in {PATIENCE_S:g} s"
    return shares
