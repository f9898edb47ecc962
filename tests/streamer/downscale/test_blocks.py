"""Blocks edge to edge with noise of their own: what IPSL-AID does, to be compared with."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import UsageError
from streamer.domain import Array
from streamer.downscale.paths import OpenStep
from streamer.downscale.tiles import Layout, cut, stitch
from streamer.downscale.work import Recipe, Work
from streamer.downscale.workload import Workload
from tests.streamer.downscale.engines import Strict
from tests.streamer.downscale.small import bundle_of
from tests.streamer.downscale.test_tiles import field_of

#: Neighbours share two columns of the grid, of which one block keeps both.
BUNDLE = bundle_of(shape=(12, 30), tile=(6, 16))
BLOCKS = Layout.blocks(BUNDLE.shape, BUNDLE.tile)


def residual_of(layout: Layout) -> Array:
    workload, denoiser = Workload(), Strict()
    condition = np.zeros((3, *BUNDLE.shape), dtype=np.float32)
    workload.add(Work("step", Recipe(BUNDLE, layout, BUNDLE.sampler), condition, (b"draw",)))
    while (batch := workload.next_batch()) is not None:
        workload.store(batch, denoiser.denoise(*batch.inputs()))
    (finished,) = workload.finished()
    assert finished.residual is not None, finished.fault
    drawn: Array = finished.residual[0]
    return drawn


def test_the_quarter_degree_globe_takes_twenty_blocks_and_leaves_one_row_over() -> None:
    layout = Layout.blocks((721, 1440), (144, 360))

    assert layout.rows.starts == (0, 144, 288, 432, 576)
    assert layout.columns.starts == (0, 360, 720, 1080)
    ones = np.ones((1, 721, 1440), dtype=np.float32)
    found = stitch(cut(ones, layout), layout)
    assert (found[:, :720] == 1.0).all()
    assert (found[:, 720] == 0.0).all()


@given(st.data())
def test_every_point_is_one_blocks_or_left_over(data: st.DataObject) -> None:
    shape = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    tile = data.draw(st.integers(1, shape[0])), data.draw(st.integers(1, shape[1]))
    whole = field_of(shape)
    layout = Layout.blocks(shape, tile)

    found = stitch(cut(whole, layout), layout)

    covered = stitch([np.ones_like(part) for part in cut(whole, layout)], layout) == 1.0
    assert found.tobytes() == np.where(covered, whole, np.float32(0.0)).tobytes()
    for axis, size in ((1, tile[0]), (2, tile[1])):
        left = np.count_nonzero(~covered.any(axis=3 - axis)[0])
        assert left <= size / 10


def test_noise_of_blocks_is_their_own_and_that_of_tiles_is_the_points() -> None:
    def noise_at_the_shared_columns(layout: Layout) -> list[Array]:
        condition = np.zeros((3, *BUNDLE.shape), dtype=np.float32)
        work = Work("step", Recipe(BUNDLE, layout, BUNDLE.sampler), condition, (b"draw",))
        first, second = (path.noise()(0) for path in OpenStep.of(work, 0).paths()[:2])
        return [first[..., -2:], second[..., :2]]

    tiles = Layout.cover(BUNDLE.shape, BUNDLE.tile, (0, 2), periodic=False)
    assert tiles.columns.starts == BLOCKS.columns.starts == (0, 14)

    one, other = noise_at_the_shared_columns(tiles)
    mine, others = noise_at_the_shared_columns(BLOCKS)

    np.testing.assert_array_equal(one, other)
    assert np.abs(mine - others).min() > 0


def test_blocks_repeat_their_bytes_and_differ_from_tiles() -> None:
    found = residual_of(BLOCKS)

    assert found.tobytes() == residual_of(BLOCKS).tobytes()
    tiles = Layout.cover(BUNDLE.shape, BUNDLE.tile, (0, 2), periodic=False)
    assert np.abs(found - residual_of(tiles)).max() > 0.1


def test_what_blocks_leave_over_gets_nothing_drawn() -> None:
    bundle = bundle_of(shape=(21, 36), tile=(20, 36))

    layout = Layout.blocks(bundle.shape, bundle.tile)

    assert len(layout.tiles) == 1
    assert (stitch(cut(field_of(bundle.shape), layout), layout)[:, 20] == 0.0).all()


@pytest.mark.parametrize("tile", [(13, 16), (6, 31), (0, 16)])
def test_blocks_that_do_not_fit_are_refused(tile: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="do not fit a grid of"):
        Layout.blocks(BUNDLE.shape, tile)
