"""Overlapping tiles that are blended at every level, not only at the end."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.denoiser import GaussianDenoiser
from engines.noise import Window, keyed
from engines.sampler import SamplerSettings, calls, run, solver
from streamer.domain import Array
from streamer.downscale.paths import Batch
from streamer.downscale.tiles import Layout, cut, stitch
from streamer.downscale.work import Finished, Fusion, Recipe, Work
from streamer.downscale.workload import Workload
from tests.streamer.downscale.small import bundle_of

BUNDLE = bundle_of()
LAYOUT = Layout.cover(BUNDLE.shape, BUNDLE.tile, BUNDLE.overlap, periodic=True)
TILES = len(LAYOUT.tiles)
SETTINGS = SamplerSettings(
    steps=3, sigma_max=10.0, sigma_min=0.1, s_churn=2.0, s_min=0.2, s_max=5.0
)
EXACT = GaussianDenoiser(0.2, 0.6)


class Sideways(GaussianDenoiser):
    """Shrinks each tile towards its own mean: what it gives a point depends on the tile's edge."""

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        mean = x.mean(axis=(-2, -1), keepdims=True)
        shrunk = super().denoise(x, sigma, condition, labels)
        return np.asarray(shrunk + np.float32(0.3) * mean, dtype=np.float32)


def work_of(key: str, fusion: Fusion = "level", draws: int = 1, layout: Layout = LAYOUT) -> Work:
    condition = np.zeros((3, *BUNDLE.shape), dtype=np.float32)
    names = tuple(f"{key}/{i}".encode() for i in range(draws))
    return Work(key, Recipe(BUNDLE, layout, SETTINGS, fusion), condition, names)


def finish(
    works: list[Work], limit: int = 1, denoiser: GaussianDenoiser = EXACT
) -> dict[object, Finished]:
    workload = Workload()
    for work in works:
        workload.add(work)
    while (batch := workload.next_batch(limit)) is not None:
        workload.store(batch, denoiser.denoise(*batch.inputs()))
    return {finished.work.key: finished for finished in workload.finished()}


def residual_of(work: Work, limit: int = 1, denoiser: GaussianDenoiser = EXACT) -> Array:
    residual = finish([work], limit, denoiser)[work.key].residual
    assert residual is not None
    return residual


def whole_globe(key: bytes, denoiser: GaussianDenoiser) -> Array:
    """Sample the globe with a denoiser whose tiles are blended inside it: what fusion means."""
    window = Window((0, BUNDLE.shape[0]), (0, BUNDLE.shape[1]), BUNDLE.shape[1])
    nothing = np.zeros((1, 0, 1, 1), dtype=np.float32)

    def blended(x: Array, sigma: float) -> Array:
        level = np.array([sigma], dtype=np.float32)
        tiles = [denoiser.denoise(tile[None], level, nothing)[0] for tile in cut(x, LAYOUT)]
        return stitch(tiles, LAYOUT)

    return run(solver(SETTINGS, keyed(key, 2, window), BUNDLE.preconditioning), blended)


def test_with_a_pointwise_denoiser_both_ways_of_blending_agree() -> None:
    at_end = residual_of(work_of("step", "end", draws=2))

    at_levels = residual_of(work_of("step", "level", draws=2))

    np.testing.assert_allclose(at_levels, at_end, atol=5e-6)


def test_fusion_is_the_sampler_of_the_globe_around_blended_tiles() -> None:
    found = residual_of(work_of("step"), denoiser=Sideways())

    assert found[0].tobytes() == whole_globe(b"step/0", Sideways()).tobytes()


def test_where_tiles_disagree_the_two_ways_differ() -> None:
    at_end = residual_of(work_of("step", "end"), denoiser=Sideways())

    at_levels = residual_of(work_of("step", "level"), denoiser=Sideways())

    assert np.abs(at_levels - at_end).max() > 0.01


def test_on_a_single_tile_fusion_changes_no_byte() -> None:
    one = Layout.whole(BUNDLE.shape)

    found = residual_of(work_of("step", "level", layout=one), denoiser=Sideways())

    wanted = residual_of(work_of("step", "end", layout=one), denoiser=Sideways())
    assert found.tobytes() == wanted.tobytes()


def test_fusion_costs_as_many_calls() -> None:
    for fusion in ("end", "level"):
        finished = finish([work_of("step", fusion, draws=2)])["step"]
        assert finished.calls == 2 * TILES * calls(SETTINGS)


@given(st.permutations(["a", "b", "c"]), st.integers(1, 3 * TILES))
def test_company_changes_no_byte_of_a_fused_draw(order: list[str], limit: int) -> None:
    wanted = residual_of(work_of("b", draws=2), denoiser=Sideways())

    found = finish([work_of(key, draws=2) for key in order], limit, Sideways())["b"].residual

    assert found is not None
    assert found.tobytes() == wanted.tobytes()


def test_fused_draws_and_lone_tiles_share_calls() -> None:
    workload = Workload()
    workload.add(work_of("fused"))
    workload.add(work_of("alone", "end"))

    batch = workload.next_batch(100)

    assert batch is not None
    assert len(batch.jobs) == 2 * TILES


def test_a_fused_draw_waits_for_its_last_tile_while_the_next_draw_goes_on() -> None:
    workload = Workload()
    workload.add(work_of("step", draws=2))
    held = workload.next_batch(1)
    assert held is not None

    seen: list[Batch] = []
    while (batch := workload.next_batch(1)) is not None:
        seen.append(batch)
        workload.store(batch, EXACT.denoise(*batch.inputs()))

    draws = [batch.jobs[0].path.draw for batch in seen]
    assert draws == [0] * (TILES - 1) + [1] * TILES * calls(SETTINGS)
    workload.store(held, EXACT.denoise(*held.inputs()))
    assert workload.has_jobs


def test_fused_tiles_are_never_sent_their_whole_way() -> None:
    workload = Workload("always")
    workload.add(work_of("step"))

    batch = workload.next_batch(TILES)

    assert batch is not None
    assert not batch.is_whole


def test_a_direct_bundle_is_answered_once_and_blended_once() -> None:
    direct = replace(BUNDLE, preconditioning=replace(BUNDLE.preconditioning, kind="direct"))
    condition = np.zeros((3, *BUNDLE.shape), dtype=np.float32)

    found = [
        finish([Work("step", Recipe(direct, LAYOUT, SETTINGS, fusion), condition, (b"a",))])
        for fusion in ("end", "level")
    ]

    residuals = [finished["step"].residual for finished in found]
    assert [finished["step"].calls for finished in found] == [TILES, TILES]
    assert residuals[0] is not None
    assert residuals[1] is not None
    assert residuals[0].tobytes() == residuals[1].tobytes()


@pytest.mark.parametrize("offset", [(0, 0), (5, 7)])
def test_wrapped_and_shifted_tiles_are_fused_as_well(offset: tuple[int, int]) -> None:
    layout = Layout.cover(BUNDLE.shape, BUNDLE.tile, BUNDLE.overlap, periodic=True, offset=offset)

    found = residual_of(work_of("step", layout=layout))

    np.testing.assert_allclose(found, residual_of(work_of("step", "end")), atol=5e-6)
