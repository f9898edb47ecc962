"""The engine's thread: what is submitted comes back, in physical units, or says why not."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import open_manifest
from engines.denoiser import Array, GaussianDenoiser
from engines.errors import EngineError
from engines.open import open_bundle
from streamer.downscale.engine_room import EngineRoom, Result
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Recipe, Work
from tests.engines import tiny
from tests.streamer.downscale.engines import (
    BUNDLE,
    LONG_S,
    RECIPE,
    Gated,
    House,
    drawn,
    work_of,
)


class Open(House):
    """A room of one engine with a gate."""

    def __init__(self, denoiser: Gated) -> None:
        super().__init__(denoiser)
        self.denoiser = denoiser


@pytest.fixture
def house() -> Iterator[Open]:
    made = Open(Gated())
    made.room.start()
    yield made
    made.denoiser.gate.set()
    assert made.room.close(LONG_S)


def test_draws_come_back_in_physical_units(house: Open) -> None:
    house.denoiser.gate.set()
    house.room.submit(work_of("step"))

    result = house.results(1)["step"]

    assert result.draws is not None
    assert result.draws.tobytes() == drawn("step").tobytes()
    assert result.calls == 2 * len(RECIPE.layout.tiles) * 5


def test_a_real_engine_gives_a_step_the_same_bytes_in_any_company(tmp_path: Path) -> None:
    bundle = open_manifest(tiny.write_bundle(tmp_path / "tiny"))
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic)
    recipe = Recipe(bundle, layout, bundle.sampler)
    told = np.random.default_rng(8).standard_normal((5, *bundle.shape)).astype(np.float32)

    def draws_of_one_among(*keys: str) -> bytes:
        bell = threading.Semaphore(0)
        room = EngineRoom([open_bundle(bundle, threads=1)], wake=bell.release)
        for key in keys:
            room.submit(Work(key, recipe, told, (key.encode(),)))
        room.start()
        found: dict[object, Result] = {}
        while len(found) < len(keys):
            assert bell.acquire(timeout=LONG_S)
            found |= {r.key: r for r in room.finished()}
        assert room.close(LONG_S)
        draws = found["one"].draws
        assert draws is not None
        return draws.tobytes()

    assert draws_of_one_among("one") == draws_of_one_among("other", "one", "third")


def test_the_counters_tell_calls_tiles_and_busy_time(house: Open) -> None:
    house.denoiser.gate.set()
    house.room.submit(work_of("step"))
    result = house.results(1)["step"]

    counters = house.room.counters

    assert counters.calls == counters.tiles == result.calls
    assert counters.busy_s == pytest.approx(result.seconds)
    assert counters.busy_s > 0


def test_steps_may_be_submitted_while_others_are_computed(house: Open) -> None:
    house.room.submit(work_of("a"))
    assert house.denoiser.began.wait(LONG_S)
    house.room.submit(work_of("b"))
    house.denoiser.gate.set()

    assert set(house.results(2)) == {"a", "b"}


def test_pending_bytes_count_until_the_result_is_taken(house: Open) -> None:
    points = BUNDLE.shape[0] * BUNDLE.shape[1]
    for key in ("a", "b"):
        house.room.submit(work_of(key))
    one = 4 * points * (3 + 2 * 2)

    assert house.room.pending_bytes == 2 * one
    house.room.cancel("b")
    assert house.room.pending_bytes == one
    house.denoiser.gate.set()
    house.results(1)
    assert (house.room.pending_bytes, house.room.pending_steps) == (0, 0)


def test_a_cancelled_step_never_comes_back(house: Open) -> None:
    house.room.submit(work_of("gone"))
    assert house.denoiser.began.wait(LONG_S)
    house.room.cancel("gone")
    house.room.submit(work_of("stays"))
    house.denoiser.gate.set()

    assert set(house.results(1)) == {"stays"}
    assert house.room.finished() == []


def test_a_result_that_was_ready_is_not_given_to_one_who_cancelled(house: Open) -> None:
    house.denoiser.gate.set()
    house.room.submit(work_of("late"))
    assert house.bell.acquire(timeout=LONG_S)

    house.room.cancel("late")

    assert house.room.finished() == []


def test_a_cancelled_key_may_be_submitted_again(house: Open) -> None:
    house.room.submit(work_of("back"))
    assert house.denoiser.began.wait(LONG_S)
    house.room.cancel("back")
    second = work_of("back")
    house.room.submit(second)
    house.denoiser.gate.set()

    assert house.results(1)["back"].work is second


def test_a_key_is_submitted_once(house: Open) -> None:
    house.room.submit(work_of("twice"))

    with pytest.raises(ValueError, match="twice"):
        house.room.submit(work_of("twice"))


@pytest.mark.parametrize("batch", [1, 4])
def test_an_engine_that_fails_on_one_step_serves_the_others(batch: int) -> None:
    def refuse(condition: Array) -> None:
        if (condition == 7.0).any():
            raise EngineError("the device gave up")

    house = Open(Gated((batch,), trouble=refuse))
    house.denoiser.gate.set()
    for key, mark in (("a", 0.0), ("sick", 7.0), ("z", 0.0)):
        house.room.submit(work_of(key, mark))
    house.room.start()

    found = house.results(3)

    assert found["sick"].draws is None
    assert "the device gave up" in found["sick"].fault
    for key in ("a", "z"):
        draws = found[key].draws
        assert draws is not None
        assert draws.tobytes() == drawn(key).tobytes()
    assert house.room.alive
    assert house.room.close(LONG_S)


def test_the_death_of_the_thread_is_seen() -> None:
    def break_down(condition: Array) -> None:
        raise ZeroDivisionError("a mistake of ours")

    house = Open(Gated(trouble=break_down))
    house.denoiser.gate.set()
    house.room.start()
    house.room.submit(work_of("step"))

    assert house.bell.acquire(timeout=LONG_S)
    assert house.room.close(LONG_S)

    assert not house.room.alive
    assert isinstance(house.room.death, ZeroDivisionError)


def test_closing_waits_for_the_running_call_and_no_longer() -> None:
    house = Open(Gated())
    house.room.start()
    house.room.submit(work_of("step"))
    assert house.denoiser.began.wait(LONG_S)

    began = time.monotonic()
    assert not house.room.close(0.05)
    assert time.monotonic() - began < LONG_S / 2

    house.denoiser.gate.set()
    assert house.room.close(LONG_S)
    assert house.room.death is None
    assert house.room.counters.calls == 1


def test_a_room_that_never_opened_can_be_closed() -> None:
    assert EngineRoom([GaussianDenoiser()]).close(0.0)
