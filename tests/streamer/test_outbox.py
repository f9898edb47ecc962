"""The thread that publishes keeps the order, and lets nothing pass a failure."""

import threading
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import DownscaledError
from streamer.bus.memory import MemoryBus
from streamer.bus.memory_broker import MemoryBroker
from streamer.bus.record import BusError, Commit, Membership, Outgoing, Partition
from streamer.outbox import Halted, Outbox, Publication, Published

PARTITION = Partition("in", 0)


class Moody(MemoryBus):
    """A bus that refuses some transactions, and waits at a gate before each."""

    def __init__(self, broker: MemoryBroker, refused: Sequence[int] = ()) -> None:
        super().__init__(broker, ["in"])
        self.gate = threading.Semaphore(0)
        self._refused = set(refused)
        self._count = 0

    def publish(
        self,
        records: Sequence[Outgoing],
        commits: Mapping[Partition, Commit],
        membership: Membership,
    ) -> None:
        self.gate.acquire()
        self._count += 1
        if self._count in self._refused:
            raise BusError(f"transaction {self._count} is refused")
        if not records:
            raise ZeroDivisionError("a defect")
        super().publish(records, commits, membership)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker({"in": 1, "out": 1})


def opened(bus: Moody) -> tuple[Outbox, Membership]:
    bus.poll(0.0)
    return Outbox(bus, lambda: None), bus.membership()


def publication(number: int, membership: Membership) -> Publication:
    records = (Outgoing("out", None, str(number).encode()),) if number >= 0 else ()
    return Publication(PARTITION, 1, records, Commit(number + 1), membership, lambda _: None)


def number_of(answer: Published | Halted) -> int:
    return answer.publication.commit.next_offset - 1


def answers_of(outbox: Outbox, count: int) -> Iterator[Published | Halted]:
    while count > 0:
        for answer in outbox.finished(timeout_s=10):
            count -= 1
            yield answer


def test_looking_for_answers_never_waits_for_one(broker: MemoryBroker) -> None:
    bus, answered = Moody(broker), threading.Event()
    bus.poll(0.0)
    outbox, membership = Outbox(bus, answered.set), bus.membership()

    # A daemon looks thousands of times a second; queue.SimpleQueue, asked with a timeout that is
    # over at once, sometimes waits for ever after such a sequence (CPython 3.11).
    for number in range(3000):
        outbox.submit(publication(number, membership))
        assert not outbox.finished()
        bus.gate.release()
        assert answered.wait(10)
        answered.clear()
        assert len(outbox.finished()) == 1
    outbox.close(10)


def test_what_is_submitted_is_committed_in_order(broker: MemoryBroker) -> None:
    bus = Moody(broker)
    outbox, membership = opened(bus)
    for number in range(5):
        outbox.submit(publication(number, membership))
    assert outbox.finished() == []
    assert outbox.pending == 5

    bus.gate.release(5)
    answers = list(answers_of(outbox, 5))
    outbox.close(10)

    assert [number_of(answer) for answer in answers] == list(range(5))
    assert all(isinstance(answer, Published) for answer in answers)
    assert [record.value for record in broker.read("out")] == [b"0", b"1", b"2", b"3", b"4"]
    assert broker.committed("memory", PARTITION) == Commit(5)


def test_nothing_passes_a_failure_until_the_loop_has_decided(broker: MemoryBroker) -> None:
    bus = Moody(broker, refused=[2])
    outbox, membership = opened(bus)
    for number in range(4):
        outbox.submit(publication(number, membership))
    bus.gate.release(10)

    answers = list(outbox.finished(timeout_s=10))
    while not isinstance(answers[-1], Halted):
        answers += outbox.finished(timeout_s=10)
    answers += outbox.recall()

    assert [number_of(answer) for answer in answers] == [0, 1, 2, 3]
    assert [isinstance(answer, Halted) for answer in answers] == [False, True, True, True]
    assert outbox.pending == 0
    assert broker.committed("memory", PARTITION) == Commit(1)
    for answer in answers[1:]:
        outbox.submit(answer.publication)
    list(answers_of(outbox, 3))
    outbox.close(10)
    assert [record.value for record in broker.read("out")] == [b"0", b"1", b"2", b"3"]


@given(count=st.integers(1, 12), refused=st.sets(st.integers(1, 20), max_size=6))
def test_trying_again_behind_every_failure_keeps_the_order(count: int, refused: set[int]) -> None:
    broker = MemoryBroker({"in": 1, "out": 1})
    bus = Moody(broker, refused=sorted(refused))
    outbox, membership = opened(bus)
    bus.gate.release(100)
    for number in range(count):
        outbox.submit(publication(number, membership))

    done = 0
    while done < count:
        answers = outbox.finished(timeout_s=10)
        halted = [i for i, answer in enumerate(answers) if isinstance(answer, Halted)]
        done += len(answers) - len(halted)
        if halted:
            for answer in [*answers[halted[0] :], *outbox.recall()]:
                outbox.submit(answer.publication)
    outbox.close(10)

    assert [record.value for record in broker.read("out")] == [
        str(number).encode() for number in range(count)
    ]


def test_a_defect_of_ours_reaches_the_loop(broker: MemoryBroker) -> None:
    bus = Moody(broker)
    outbox, membership = opened(bus)
    outbox.submit(publication(-1, membership))
    bus.gate.release()
    outbox.close(10)

    with pytest.raises(ZeroDivisionError, match="a defect"):
        outbox.finished()


def test_a_refusal_is_told_with_its_reason(broker: MemoryBroker) -> None:
    bus = Moody(broker, refused=[1])
    outbox, membership = opened(bus)
    outbox.submit(publication(0, membership))
    bus.gate.release()

    (answer,) = answers_of(outbox, 1)
    outbox.close(10)

    assert isinstance(answer, Halted)
    assert isinstance(answer.error, DownscaledError)
    assert str(answer.error) == "transaction 1 is refused"
