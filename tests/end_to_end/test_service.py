"""The whole daemon on the bus in memory: whatever comes, the same steps leave it, once."""

import math
import random
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.denoiser import GaussianDenoiser
from engines.errors import EngineError
from streamer.bus.partitioner import partition_of
from streamer.bus.record import Commit, Partition, Record, Replaced
from streamer.domain import Array
from streamer.headers import AGAIN
from streamer.intake.events import Outcome
from streamer.model import open_model
from streamer.parts import ServiceError
from tests.end_to_end.daemons import (
    STEPS,
    House,
    MortalBus,
    World,
    config_of,
    drain,
    forecast,
    work_off,
)
from tests.wind import wind_message

RUNS = 4


@pytest.fixture(scope="module")
def house(small_wind_bundle: Path) -> Iterator[House]:
    config = config_of(small_wind_bundle)
    house = House(open_model(config), config)
    yield house
    house.close()


@pytest.fixture
def world(house: House) -> World:
    return World(house)


@pytest.fixture(scope="module")
def orderly(house: House) -> dict[str, bytes]:
    """What an undisturbed run of `forecast()` publishes."""
    world = World(house)
    world.feed(forecast())
    work_off(world)
    assert set(world.outcomes.values()) == {1}
    assert len(world.outcomes) == RUNS * len(STEPS)
    return world.fields


def damaged(message: bytes) -> bytes:
    """A message whose header is whole and whose sections are not."""
    return message[:16] + bytes(len(message) - 20) + message[-4:]


def key_of_partition(number: int, partitions: int = 2) -> bytes:
    keys = (f"ecmf/-/-/201810080000/{n}".encode() for n in range(1000))
    return next(key for key in keys if partition_of(key, partitions) == number)


# What comes in


def test_an_orderly_forecast_leaves_every_step_and_every_run_once(
    world: World, orderly: dict[str, bytes]
) -> None:
    world.feed(forecast())

    work_off(world)

    assert world.fields == orderly
    assert len(orderly) == RUNS * len(STEPS) * 2 * 2
    assert len(world.runs) == RUNS
    assert {outcome for run in world.runs for _, outcome in run.outcomes} == {Outcome.COMPLETE}
    assert world.letters == {}


def test_disorder_repeats_and_rubbish_change_no_byte(
    world: World, orderly: dict[str, bytes]
) -> None:
    first, *rest = forecast()
    other = wind_message("10u", 0, 0, mean=3.0)
    bad = damaged(first)
    several = rest[0] + bad + rest[1]
    lot = [
        *rest[2:],
        several,
        rest[4],
        b"",
        b"not GRIB at all",
        first[:-40],
        wind_message("2t", 0),
        wind_message("10u", 9),
    ]
    random.Random(1).shuffle(lot)
    records = world.feed([first, other, *lot])

    work_off(world)

    assert world.fields == orderly
    offset = records[2 + lot.index(several)].offset
    assert world.letters[("undecodable", 0, offset, 1)] == 1
    assert world.reasons == {"undecodable": 1, "empty": 1, "not_grib": 1, "truncated": 1}


def test_a_dead_letter_is_the_record_as_it_came(world: World) -> None:
    trace = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)
    world.feed([b"rubbish"], key=b"a key", headers=trace)

    work_off(world)

    (letter,) = world.broker.read("out.dead")
    assert (letter.key, letter.value) == (b"a key", b"rubbish")
    assert set(trace) < set(letter.headers)


def test_the_same_fields_fed_later_publish_nothing(world: World, orderly: dict[str, bytes]) -> None:
    world.feed(forecast())
    with world.daemon() as service:
        drain(service)
        world.clock.pass_by(hours=40)
        world.feed(forecast())
        drain(service)
        service.stop(10)
    world.feed(forecast())

    work_off(world)

    assert world.fields == orderly
    assert len(world.steps) == len(world.outcomes) == RUNS * len(STEPS)
    assert len(world.runs) == RUNS
    assert world.committed().next_offset == 3 * len(forecast())


def test_a_repeat_after_an_outage_of_days_is_still_known(world: World) -> None:
    pair = forecast([0], [0], [0])
    world.feed(pair)
    work_off(world)
    world.clock.pass_by(hours=1)
    world.feed(pair)
    world.clock.pass_by(days=5)

    work_off(world)

    assert [step.outcome for step in world.steps if step.key.minutes == 0] == [Outcome.COMPLETE]


def test_a_repeat_beyond_the_horizon_is_a_new_forecast(world: World) -> None:
    pair = forecast([0], [0], [0])
    world.feed(pair)
    work_off(world, input={"steps": "0"})
    world.clock.pass_by(hours=49)
    world.feed(pair)

    work_off(world, input={"steps": "0"})

    assert [step.outcome for step in world.steps] == [Outcome.COMPLETE] * 2
    values = Counter(record.value for record in world.broker.read("out"))
    assert set(values.values()) == {2}


def test_a_repeat_on_purpose_is_published_under_other_ids(
    world: World, orderly: dict[str, bytes]
) -> None:
    world.feed(forecast())
    world.feed(forecast(), headers=((AGAIN, b"fixed"),))

    work_off(world)

    assert orderly.items() < world.fields.items()
    assert len(world.fields) == 2 * len(orderly)
    again = [step for step in world.steps if step.key.run.again == "fixed"]
    assert len(again) == RUNS * len(STEPS)


# Time


def test_what_is_missing_expires_with_its_run(world: World) -> None:
    world.feed([wind_message("10u", 3), *forecast([0], [0], [0])])
    with world.daemon(input={"expire_after_s": 3600}) as service:
        drain(service)
        world.clock.pass_by(minutes=59)
        service.look_after()
        assert [step.outcome for step in world.steps] == [Outcome.COMPLETE]

        world.clock.pass_by(minutes=2)
        service.look_after()
        service.stop(10)

    ended = {step.key.minutes: (step.outcome, step.missing) for step in world.steps}
    assert ended == {
        0: (Outcome.COMPLETE, ()),
        180: (Outcome.EXPIRED, ("10v",)),
        360: (Outcome.EXPIRED, ("10u", "10v")),
    }
    (run,) = world.runs
    assert dict(run.outcomes) == {minutes: outcome for minutes, (outcome, _) in ended.items()}
    assert world.committed().next_offset == 3


def test_an_expired_step_that_comes_after_all_is_complete_then(world: World) -> None:
    late = forecast([3], [0], [0])
    world.feed(late[:1])
    work_off(world)
    world.clock.pass_by(hours=2)
    world.feed(forecast([0], [0], [6]))
    work_off(world)
    expired = [step for step in world.steps if step.key.minutes == 180]
    assert [step.outcome for step in expired] == [Outcome.EXPIRED]

    world.feed(late)
    work_off(world)

    three = [step for step in world.steps if step.key == expired[0].key]
    assert [step.outcome for step in three] == [Outcome.EXPIRED, Outcome.COMPLETE]


def test_runs_older_than_wanted_are_passed_by(world: World) -> None:
    world.feed(forecast([0], [0], [0, 6]))
    world.clock.pass_by(hours=1)

    work_off(world, input={"steps": "0", "max_age_h": 6})

    assert [step.key.run.reference_time.hour for step in world.steps] == [6]
    assert world.committed().next_offset == 4


@pytest.mark.parametrize(
    ("start_at", "hours"),
    [("earliest", [0, 6]), ("2018-10-08T06:30Z", [6]), ("latest", [])],
)
def test_a_first_start_reads_from_where_the_config_says(
    world: World, start_at: str, hours: list[int]
) -> None:
    world.feed(forecast([0], [0], [0]))
    world.clock.pass_by(hours=1)
    world.feed(forecast([0], [0], [6]))

    work_off(world, input={"steps": "0", "start_at": start_at})

    assert [step.key.run.reference_time.hour for step in world.steps] == hours
    assert world.committed().next_offset == 4


def test_where_a_first_start_began_is_remembered(world: World) -> None:
    world.feed(forecast([0], [0], [0]))
    work_off(world, input={"steps": "0", "start_at": "latest"})
    world.feed(forecast([0], [0], [6]))

    work_off(world, input={"steps": "0", "start_at": "latest"})

    assert [step.key.run.reference_time.hour for step in world.steps] == [6]


# What the topic lost


def lose(world: World) -> None:
    """Let retention take the first four of six records, of which the daemon has read two."""
    world.feed(forecast([0], [0], [0]))
    work_off(world, input={"steps": "0/3/6"})
    world.feed(forecast([3, 6], [0], [0]))
    world.broker.delete_before(Partition("in", 0), 4)


@pytest.mark.parametrize(("policy", "steps"), [("earliest", {0, 360}), ("latest", {0})])
def test_records_lost_to_retention_are_told_and_passed(
    world: World, policy: str, steps: set[int], caplog: pytest.LogCaptureFixture
) -> None:
    lose(world)

    work_off(world, input={"out_of_range": policy})

    assert {step.key.minutes for step in world.steps} == steps
    (told,) = (r.getMessage() for r in caplog.records if r.levelname == "ERROR")
    assert "in 0: wanted offset 2, the topic holds 4 to 6" in told
    assert world.committed().next_offset == 6


def test_records_lost_to_retention_stop_a_daemon_that_was_told_so(world: World) -> None:
    lose(world)

    with (
        pytest.raises(ServiceError, match="wanted offset 2, the topic holds 4 to 6"),
        world.daemon(input={"out_of_range": "stop"}) as service,
    ):
        drain(service)


def test_a_topic_made_anew_is_read_from_its_start_and_repeats_nothing(world: World) -> None:
    world.feed(forecast([0], [0], [0]))
    work_off(world)
    far = Commit(100, world.committed().metadata)
    world.broker.group("wind").commits[Partition("in", 0)] = far
    world.feed(forecast([3], [0], [0]))

    with world.daemon() as service:
        while len(world.steps) < 2:
            service.turn()
        drain(service)
        service.stop(10)

    assert [step.key.minutes for step in world.steps] == [0, 180]
    assert world.committed().next_offset == 4


# Partitions and instances


def test_a_step_from_two_partitions_is_split_and_told_once(house: House) -> None:
    world = World(house, partitions=2)
    world.feed([wind_message("10u", 0)], key=key_of_partition(0))
    with world.daemon(input={"steps": "0"}) as service:
        drain(service)
        world.feed([wind_message("10v", 0)], key=key_of_partition(1))
        drain(service)
        world.clock.pass_by(hours=2)
        service.look_after()
        service.stop(10)

    work_off(world, input={"steps": "0"})

    assert world.letters == {("split", 1, 0, 0): 1}
    assert [(step.outcome, step.missing) for step in world.steps] == [(Outcome.EXPIRED, ("10v",))]
    assert [world.committed(number).next_offset for number in (0, 1)] == [1, 1]


def test_partitions_that_come_and_go_cost_no_step_and_double_none(
    house: House, orderly: dict[str, bytes]
) -> None:
    world = World(house, partitions=2)
    values = forecast()
    lots = [values[i : i + 6] for i in range(0, len(values), 6)]
    keys = [key_of_partition(0), key_of_partition(1)]

    with world.daemon("one") as one:
        world.feed(lots[0], keys[0])
        for _ in range(10):
            one.turn()
        with world.daemon("two") as two:
            world.feed(lots[1], keys[1])
            drain(one, two)
            world.feed(lots[2], keys[0])
            for _ in range(10):
                one.turn()
                two.turn()
        # The second one died without a word, so the first gets its partition at the next deal.
        world.feed(lots[3], keys[1])
        drain(one)
        one.stop(10)

    assert world.fields == orderly
    assert set(world.outcomes.values()) == {1}


def test_a_second_daemon_of_the_same_name_ends_the_first_with_an_error(world: World) -> None:
    world.feed(forecast([0], [0], [0]))
    with world.daemon("one") as first:
        first.turn()
        with world.daemon("one") as second:
            drain(second)

            with pytest.raises(Replaced, match=r"give each its own `bus\.instance`"):
                first.turn()

    assert [step.outcome for step in world.steps] == [Outcome.COMPLETE]


def test_a_daemon_that_was_away_too_long_publishes_nothing_it_still_held(
    house: House, orderly: dict[str, bytes]
) -> None:
    world = World(house, partitions=2)
    world.feed(forecast())
    with world.daemon("one") as one:
        asleep = world.buses[-1]
        asleep.is_open.clear()
        while one._publishing.pending < 3:
            one.turn()
        world.broker.evict("wind", "one")
        with world.daemon("two") as two:
            drain(two)
            asleep.is_open.set()
            one._publishing.settle(deadline=math.inf)
            drain(one, two)
            two.stop(10)
        drain(one)
        one.stop(10)

    assert world.fields == orderly
    assert set(world.outcomes.values()) == {1}
    assert len(world.runs) == RUNS


# Crashes


@pytest.mark.parametrize("seed", range(4))
def test_a_daemon_may_die_at_any_turn(world: World, orderly: dict[str, bytes], seed: int) -> None:
    chance = random.Random(seed)
    first, *rest = forecast()
    values = [first, b"rubbish", *rest, rest[3] + damaged(first), wind_message("10u", 9)]
    waiting = [values[i : i + 7] for i in range(0, len(values), 7)]

    lives = 0
    while waiting or len(world.fields) < len(orderly):
        lives += 1
        with world.daemon() as service:
            for _ in range(chance.randrange(1, 80)):
                service.turn()
                if waiting and chance.random() < 0.1:
                    world.feed(waiting.pop(0))
    work_off(world)

    print(f"seed {seed}: {lives} daemons died")
    assert world.fields == orderly
    assert set(world.outcomes.values()) == {1}
    assert len(world.runs) == RUNS
    assert world.letters == {
        ("not_grib", 0, 1, 0): 1,
        ("undecodable", 0, len(values) - 2, 1): 1,
    }


def test_refused_transactions_are_tried_again_in_their_order(
    world: World, orderly: dict[str, bytes]
) -> None:
    commits = [0]
    with world.daemon() as service:
        bus = world.buses[-1]
        for lot in range(0, 24, 8):
            world.feed(forecast()[lot : lot + 8])
            bus.is_open.clear()
            while service._publishing.pending < 3:
                service.turn()
            bus.fences = 1
            bus.is_open.set()
            while not service.is_drained:
                service.turn()
                found = world.broker.committed("wind", Partition("in", 0))
                commits.append(found.next_offset if found else 0)
        service.stop(10)

    assert commits == sorted(commits)
    assert world.fields == orderly
    assert set(world.outcomes.values()) == {1}


# What cannot be made or sent


class Faulty(GaussianDenoiser):
    """An engine that fails at a hurricane everywhere."""

    def __init__(self, *, raises: bool) -> None:
        super().__init__()
        self._raises = raises

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        denoised = super().denoise(x, sigma, condition, labels)
        if float(condition[:, 0].mean()) < 5:
            return denoised
        if self._raises:
            raise EngineError("the device is on fire")
        return denoised * np.float32(np.nan)


@pytest.mark.parametrize(
    ("raises", "reason"), [(True, "the device is on fire"), (False, "not finite")]
)
def test_a_step_that_the_engine_cannot_make_fails_alone(
    world: World, raises: bool, reason: str
) -> None:
    hurricane = [wind_message(parameter, 3, mean=80.0) for parameter in ("10u", "10v")]
    world.feed([*forecast([0], [0], [0]), *hurricane, *forecast([6], [0], [0])])
    model = replace(world.house.model, denoisers=(Faulty(raises=raises),))

    work_off(world, model)
    work_off(world)

    ended = {step.key.minutes: step for step in world.steps}
    outcomes = {minutes: step.outcome for minutes, step in ended.items()}
    assert outcomes == {0: Outcome.COMPLETE, 180: Outcome.FAILED, 360: Outcome.COMPLETE}
    assert len(world.steps) == 3
    assert reason in str(ended[180].reason)
    assert len(world.fields) == 2 * 4
    assert world.committed().next_offset == 6


def test_fields_above_the_topics_limit_fail_their_step_and_not_the_daemon(house: House) -> None:
    world = World(house, field_limit=5000)
    world.feed([*forecast([0], [0], [0]), b"rubbish"])

    work_off(world, input={"steps": "0"})
    work_off(world, input={"steps": "0"})

    (step,) = world.steps
    assert step.outcome is Outcome.FAILED
    assert "topic out takes 904" in str(step.reason)
    assert "max.message.bytes" in str(step.reason)
    assert world.fields == {}
    assert world.reasons == {"not_grib": 1}
    assert world.committed().next_offset == 3


# Bounds


def test_reading_pauses_while_too_much_waits_and_goes_on_after(
    world: World, orderly: dict[str, bytes]
) -> None:
    tight = {"waiting_bytes": 1}
    with world.daemon(limits=tight) as service:
        for value in forecast():
            world.feed([value])
            service.turn()
            service.look_after()
        drain(service)
        service.stop(10)

    assert world.fields == orderly


def test_steps_that_hold_too_much_are_given_up_oldest_first(world: World) -> None:
    halves = [wind_message("10u", step) for step in STEPS]
    with world.daemon(limits={"open_bytes": 10_000}) as service:
        for value in halves:
            world.feed([value])
            drain(service)
            service.look_after()
            world.clock.pass_by(minutes=1)
        drain(service)
        service.stop(10)

    given_up = [step.key.minutes for step in world.steps]
    assert given_up == sorted(given_up)
    assert 0 < len(given_up) < len(STEPS)
    assert {step.outcome for step in world.steps} == {Outcome.EXPIRED}


def test_a_closed_set_too_large_to_commit_ends_the_oldest_step_early(world: World) -> None:
    chance = random.Random(5)
    pinned = [wind_message("10u", step) for step in range(120)]
    between = [wind_message("2t", 0)] * 120
    records = pinned + between
    chance.shuffle(records)
    hourly, small = {"steps": "0/to/119/by/1"}, {"metadata_bytes": 40}
    lives = 0
    while world.broker.committed("wind", Partition("in", 0)) is None or records:
        lives += 1
        with world.daemon(input=hourly, limits=small) as service:
            for _ in range(3):
                world.feed([records.pop() for _ in range(min(10, len(records)))])
                drain(service)
                service.look_after()
            service.stop(10)
    early = {step.key.minutes // 60 for step in world.steps}

    world.feed([wind_message("10v", step) for step in range(120) if step not in early])
    work_off(world, input=hourly, limits=small)

    print(f"{len(early)} of {len(pinned)} steps ended early, {lives} daemons")
    ends = {step.key.minutes // 60: step.outcome for step in world.steps}
    assert set(ends) == set(range(120))
    assert set(world.outcomes.values()) == {1}
    assert all(ends[step] is Outcome.EXPIRED for step in early)
    assert list(ends.values()).count(Outcome.COMPLETE) > 10


def test_a_stop_finishes_what_is_begun(world: World, orderly: dict[str, bytes]) -> None:
    world.feed(forecast())
    with world.daemon() as service:
        while not world.steps:
            service.turn()
        service.stop(20)

    assert world.fields == orderly


def test_a_stop_without_time_loses_nothing(world: World, orderly: dict[str, bytes]) -> None:
    world.feed(forecast())
    with world.daemon() as service:
        while not world.steps:
            service.turn()
        service.stop(0.0)
    done = len(world.steps)

    work_off(world)

    assert done < RUNS * len(STEPS)
    assert world.fields == orderly
    assert set(world.outcomes.values()) == {1}


def test_a_daemon_that_dies_while_it_reads_back_lets_go_of_the_reader(
    small_wind_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    def history(*_: object) -> Generator[Sequence[Record], None, None]:
        try:
            while True:
                yield []
        finally:
            closed.append(True)

    monkeypatch.setattr(MortalBus, "history", history)
    config = config_of(small_wind_bundle)
    world = World(House(open_model(config), config))
    with world.daemon() as service:
        service.turn()
        service.turn()
        assert not closed

    # Whoever still holds the daemon, as a traceback does, must not keep the process from ending.
    assert closed == [True]
    assert service is not None
    world.house.close()
