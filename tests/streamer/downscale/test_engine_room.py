"""The engine's thread: what is submitted comes back, in physical units, or says why not."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import open_manifest
from engines.denoiser import Array, EngineSpec, GaussianDenoiser
from engines.errors import EngineError
from engines.open import open_bundle
from streamer.downscale.engine_room import EngineRoom, Result
from streamer.downscale.products import physical
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Recipe, Work
from streamer.downscale.workload import Workload
from tests.engines import tiny
from tests.streamer.downscale.small import bundle_of

BUNDLE = bundle_of()
RECIPE = Recipe(
    BUNDLE,
    Layout.cover(BUNDLE.shape, BUNDLE.tile, BUNDLE.overlap, periodic=True),
    BUNDLE.sampler,
)
LONG_S = 20.0


class Gated(GaussianDenoiser):
    """The closed form, which computes only while its gate is open, and fails where told."""

    def __init__(self, refuse: Callable[[Array], None] = lambda _: None, batch: int = 1) -> None:
        super().__init__(0.0, 1.0)
        self.gate = threading.Event()
        self.began = threading.Event()
        self._refuse = refuse
        self._batch = batch

    @property
    def spec(self) -> EngineSpec:
        return EngineSpec("gated", "f32", "cpu", "1", self._batch)

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        self.began.set()
        assert self.gate.wait(LONG_S)
        self._refuse(condition)
        return super().denoise(x, sigma, condition, labels)


class House:
    """An engine room with the bell that its results ring."""

    def __init__(self, denoiser: Gated) -> None:
        self.denoiser = denoiser
        self.bell = threading.Semaphore(0)
        self.room = EngineRoom([denoiser], wake=self.bell.release)

    def results(self, count: int) -> dict[object, Result]:
        found: dict[object, Result] = {}
        while len(found) < count:
            assert self.bell.acquire(timeout=LONG_S), f"only {set(found)} came back"
            found |= {r.key: r for r in self.room.finished()}
        return found


@pytest.fixture
def house() -> Iterator[House]:
    made = House(Gated())
    made.room.start()
    yield made
    made.denoiser.gate.set()
    assert made.room.close(LONG_S)


def work_of(key: str, mark: float = 0.0) -> Work:
    condition = np.full((3, *BUNDLE.shape), mark, dtype=np.float32)
    return Work(key, RECIPE, condition, (f"{key}/0".encode(), f"{key}/1".encode()))


def drawn(key: str) -> Array:
    """What the workload alone gives, without a thread."""
    workload, denoiser, work = Workload(), GaussianDenoiser(), work_of(key)
    workload.add(work)
    while (batch := workload.next_batch()) is not None:
        workload.store(batch, denoiser.denoise(*batch.inputs()))
    residual = workload.finished()[0].residual
    assert residual is not None
    return physical(residual, work.condition, BUNDLE)


def test_draws_come_back_in_physical_units(house: House) -> None:
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


def test_the_counters_tell_calls_tiles_and_busy_time(house: House) -> None:
    house.denoiser.gate.set()
    house.room.submit(work_of("step"))
    result = house.results(1)["step"]

    counters = house.room.counters

    assert counters.calls == counters.tiles == result.calls
    assert counters.busy_s == pytest.approx(result.seconds)
    assert counters.busy_s > 0


def test_steps_may_be_submitted_while_others_are_computed(house: House) -> None:
    house.room.submit(work_of("a"))
    assert house.denoiser.began.wait(LONG_S)
    house.room.submit(work_of("b"))
    house.denoiser.gate.set()

    assert set(house.results(2)) == {"a", "b"}


def test_pending_bytes_count_until_the_result_is_taken(house: House) -> None:
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


def test_a_cancelled_step_never_comes_back(house: House) -> None:
    house.room.submit(work_of("gone"))
    assert house.denoiser.began.wait(LONG_S)
    house.room.cancel("gone")
    house.room.submit(work_of("stays"))
    house.denoiser.gate.set()

    assert set(house.results(1)) == {"stays"}
    assert house.room.finished() == []


def test_a_result_that_was_ready_is_not_given_to_one_who_cancelled(house: House) -> None:
    house.denoiser.gate.set()
    house.room.submit(work_of("late"))
    assert house.bell.acquire(timeout=LONG_S)

    house.room.cancel("late")

    assert house.room.finished() == []


def test_a_cancelled_key_may_be_submitted_again(house: House) -> None:
    house.room.submit(work_of("back"))
    assert house.denoiser.began.wait(LONG_S)
    house.room.cancel("back")
    second = work_of("back")
    house.room.submit(second)
    house.denoiser.gate.set()

    assert house.results(1)["back"].work is second


def test_a_key_is_submitted_once(house: House) -> None:
    house.room.submit(work_of("twice"))

    with pytest.raises(ValueError, match="twice"):
        house.room.submit(work_of("twice"))


@pytest.mark.parametrize("batch", [1, 4])
def test_an_engine_that_fails_on_one_step_serves_the_others(batch: int) -> None:
    def refuse(condition: Array) -> None:
        if (condition == 7.0).any():
            raise EngineError("the device gave up")

    house = House(Gated(refuse, batch))
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

    house = House(Gated(break_down))
    house.denoiser.gate.set()
    house.room.start()
    house.room.submit(work_of("step"))

    assert house.bell.acquire(timeout=LONG_S)
    assert house.room.close(LONG_S)

    assert not house.room.alive
    assert isinstance(house.room.death, ZeroDivisionError)


def test_closing_waits_for_the_running_call_and_no_longer() -> None:
    house = House(Gated())
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
