"""Draws that are handed over one by one: the same bytes, and no more memory for more of them."""

import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from streamer.domain import Array
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Fusion, Recipe, Work
from streamer.downscale.workload import Workload
from tests.streamer.downscale.engines import (
    LONG_S,
    RECIPE,
    House,
    Running,
    Strict,
    drawn,
    work_of,
)
from tests.streamer.downscale.small import bundle_of


class Shelf:
    """Keeps what is handed over, and notices two at once."""

    def __init__(self) -> None:
        self.draws: dict[int, Array] = {}
        self.threads: set[int] = set()
        self._busy = threading.Lock()

    def take(self, number: int, draw: Array) -> None:
        assert self._busy.acquire(blocking=False), "two draws of a step at once"
        assert number not in self.draws
        self.draws[number] = draw
        self.threads.add(threading.get_ident())
        self._busy.release()

    @property
    def stacked(self) -> Array:
        return np.stack([self.draws[i] for i in range(len(self.draws))])


def handed(work: Work) -> tuple[Work, Shelf]:
    shelf = Shelf()
    return replace(work, on_draw=shelf.take), shelf


@pytest.mark.parametrize("fusion", ["end", "level"])
@pytest.mark.parametrize("engines", [1, 3])
def test_handed_draws_are_those_of_the_result(fusion: Fusion, engines: int) -> None:
    recipe = replace(RECIPE, fusion=fusion)
    wanted = House(Strict()).work_off(work_of("step", 0.5, 4, recipe))["step"].draws
    work, shelf = handed(work_of("step", 0.5, 4, recipe))

    result = House(*(Strict() for _ in range(engines))).work_off(work)["step"]

    assert (result.draws, result.fault) == (None, "")
    assert wanted is not None
    assert shelf.stacked.tobytes() == wanted.tobytes()
    assert threading.get_ident() not in shelf.threads


def test_draws_of_tiles_that_went_their_whole_way_are_handed_over_too() -> None:
    work, shelf = handed(work_of("step", draws=3))
    engine = Running((4,))

    House(engine).work_off(work)

    assert engine.runs
    np.testing.assert_allclose(shelf.stacked, drawn("step", draws=3), atol=2e-5)


def test_handed_draws_of_a_part_have_the_bytes_of_the_whole_in_it() -> None:
    work, shelf = handed(replace(work_of("step"), wanted=(0,)))

    result = House(Strict()).work_off(work)["step"]

    seen = np.isfinite(shelf.stacked)
    assert seen.any()
    assert shelf.stacked[seen].tobytes() == drawn("step")[seen].tobytes()
    assert result.fault == ""


def test_a_taker_that_fails_costs_its_step_and_not_the_engine() -> None:
    def refuse(number: int, draw: Array) -> None:
        raise ZeroDivisionError("nothing to divide by")

    house = House(Strict())

    found = house.work_off(replace(work_of("sick", draws=3), on_draw=refuse), work_of("sound"))

    assert found["sick"].fault == "draw 0: nothing to divide by"
    assert found["sound"].draws is not None
    assert house.room.death is None


def test_a_cancelled_step_hands_no_more_draws_over() -> None:
    work, shelf = handed(work_of("gone", draws=5))
    workload, denoiser = Workload(), Strict()
    workload.add(work)
    while not shelf.draws:
        batch = workload.next_batch()
        assert batch is not None
        workload.store(batch, denoiser.denoise(*batch.inputs()))

    batch = workload.next_batch(100)
    assert batch is not None
    workload.cancel("gone")
    workload.store(batch, denoiser.denoise(*batch.inputs()))

    assert (set(shelf.draws), workload.next_batch()) == ({0}, None)


def test_every_draw_was_handed_over_when_the_result_is_there() -> None:
    """The last draws are held up, so that a result that comes too early would be seen."""
    early = threading.Event()
    work, shelf = handed(work_of("step", draws=4))

    def take(number: int, draw: Array) -> None:
        if len(shelf.draws) == 3:
            early.wait(0.05)
        shelf.take(number, draw)

    house = House(Strict(), Strict())
    house.room.submit(replace(work, on_draw=take))
    house.room.start()

    result = house.results(1)["step"]

    assert (sorted(shelf.draws), result.fault) == ([0, 1, 2, 3], "")
    assert house.room.close(LONG_S)


def _peak(draws: int, take: Callable[[int, Array], None] | None, fusion: Fusion) -> int:
    """Return the most bytes that were held while the draws of a step were made."""
    bundle = bundle_of(shape=(96, 192), tile=(48, 64), overlap=(8, 8))
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=True)
    recipe = Recipe(bundle, layout, bundle.sampler, fusion)
    condition = np.zeros((3, *bundle.shape), dtype=np.float32)
    names = tuple(f"{i}".encode() for i in range(draws))
    workload, denoiser = Workload(), Strict()
    tracemalloc.start()
    workload.add(Work("step", recipe, condition, names, on_draw=take))
    while (batch := workload.next_batch(2)) is not None:
        workload.store(batch, denoiser.denoise(*batch.inputs(2)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("fusion", ["end", "level"])
def test_memory_does_not_grow_with_draws_that_are_handed_over(fusion: Fusion) -> None:
    few, many = (_peak(draws, lambda *_: None, fusion) for draws in (2, 10))
    one_draw = 4 * 2 * 96 * 192

    assert many - few < one_draw / 2
    assert _peak(10, None, fusion) - _peak(2, None, fusion) > 7 * one_draw


def test_a_step_that_hands_draws_over_counts_one_of_them_as_held() -> None:
    work, _ = handed(work_of("step", draws=1))

    assert replace(work, draws=tuple(f"{i}".encode() for i in range(50))).size_bytes == (
        work.size_bytes
    )
    assert work.size_bytes == replace(work, on_draw=None).size_bytes


def test_a_room_that_hands_over_closes_like_any_other() -> None:
    work, _ = handed(work_of("step"))
    house = House(Strict())
    house.room.submit(work)
    house.room.start()

    house.results(1)

    assert house.room.close(LONG_S)
