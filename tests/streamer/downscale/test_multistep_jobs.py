"""Tiles of the multistep sampler in the queue: beside Heun's, fused, and what they cost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.denoiser import GaussianDenoiser
from engines.multistep import MultistepSettings
from engines.noise import Window, keyed
from engines.sampler import Sampler, SamplerSettings, calls, run, solver
from streamer.domain import Array
from streamer.downscale.paths import Batch
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Finished, Fusion, Recipe, Work
from streamer.downscale.workload import Workload
from tests.streamer.downscale.small import bundle_of

BUNDLE = bundle_of()
LAYOUT = Layout.cover(BUNDLE.shape, BUNDLE.tile, BUNDLE.overlap, periodic=True)
TILES = len(LAYOUT.tiles)
HEUN = SamplerSettings(steps=3, sigma_max=10.0, sigma_min=0.1)
FITTED = MultistepSettings((12.0, 3.4, 0.65), (1.1, 0.8), 0.18)
SHORTER = MultistepSettings((7.6, 1.2), (1.9,), 0.07)
EXACT = GaussianDenoiser(0.2, 0.6)


def work_of(sampler: Sampler, draws: int = 1, fusion: Fusion = "end") -> Work:
    condition = np.zeros((3, *BUNDLE.shape), dtype=np.float32)
    key = f"{sampler} {fusion}"
    names = tuple(f"{key}/{i}".encode() for i in range(draws))
    return Work(key, Recipe(BUNDLE, LAYOUT, sampler, fusion), condition, names)


def finish(works: list[Work], limit: int) -> tuple[dict[object, Finished], list[Batch]]:
    """Drive works to their ends; return them by key, and the calls that were made."""
    workload, batches = Workload(), list[Batch]()
    for work in works:
        workload.add(work)
    while (batch := workload.next_batch(limit)) is not None:
        batches.append(batch)
        workload.store(batch, EXACT.denoise(*batch.inputs()))
    return {finished.work.key: finished for finished in workload.finished()}, batches


def residual_of(finished: Finished) -> Array:
    assert finished.residual is not None, finished.fault
    return finished.residual


@given(st.integers(1, 4 * TILES))
def test_samplers_of_different_length_share_calls_and_keep_their_results(limit: int) -> None:
    works = [work_of(sampler) for sampler in (HEUN, FITTED, SHORTER)]

    together, batches = finish(works, limit)

    for work in works:
        alone = finish([work], 1)[0][work.key]
        assert together[work.key].calls == alone.calls == TILES * calls(work.recipe.settings)
        np.testing.assert_array_equal(residual_of(together[work.key]), residual_of(alone))
    if limit >= 3 * TILES:
        assert {job.step.work.key for job in batches[0].jobs} == {work.key for work in works}


def test_a_first_call_holds_tiles_at_three_levels() -> None:
    workload = Workload()
    for sampler in (HEUN, FITTED, SHORTER):
        workload.add(work_of(sampler))

    batch = workload.next_batch(3 * TILES)

    assert batch is not None
    assert np.unique(batch.inputs()[1]) == pytest.approx([7.6, 10.0, 12.0])


def test_draws_blended_at_every_level_follow_the_solver_of_the_whole_globe() -> None:
    work = work_of(FITTED, draws=2, fusion="level")

    found = finish([work], TILES)[0][work.key]

    window = Window((0, BUNDLE.shape[0]), (0, BUNDLE.shape[1]), BUNDLE.shape[1])
    nothing = np.zeros((1, 0, *BUNDLE.shape), dtype=np.float32)
    for key, residual in zip(work.draws, residual_of(found), strict=True):
        wanted = run(
            solver(FITTED, keyed(key, 2, window), BUNDLE.preconditioning),
            lambda x, s: EXACT.denoise(x[None], np.array([s], np.float32), nothing)[0],
        )
        np.testing.assert_allclose(residual, wanted, atol=2e-5)
    assert found.calls == 2 * TILES * calls(FITTED)
