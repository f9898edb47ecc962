"""Tiles that are carried their whole way in one go, where an engine can do that."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.multistep import MultistepSettings
from engines.sampler import Sampler, SamplerSettings, calls
from streamer.domain import Array
from streamer.downscale.paths import Batch
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Finished, Recipe, Work
from streamer.downscale.workload import Whole, Workload
from tests.streamer.downscale.engines import Running
from tests.streamer.downscale.small import bundle_of

BUNDLE = bundle_of()
LAYOUT = Layout.cover(BUNDLE.shape, BUNDLE.tile, BUNDLE.overlap, periodic=True)
TILES = len(LAYOUT.tiles)
SETTINGS = SamplerSettings(steps=3, sigma_max=10.0, sigma_min=0.1)
CHURNED = replace(SETTINGS, s_churn=2.0, s_min=0.2, s_max=5.0)
MULTISTEP = MultistepSettings((10.0, 2.0, 0.4), (0.9, 0.7), 0.2)


def work_of(key: str, draws: int = 1, urgency: float = 0.0, settings: Sampler = SETTINGS) -> Work:
    condition = np.full((3, *BUNDLE.shape), len(key), dtype=np.float32)
    names = tuple(f"{key}/{i}".encode() for i in range(draws))
    return Work(key, Recipe(BUNDLE, LAYOUT, settings), condition, names, urgency)


def answered(batch: Batch, engine: Running, size: int) -> Array:
    if batch.is_whole:
        return engine.sample(*batch.whole_inputs(size))
    return engine.denoise(*batch.inputs(size))


def finish(
    whole: Whole,
    works: list[Work],
    limit: int,
    engine: Running | None = None,
    see: Callable[[Batch], None] = lambda _: None,
) -> dict[object, Finished]:
    """Drive the works to their ends in calls of `limit` tiles, padded, and return them by key."""
    workload, engine = Workload(whole), engine or Running()
    for work in works:
        workload.add(work)
    while (batch := workload.next_batch(limit)) is not None:
        see(batch)
        workload.store(batch, answered(batch, engine, limit))
    return {finished.work.key: finished for finished in workload.finished()}


def keys_in(batch: Batch) -> set[object]:
    return {job.step.work.key for job in batch.jobs}


@pytest.mark.parametrize("settings", [SETTINGS, CHURNED, MULTISTEP])
@pytest.mark.parametrize("whole", ["full", "always"])
def test_a_whole_run_gives_what_single_calls_give(whole: Whole, settings: Sampler) -> None:
    work = [work_of("step", 2, settings=settings)]
    engine = Running()

    found = finish(whole, work, 4, engine)["step"]

    wanted = finish("never", work, 4)["step"]
    assert engine.runs
    assert found.residual is not None
    assert wanted.residual is not None
    np.testing.assert_allclose(found.residual, wanted.residual, atol=2e-6)
    assert found.calls == wanted.calls == 2 * TILES * calls(settings)


def test_only_tiles_that_fill_a_batch_go_whole() -> None:
    engine = Running()

    finish("full", [work_of("step")], TILES - 2, engine)

    assert engine.runs == [TILES - 2]
    assert engine.seen == [TILES - 2] * calls(SETTINGS)


def test_a_whole_batch_fills_from_several_steps() -> None:
    batches: list[Batch] = []

    finish("full", [work_of("one"), work_of("two")], 2 * TILES, see=batches.append)

    assert [(keys_in(batch), batch.is_whole) for batch in batches] == [({"one", "two"}, True)]


def test_tiles_under_way_leave_a_full_batch_of_fresh_ones_to_itself() -> None:
    workload, engine = Workload("full"), Running()
    workload.add(work_of("begun"))
    first = workload.next_batch(TILES + 1)
    assert first is not None
    assert not first.is_whole
    workload.store(first, answered(first, engine, TILES + 1))

    workload.add(work_of("fresh", 2))

    batches = [workload.next_batch(TILES + 1) for _ in range(2)]
    assert [(keys_in(b), b.is_whole) for b in batches if b] == [
        ({"begun"}, False),
        ({"fresh"}, True),
    ]


def test_tiles_under_way_are_joined_by_fresh_ones_that_fill_no_batch() -> None:
    workload, engine = Workload("full"), Running()
    workload.add(work_of("begun"))
    first = workload.next_batch(2 * TILES)
    assert first is not None
    workload.store(first, answered(first, engine, 2 * TILES))

    workload.add(work_of("fresh"))

    batch = workload.next_batch(2 * TILES)
    assert batch is not None
    assert (keys_in(batch), batch.is_whole) == ({"begun", "fresh"}, False)


def test_other_samplers_never_share_a_run() -> None:
    batches: list[Batch] = []
    works = [work_of("one"), work_of("other", settings=CHURNED)]

    finish("always", works, 100, see=batches.append)

    assert [keys_in(batch) for batch in batches] == [{"one"}, {"other"}]


def test_an_urgent_step_goes_before_an_older_one() -> None:
    order: list[set[object]] = []

    finish("full", [work_of("calm"), work_of("urgent", urgency=1.0)], TILES,
           see=lambda batch: order.append(keys_in(batch)))  # fmt: skip

    assert order == [{"urgent"}, {"calm"}]


@given(st.permutations(["a", "b", "c"]), st.integers(1, 2 * TILES))
def test_where_all_go_whole_company_changes_no_byte(order: list[str], limit: int) -> None:
    wanted = finish("always", [work_of("b", 2)], 1)["b"].residual
    assert wanted is not None

    found = finish("always", [work_of(key, 2) for key in order], limit)["b"].residual

    assert found is not None
    assert found.tobytes() == wanted.tobytes()


def test_a_whole_run_that_fails_is_tried_tile_by_tile_and_costs_one_step() -> None:
    workload, engine = Workload("always"), Running()
    for key in ("sick", "sound"):
        workload.add(work_of(key))
    done: dict[object, Finished] = {}

    while (batch := workload.next_batch(100)) is not None:
        if "sick" in keys_in(batch):
            workload.fail(batch, "too hot")
        else:
            assert batch.is_whole
            workload.store(batch, answered(batch, engine, len(batch.jobs)))
        done |= {finished.work.key: finished for finished in workload.finished()}

    assert done["sick"].fault == "draw 0, tile 0: too hot"
    assert done["sound"].residual is not None


def test_a_run_that_is_not_finite_ends_its_step_and_nobody_elses() -> None:
    workload, engine = Workload("always"), Running()
    for key in ("sick", "sound"):
        workload.add(work_of(key))
    batch = workload.next_batch(100)
    assert batch is not None
    answers = answered(batch, engine, len(batch.jobs))
    answers[[job.step.work.key == "sick" for job in batch.jobs]] *= np.nan

    workload.store(batch, answers)

    found = {finished.work.key: finished for finished in workload.finished()}
    assert "not finite" in found["sick"].fault
    assert found["sound"].residual is not None
