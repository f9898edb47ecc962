"""The sink on the bus in memory: files follow what is published, and offsets follow the files."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitoring.metrics import SinkMetrics
from monitoring.probes import Status
from streamer.bus.memory import MemoryBus
from streamer.bus.memory_broker import MemoryBroker
from streamer.bus.record import Partition
from streamer.domain import StepKey
from streamer.intake.events import Outcome
from streamer.outlets.open import open_outlets
from streamer.outlets.outlet import Outlet
from streamer.outlets.settings import FileSettings
from streamer.sink.service import Sink, SinkParts
from streamer.steps import Steps
from tests import published
from tests.published import (
    FINE,
    RUN,
    STEPS_TOPIC,
    open_broker,
    publish_step,
    publish_two_grids,
    transact,
)

STEPS = Steps((0, 180, 360, 540))


class Crash(BaseException):
    """The process is gone."""


@contextmanager
def sink_on(
    broker: MemoryBroker,
    folder: Path,
    instance: str = "one",
    outlets: list[Outlet] | None = None,
    **changes: Any,
) -> Iterator[Sink]:
    """Open a sink that writes GRIB files."""
    files = [FileSettings("grib", folder)]
    made: list[Sink] = []
    bus = MemoryBus(
        broker,
        [FINE],
        group_id="sink",
        instance=instance,
        revoked=lambda gone: made[0].revoked(gone),  # noqa: PLW0108 - made before the sink is
        lost=lambda gone: made[0].lost(gone),  # noqa: PLW0108
    )
    parts = SinkParts(
        bus,
        outlets or open_outlets(files, STEPS, instance),
        SinkMetrics(),
        Status(),
        STEPS_TOPIC,
        changes.get("waiting_bytes", 1 << 30),
        changes.get("from_end", False),
        commit_every_s=0.0,
        idle_s=0.0,
    )
    made.append(Sink(parts))
    yield made[0]
    bus.close()


def drain(sink: Sink) -> None:
    """Turn until nothing comes any more."""
    before: object = None
    quiet = 0
    while quiet < 3:
        sink.turn()
        quiet = quiet + 1 if before == sink.frontiers else 0
        before = sink.frontiers


def steps_of(sink: Sink) -> dict[str, int]:
    """How many steps became what."""
    (found,) = sink.metrics.steps.collect()
    totals = (s for s in found.samples if s.name.endswith("_total") and s.value)
    return {s.labels["outcome"]: int(s.value) for s in totals}


def files_under(folder: Path) -> dict[str, bytes]:
    """All files by name, unfinished ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def committed(broker: MemoryBroker, partition: int = 0) -> int:
    found = broker.committed("sink", Partition(FINE, partition))
    return -1 if found is None else found.next_offset


def end(broker: MemoryBroker, partition: int = 0) -> int:
    with broker.changed:
        return broker.log(Partition(FINE, partition)).next_offset


def test_every_published_step_becomes_a_file_of_its_messages(tmp_path: Path) -> None:
    broker = open_broker()
    steps = [publish_step(minutes) for minutes in (0, 180, 360)]
    transact(broker, *(step.outgoing() for step in steps))

    with sink_on(broker, tmp_path) as sink:
        drain(sink)

    assert files_under(tmp_path) == {
        f"ecmf/ifs/201810080000/0/{hours}.grib2": b"".join(step.messages)
        for hours, step in zip((0, 3, 6), steps, strict=True)
    }
    assert committed(broker) == end(broker)
    assert steps_of(sink) == {"written": 3}


def test_half_a_step_is_no_file_and_the_other_half_may_come(tmp_path: Path) -> None:
    # No transaction would show a half; brokers that crash might.
    broker = open_broker()
    *fields, record = publish_step().outgoing()

    with sink_on(broker, tmp_path) as sink:
        transact(broker, [*fields[:2], record])
        sink.turn()
        sink.turn()
        before = files_under(tmp_path)
        broker.append(fields[2:])
        drain(sink)

    assert before == {}
    assert list(files_under(tmp_path).values()) == [b"".join(field.value for field in fields)]
    assert steps_of(sink) == {"written": 1}
    assert committed(broker) == end(broker)


@pytest.mark.parametrize("partitions", [(1, 1), (4, 1), (3, 5), (1, 4)])
def test_topics_need_not_have_the_same_number_of_partitions(
    tmp_path: Path, partitions: tuple[int, int]
) -> None:
    broker = open_broker(*partitions)
    runs = [replace(RUN, member=member) for member in range(3)]
    steps = [publish_step(minutes, run) for run in runs for minutes in STEPS.of(RUN.reference_time)]
    transact(broker, *(step.outgoing() for step in steps))

    with sink_on(broker, tmp_path) as sink:
        drain(sink)

    assert sorted(files_under(tmp_path).values()) == sorted(b"".join(s.messages) for s in steps)
    assert all(committed(broker, n) == end(broker, n) for n in range(partitions[0]))


def test_steps_that_ended_without_fields_and_runs_leave_nothing_behind(tmp_path: Path) -> None:
    broker = open_broker()
    complete = publish_step(180)
    expired = published.ended(complete.record.key, Outcome.EXPIRED, "10v did not come")
    failed = published.ended(StepKey(RUN, 360), Outcome.FAILED, "NaN")
    dropped = published.ended(StepKey(RUN, 540), Outcome.DROPPED, "late")
    transact(
        broker,
        *([published.announcement(record)] for record in (expired, failed, dropped)),
        complete.outgoing(),
        [published.run_announcement(RUN, (0, 180))],
    )

    with sink_on(broker, tmp_path) as sink:
        drain(sink)

    assert files_under(tmp_path) == {"ecmf/ifs/201810080000/0/3.grib2": b"".join(complete.messages)}
    assert steps_of(sink) == {"written": 1}


def test_a_step_fed_again_on_purpose_replaces_its_file(tmp_path: Path) -> None:
    broker = open_broker()
    first = publish_step(180)
    again = publish_step(180, replace(RUN, again="mended"), seed=1)
    same_bytes = publish_step(180, replace(RUN, again="for luck"), seed=1)
    transact(broker, *(step.outgoing() for step in (first, again, same_bytes)))

    with sink_on(broker, tmp_path) as sink:
        drain(sink)

    assert list(files_under(tmp_path).values()) == [b"".join(again.messages)]
    assert steps_of(sink) == {"written": 3}


def test_fields_that_nothing_announces_are_told_and_hold_nothing_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_broker()
    orphan, step = publish_step(0), publish_step(180)
    transact(broker, orphan.outgoing()[:-1], step.outgoing())

    with sink_on(broker, tmp_path) as sink:
        drain(sink)

    assert list(files_under(tmp_path).values()) == [b"".join(step.messages)]
    assert steps_of(sink) == {"unannounced": 1, "written": 1}
    assert committed(broker) == end(broker)
    assert (
        "fields of ecmf/ifs/0001/201810080000/0/0 are announced by no record of fine.steps"
        in caplog.text
    )


def test_a_step_whose_first_fields_retention_took_is_told_and_holds_nothing_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_broker()
    torn, step = publish_step(0), publish_step(180)
    transact(broker, torn.outgoing(), step.outgoing())
    broker.delete_before(Partition(FINE, 0), 2)

    with sink_on(broker, tmp_path) as sink:
        drain(sink)

    assert list(files_under(tmp_path).values()) == [b"".join(step.messages)]
    assert steps_of(sink) == {"torn": 1, "written": 1}
    assert "some of its fields were deleted" in caplog.text


def test_what_retention_took_while_the_sink_was_away_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_broker()
    transact(broker, publish_step(0).outgoing())
    with sink_on(broker, tmp_path) as sink:
        drain(sink)
    transact(broker, publish_step(180).outgoing(), publish_step(360).outgoing())
    broker.delete_before(Partition(FINE, 0), 10)

    with sink_on(broker, tmp_path) as sink:
        drain(sink)

    assert [name[-7:] for name in files_under(tmp_path)] == ["0.grib2", "6.grib2"]
    assert "steps were deleted before they were written" in caplog.text


def test_a_sink_that_starts_at_the_end_remembers_where_it_began(tmp_path: Path) -> None:
    broker = open_broker()
    transact(broker, publish_step(0).outgoing())
    with sink_on(broker, tmp_path, from_end=True) as sink:
        drain(sink)
    transact(broker, publish_step(180).outgoing())

    with sink_on(broker, tmp_path, from_end=True) as sink:
        drain(sink)

    assert [name[-7:] for name in files_under(tmp_path)] == ["3.grib2"]


def test_two_sinks_share_the_partitions_and_write_each_step_once(tmp_path: Path) -> None:
    broker = open_broker(4, 1)
    runs = [replace(RUN, member=member) for member in range(6)]
    steps = [publish_step(minutes, run) for run in runs for minutes in (0, 180)]

    with sink_on(broker, tmp_path) as one, sink_on(broker, tmp_path, "two") as two:
        for _ in range(4):
            one.turn()
            two.turn()
        transact(broker, *(step.outgoing() for step in steps))
        drain(one)
        drain(two)

    assert sorted(files_under(tmp_path).values()) == sorted(b"".join(s.messages) for s in steps)
    shares = [steps_of(one)["written"], steps_of(two)["written"]]
    assert sum(shares) == len(steps)
    assert min(shares) > 0


def test_what_one_sink_has_not_committed_another_writes(tmp_path: Path) -> None:
    broker = open_broker(2, 2)
    steps = [publish_step(180, replace(RUN, member=member)) for member in range(8)]
    transact(broker, *(step.outgoing() for step in steps))

    with sink_on(broker, tmp_path) as one:
        one.turn()
        broker.evict("sink", "one")
        with sink_on(broker, tmp_path, "two") as two:
            drain(two)
            drain(one)
            drain(two)

    assert sorted(files_under(tmp_path).values()) == sorted(b"".join(s.messages) for s in steps)
    assert all(committed(broker, n) == end(broker, n) for n in range(2))


class Mortal:
    """An outlet that dies before, in the middle of, or after a step's files."""

    format = "grib"

    def __init__(self, inner: list[Outlet], dies_at: int) -> None:
        self._inner = inner
        self._left = dies_at

    def _live(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Crash

    def write_step(self, record: Any, messages: Any) -> int:
        files = 0
        for outlet in self._inner:
            self._live()
            files += outlet.write_step(record, messages)
        self._live()
        return files


@pytest.mark.parametrize("seed", range(6))
def test_a_sink_that_dies_anywhere_and_starts_again_leaves_no_gap(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    broker = open_broker(2, 3)
    runs = [replace(RUN, member=member) for member in range(4)]
    steps = [publish_step(minutes, run, seed=seed) for run in runs for minutes in (0, 180, 360)]
    chance.shuffle(steps)
    left = [step.outgoing() for step in steps]

    lives = 0
    while left or any(committed(broker, n) != end(broker, n) for n in range(2)):
        lives += 1
        for _ in range(chance.randrange(4)):
            if left:
                transact(broker, left.pop())
        files = [FileSettings("grib", tmp_path), FileSettings("record", tmp_path)]
        outlet = Mortal(open_outlets(files, STEPS, "one"), chance.randrange(1, 9))
        with sink_on(broker, tmp_path, outlets=[outlet]) as sink:
            try:
                drain(sink)
            except Crash:
                continue

    assert lives > 3
    found = files_under(tmp_path)
    assert len(found) == 2 * len(steps)
    assert sorted(v for k, v in found.items() if k.endswith(".grib2")) == sorted(
        b"".join(step.messages) for step in steps
    )


def test_a_full_disk_ends_the_sink_and_nothing_is_passed_over(tmp_path: Path) -> None:
    class Full:
        format = "grib"

        def write_step(self, record: Any, messages: Any) -> int:
            raise OSError(28, "No space left on device")

    broker = open_broker()
    transact(broker, publish_step(0).outgoing())
    with sink_on(broker, tmp_path, outlets=[Full()]) as sink, pytest.raises(OSError):
        drain(sink)

    with sink_on(broker, tmp_path) as sink:
        drain(sink)

    assert len(files_under(tmp_path)) == 1


def test_a_step_that_a_kind_of_files_cannot_hold_is_counted_and_passed(tmp_path: Path) -> None:
    broker = open_broker()
    mixed = publish_two_grids()
    transact(broker, mixed.outgoing())
    both = open_outlets([FileSettings(k, tmp_path) for k in ("netcdf", "grib")], STEPS, "one")

    with sink_on(broker, tmp_path, outlets=both) as sink:
        drain(sink)

    assert list(files_under(tmp_path).values()) == [b"".join(mixed.messages)]
    assert steps_of(sink) == {"refused": 1}
    assert committed(broker) == end(broker)


def test_what_waits_is_bounded_by_reading_one_partition_alone(tmp_path: Path) -> None:
    broker = open_broker(3, 1)
    runs = [replace(RUN, member=member) for member in range(9)]
    steps = [publish_step(180, run, draws=8) for run in runs]
    size = sum(map(len, steps[0].messages))
    transact(broker, *(step.outgoing() for step in steps))

    most = 0
    with sink_on(broker, tmp_path, waiting_bytes=size) as sink:
        for _ in range(60):
            sink.turn()
            most = max(most, sink.waiting_bytes)

    assert len(files_under(tmp_path)) == len(steps)
    # One lot of records may come on top.
    assert most < 5 * size
