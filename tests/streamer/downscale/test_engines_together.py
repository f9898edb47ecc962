"""Several engines on one queue: memory that runs out, engines that die, and never a wrong byte."""

import logging
import random
import threading

import numpy as np
import pytest

from engines.denoiser import Array
from engines.errors import EngineError, OutOfMemory, UsageError
from engines.sampler import calls
from streamer.downscale.engine_room import Gauge, Result
from tests.streamer.downscale.engines import (
    LONG_S,
    RECIPE,
    Gated,
    House,
    Running,
    Strict,
    bytes_of,
    drawn,
    work_of,
)

SIZES = (1, 2, 4, 8)
TILES = len(RECIPE.layout.tiles)


class Cramped:
    """A device's memory: so many tiles and no more."""

    def __init__(self, most: int, error: type[Exception] = OutOfMemory) -> None:
        self.most = most
        self._error = error

    def __call__(self, condition: Array) -> None:
        if len(condition) > self.most:
            raise self._error(f"{len(condition)} tiles want too much")


class Dying:
    """Serves so many calls, and then never again."""

    def __init__(self, served: int) -> None:
        self._left = served

    def __call__(self, condition: Array) -> None:
        self._left -= 1
        if self._left < 0:
            raise EngineError("the device fell off the bus")


def refuse_sick(condition: Array) -> None:
    """Fail at every step whose condition is 7."""
    if (condition == 7.0).any():
        raise ZeroDivisionError("a mistake of ours")


def pause() -> None:
    """Let other threads go on; for loops that end with what they look at."""
    threading.Event().wait(0.001)


def without_counts(gauge: Gauge) -> tuple[str, int, bool, int]:
    return gauge.device, gauge.batch, gauge.is_alive, gauge.counters.shortages


def close(result: Result, wanted: Array) -> bool:
    """Whether draws are the wanted ones, to rounding: whole runs round in another order."""
    return result.draws is not None and bool(np.abs(result.draws - wanted).max() < 1e-4)


# Memory


@pytest.mark.parametrize("error", [OutOfMemory, MemoryError])
def test_a_lack_of_memory_halves_the_batch_for_good_and_loses_no_job(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    engine = Strict(SIZES, "cuda:0", Cramped(2, error))
    house = House(engine)

    with caplog.at_level(logging.WARNING):
        found = house.work_off(*(work_of(key) for key in "abc"))

    for key in "abc":
        assert bytes_of(found[key]) == drawn(key).tobytes()
    assert engine.seen[:3] == [8, 4, 2]
    assert set(engine.seen[3:]) == {2}
    assert [without_counts(gauge) for gauge in house.room.gauges] == [("cuda:0", 2, True, 2)]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "cuda:0 ran out of memory with 4 tiles" in told[1]
    assert "engine.batch: 2 everywhere makes them alike again" in told[1]


def test_a_whole_run_that_does_not_fit_is_halved_as_well() -> None:
    engine = Running(SIZES, Cramped(2))
    house = House(engine)

    found = house.work_off(work_of("step"))

    assert engine.seen == []
    assert engine.runs[:3] == [8, 4, 2]
    assert set(engine.runs[3:]) == {2}
    assert close(found["step"], drawn("step"))


def test_a_tile_that_never_fits_costs_its_step_only() -> None:
    def too_large(condition: Array) -> None:
        if (condition == 7.0).any():
            raise OutOfMemory("one tile is too many")

    house = House(Strict(SIZES, trouble=too_large))

    found = house.work_off(work_of("sick", 7.0), work_of("sound"))

    assert "one tile is too many" in found["sick"].fault
    assert bytes_of(found["sound"]) == drawn("sound").tobytes()


@pytest.mark.parametrize(("reproducible", "other"), [(True, 2), (False, 8)])
def test_engines_whose_bytes_must_agree_shrink_together(reproducible: bool, other: int) -> None:
    cramped, roomy = Gated(SIZES, "cuda:0", Cramped(2)), Gated(SIZES, "cuda:1")
    house = House(cramped, roomy, reproducible=reproducible)
    cramped.gate.set()
    house.room.start()
    for key in "abcd":
        house.room.submit(work_of(key))
    assert roomy.began.wait(LONG_S)
    assert cramped.began.wait(LONG_S)

    while house.room.gauges[0].batch > 2:
        pause()
    roomy.gate.set()
    found = house.results(4)

    assert house.room.close(LONG_S)
    assert [gauge.batch for gauge in house.room.gauges] == [2, other]
    assert set(found) == set("abcd")


# Sizes of calls


def test_reproducible_calls_are_padded_to_one_size() -> None:
    engine = Strict(SIZES)

    House(engine).work_off(work_of("step"))

    assert set(engine.seen) == {8}


def test_other_calls_take_the_smallest_size_that_fits() -> None:
    engine = Strict((1, 2, TILES, 2 * TILES))

    House(engine, reproducible=False).work_off(work_of("step", draws=1))

    assert set(engine.seen) == {TILES}


def test_engines_without_a_size_in_common_cannot_be_reproducible() -> None:
    with pytest.raises(UsageError, match="no size of batch in common"):
        House(Strict((4,)), Strict((8,)))


def test_the_counters_tell_how_full_the_calls_were() -> None:
    house = House(Running((4,)))

    house.work_off(work_of("step", draws=1))

    counters = house.room.counters
    runs = -(-TILES // 4)
    network_calls = calls(RECIPE.settings)
    assert counters.calls == runs * network_calls
    assert counters.tiles == TILES * network_calls
    assert counters.places == 4 * runs * network_calls
    assert counters.busy_s > 0


# Several engines


def test_engines_work_on_one_step_at_the_same_time() -> None:
    one, other = Gated(device="cuda:0"), Gated(device="cuda:1")
    house = House(one, other)
    house.room.submit(work_of("step"))
    house.room.start()

    assert one.began.wait(LONG_S)
    assert other.began.wait(LONG_S)
    one.gate.set()
    other.gate.set()

    assert bytes_of(house.results(1)["step"]) == drawn("step").tobytes()
    assert house.room.close(LONG_S)
    served = [gauge.counters.calls for gauge in house.room.gauges]
    assert sum(served) == 2 * TILES * calls(RECIPE.settings)
    assert min(served) > 0


def test_a_dead_engine_hands_its_jobs_to_the_others(caplog: pytest.LogCaptureFixture) -> None:
    dying, sound = Strict(SIZES, "cuda:0", Dying(3)), Gated(SIZES, "cuda:1")
    house = House(dying, sound)
    for key in "abc":
        house.room.submit(work_of(key))
    house.room.start()
    assert sound.began.wait(LONG_S)
    while house.room.gauges[0].is_alive:
        pause()
    sound.gate.set()

    found = house.results(3)

    for key in "abc":
        assert bytes_of(found[key]) == drawn(key).tobytes()
    assert house.room.death is None
    assert [gauge.is_alive for gauge in house.room.gauges] == [False, True]
    assert "cuda:0 is out of order: the device fell off the bus; 1 of 2 go on" in caplog.text
    assert house.room.close(LONG_S)


def test_the_last_engines_death_is_the_rooms() -> None:
    house = House(Strict(trouble=Dying(0)), Strict(trouble=Dying(5)))
    house.room.start()
    house.room.submit(work_of("step"))

    while house.room.death is None:
        assert house.bell.acquire(timeout=LONG_S)

    assert house.room.close(LONG_S)
    assert isinstance(house.room.death, EngineError)
    assert house.room.finished() == []
    assert house.room.pending_steps == 1


def test_a_fault_of_ours_in_one_step_fails_that_step(caplog: pytest.LogCaptureFixture) -> None:
    house = House(Strict(SIZES, trouble=refuse_sick), Strict(SIZES, trouble=refuse_sick))

    found = house.work_off(work_of("a"), work_of("sick", 7.0), work_of("z"))

    assert "a mistake of ours" in found["sick"].fault
    for key in "az":
        assert bytes_of(found[key]) == drawn(key).tobytes()
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("reproducible", [True, False])
@pytest.mark.parametrize("kind", [Strict, Running])
def test_a_bad_day_costs_no_byte(kind: type[Strict], reproducible: bool) -> None:
    """Random shortages and refusals on three engines, cancelled steps, other sizes: same bytes."""
    chance = random.Random(f"{kind} {reproducible}")
    guard = threading.Lock()

    def trouble(condition: Array) -> None:
        refuse_sick(condition)
        with guard:
            throw = chance.random()
        if len(condition) > 1 and throw < 0.05:
            raise OutOfMemory("not now")
        if (condition != condition[:1]).any() and throw < 0.1:
            raise EngineError("these steps do not get on with each other")

    house = House(*(kind(SIZES, trouble=trouble) for _ in range(3)), reproducible=reproducible)
    house.room.start()
    marks = {f"step {i}": 7.0 if i % 5 == 4 else i / 100 for i in range(12)}
    for key, mark in marks.items():
        house.room.submit(work_of(key, mark))
    for key in ("step 1", "step 7"):
        house.room.cancel(key)

    found = house.results(10)

    assert house.room.close(LONG_S)
    assert {key for key in found if found[key].fault} == {"step 4", "step 9"}
    for name in set(marks) - {"step 1", "step 7", "step 4", "step 9"}:
        assert close(found[name], drawn(name, marks[name]))
