"""Only tiles that somebody wants are computed, and their pixels are the whole grid's."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.sampler import calls
from streamer.domain import Array
from streamer.downscale.tiles import Layout, cut, stitch
from streamer.downscale.work import Work
from streamer.downscale.workload import Workload
from tests.streamer.downscale.engines import BUNDLE, LONG_S, RECIPE, House, Strict, work_of
from tests.streamer.downscale.test_tiles import field_of, layouts

LAYOUT = RECIPE.layout
TILES = len(LAYOUT.tiles)


def finish(work: Work, limit: int = 1) -> tuple[Array, int]:
    """Drive a step to its end; return its residual and the calls that it took."""
    workload, denoiser = Workload(), Strict()
    workload.add(work)
    while (batch := workload.next_batch(limit)) is not None:
        workload.store(batch, denoiser.denoise(*batch.inputs()))
    (finished,) = workload.finished()
    assert finished.residual is not None, finished.fault
    return finished.residual, finished.calls


def missing(layout: Layout, wanted: set[int]) -> NDArray[np.bool_]:
    """True, (H, W), where a tile that is not wanted lies: found point by point."""
    found = np.zeros(layout.shape, dtype=bool)
    for i, tile in enumerate(layout.tiles):
        if i not in wanted:
            columns = np.arange(tile.column, tile.column + tile.width) % layout.shape[1]
            found[tile.row : tile.row + tile.height, columns] = True
    return found


@given(layouts(), st.data())
def test_blending_some_tiles_gives_the_bytes_of_all_or_nothing(
    layout: Layout, data: st.DataObject
) -> None:
    count = len(layout.tiles)
    wanted = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    rng = np.random.default_rng(2)
    tiles = [tile + rng.standard_normal() for tile in cut(field_of(layout.shape), layout)]
    tiles = [np.asarray(tile, dtype=np.float32) for tile in tiles]

    found = stitch([tiles[i] for i in wanted], layout, wanted=wanted)

    hidden = missing(layout, set(wanted))
    assert np.isnan(found[:, hidden]).all()
    assert found[:, ~hidden].tobytes() == stitch(tiles, layout)[:, ~hidden].tobytes()


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_only_wanted_tiles_are_computed_and_each_of_them_once(limit: int) -> None:
    whole, _ = finish(work_of("step"))

    found, cost = finish(replace(work_of("step"), wanted=(4, 1, 4)), limit)

    assert cost == 2 * 2 * calls(RECIPE.settings)
    hidden = missing(LAYOUT, {1, 4})
    assert np.isnan(found[..., hidden]).all()
    assert 0 < hidden.sum() < hidden.size
    assert found[..., ~hidden].tobytes() == whole[..., ~hidden].tobytes()


def test_all_tiles_wanted_by_name_give_the_bytes_of_all() -> None:
    whole, cost = finish(work_of("step"))

    found, same = finish(replace(work_of("step"), wanted=tuple(range(TILES))))

    assert (found.tobytes(), same) == (whole.tobytes(), cost)


def test_tiles_that_are_blended_at_every_level_are_all_computed_whatever_is_wanted() -> None:
    fused = work_of("step", recipe=replace(RECIPE, fusion="level"))
    whole, cost = finish(fused)

    found, same = finish(replace(fused, wanted=(0,)))

    assert (found.tobytes(), same) == (whole.tobytes(), cost)
    assert np.isfinite(found).all()


def test_what_nobody_wanted_hides_nothing_that_the_network_did() -> None:
    """Points without a tile are NaN by design; a NaN of the network still fails the step."""
    workload, denoiser = Workload(), Strict()
    workload.add(replace(work_of("step"), wanted=(0,)))
    batch = workload.next_batch()
    assert batch is not None
    answer = denoiser.denoise(*batch.inputs())
    answer[0, 0, 1, 1] = np.nan

    workload.store(batch, answer)

    (finished,) = workload.finished()
    assert finished.residual is None
    assert "not finite" in finished.fault


@pytest.mark.filterwarnings("error")
def test_points_without_a_tile_raise_no_warning_on_their_way_to_physical_units() -> None:
    normals = tuple(replace(n, transform="log1p") for n in BUNDLE.normalisation)
    bundle = replace(BUNDLE, normalisation=normals)
    recipe = replace(RECIPE, bundle=bundle)
    house = House(Strict())

    result = house.work_off(replace(work_of("step", recipe=recipe), wanted=(2,)))["step"]

    assert result.draws is not None
    hidden = missing(LAYOUT, {2})
    assert np.isnan(result.draws[..., hidden]).all()
    assert np.isfinite(result.draws[..., ~hidden]).all()
    assert house.room.close(LONG_S)


@pytest.mark.parametrize("wanted", [(), (TILES,), (-1, 0)])
def test_tiles_that_the_layout_does_not_have_are_refused(wanted: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="step: "):
        replace(work_of("step"), wanted=wanted)
