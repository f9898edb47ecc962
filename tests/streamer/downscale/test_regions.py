"""Regions: where they lie, which tiles they need, and that their pixels are the whole's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.bundle import Bundle, open_manifest, shipped_names
from engines.denoiser import Denoiser
from engines.errors import UsageError
from engines.noise import Window
from engines.open import open_bundle
from engines.sampler import SamplerSettings, calls
from streamer.domain import Array, Grid
from streamer.downscale.condition import condition
from streamer.downscale.regions import (
    NAMED,
    Region,
    cropped,
    grid_of,
    named,
    needed_of,
    tiles_of,
    tiles_of_all,
    whole,
    window,
)
from streamer.downscale.tiles import Layout, Tile
from streamer.downscale.work import Recipe, Work
from streamer.downscale.workload import Workload
from tests.benchmarks.seams import held_back, read_steps
from tests.conftest import skip_at_a_desk
from tests.streamer.downscale.small import bundle_of
from tests.streamer.downscale.test_fusion import EXACT, Sideways
from tests.streamer.downscale.test_tiles import layouts

QUARTER = Grid(90.0, 0.0, 0.25, 0.25, 721, 1440)
TILE = (144, 360)
SMALL = Grid(90.0, 0.0, 10.0, 10.0, 19, 36)
SMALL_TILE = (6, 9)
ALPS = Grid(50.0, 0.0, 0.5, 0.5, 41, 61)


@pytest.mark.parametrize(
    ("name", "size", "rows", "columns", "first"),
    [
        ("us", None, (132, 276), (868, 1228), (57.0, 217.0)),
        ("europe", None, (88, 232), (1300, 1660), (68.0, 325.0)),
        ("asia", (288, 720), (76, 364), (40, 760), (71.0, 10.0)),
    ],
)
def test_the_regions_that_ship_lie_around_their_centres(
    name: str,
    size: tuple[int, int] | None,
    rows: tuple[int, int],
    columns: tuple[int, int],
    first: tuple[float, float],
) -> None:
    region = replace(NAMED[name], size=size)

    found = window(region, QUARTER, TILE)

    assert found == Window(rows, columns, 1440)
    grid = grid_of(found, QUARTER)
    assert (grid.north, grid.west) == first
    assert grid.shape == (size or (144, 360))


@pytest.mark.parametrize(("lat", "rows"), [(90.0, (0, 144)), (80.0, (0, 144)), (-90.0, (577, 721))])
def test_a_region_at_a_pole_is_moved_to_lie_within_the_globe(
    lat: float, rows: tuple[int, int]
) -> None:
    assert window(Region("polar", (lat, 0.0)), QUARTER, TILE).rows == rows


@given(
    st.floats(-90, 90),
    st.floats(-180, 360),
    st.sampled_from([0.0, -180.0, 10.0]),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_a_regions_pixels_stand_where_its_grid_says(
    lat: float, lon: float, west: float, rows: int, columns: int
) -> None:
    grid = replace(SMALL, west=west)
    region = Region("here", (lat, lon), (rows * SMALL_TILE[0], columns * SMALL_TILE[1]))
    field = np.stack(np.meshgrid(grid.latitudes, grid.longitudes, indexing="ij"))

    found = window(region, grid, SMALL_TILE)
    part, cut = grid_of(found, grid), cropped(field.astype(np.float32), found)

    assert part.shape == cut.shape[1:] == region.size
    assert cut[0, :, 0].tolist() == part.latitudes.tolist()
    assert ((cut[1, 0] - part.longitudes) % 360.0).tolist() == [0.0] * part.columns
    assert -180.0 <= part.west < 360.0
    away = (part.longitudes - lon + 180.0) % 360.0 - 180.0
    assert np.abs(away).min() <= 5.0 + 1e-5
    assert np.abs(part.latitudes - lat).min() <= 5.0 + 1e-5


def test_a_region_all_the_way_round_stays_a_grid_that_does() -> None:
    found = window(Region("band", (0.0, 0.0), (6, 36)), SMALL, SMALL_TILE)

    assert grid_of(found, SMALL).is_periodic
    assert found.columns == (18, 54)


def test_the_whole_grid_is_a_window_that_cuts_nothing() -> None:
    field = np.zeros(SMALL.shape, dtype=np.float32)

    assert grid_of(whole(SMALL), SMALL) == SMALL
    assert cropped(field, whole(SMALL)).shape == SMALL.shape
    assert np.shares_memory(cropped(field, whole(SMALL)), field)


@pytest.mark.parametrize(
    ("grid", "size", "words"),
    [
        (QUARTER, (96, 144), "wanted 144 or 288 rows and 360 or 720 columns"),
        (QUARTER, (432, 360), "found 432x360 points"),
        (SMALL, (6, 10), "wanted 6 or 12 or 18 rows and 9 or 18 or 27 or 36 columns"),
        (SMALL, (24, 9), "of the grid of 19x36"),
    ],
)
def test_sizes_that_the_grid_does_not_offer_are_refused(
    grid: Grid, size: tuple[int, int], words: str
) -> None:
    tile = TILE if grid is QUARTER else SMALL_TILE

    with pytest.raises(UsageError, match="region odd: found") as caught:
        window(Region("odd", (0.0, 0.0), size), grid, tile)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("centre", "rows", "columns"),
    [
        ((40.0, 15.0), (14, 26), (20, 40)),
        ((50.2, -0.2), (0, 12), (0, 20)),
        ((30.0, 30.0), (29, 41), (41, 61)),
        ((49.0, 375.0 - 360.0), (0, 12), (20, 40)),
    ],
)
def test_in_a_limited_area_a_region_is_moved_both_ways(
    centre: tuple[float, float], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    found = window(Region("near", centre), ALPS, (12, 20))

    assert (found.rows, found.columns) == (rows, columns)


@pytest.mark.parametrize("centre", [(51.0, 10.0), (29.0, 10.0), (40.0, 31.0), (40.0, -1.0)])
def test_a_centre_outside_a_limited_area_is_refused_with_its_reach(
    centre: tuple[float, float],
) -> None:
    with pytest.raises(UsageError, match=r"far: found its centre .* 50 N 0 E to 30 N 30 E"):
        window(Region("far", centre), ALPS, (12, 20))


@pytest.mark.parametrize("centre", [(91.0, 0.0), (0.0, 361.0), (float("nan"), 0.0)])
def test_a_centre_that_is_no_place_is_refused(centre: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="wanted -90 to 90 N and -180 to 360 E"):
        window(Region("nowhere", centre), QUARTER, TILE)


def test_regions_are_found_by_name_and_the_users_own_come_first() -> None:
    own = {"alps": Region("alps", (46.5, 10.0)), "us": Region("us", (0.0, 0.0))}

    assert named("alps", own) is own["alps"]
    assert named("us", own) is own["us"]
    assert named("asia", own) is NAMED["asia"]
    with pytest.raises(UsageError, match=r"named europa, .*did you mean europe\?"):
        named("europa", own)


@given(layouts(), st.data())
def test_the_tiles_of_a_region_are_those_with_a_share_in_it(
    layout: Layout, data: st.DataObject
) -> None:
    height, width = (data.draw(st.integers(1, n)) for n in layout.shape)
    top = data.draw(st.integers(0, layout.shape[0] - height))
    left = data.draw(st.integers(0, layout.shape[1] - 1))
    asked = Window((top, top + height), (left, left + width), layout.shape[1])
    inside = np.zeros(layout.shape, dtype=bool)
    inside[top : top + height, np.arange(left, left + width) % layout.shape[1]] = True

    found = tiles_of(asked, layout)

    for i, tile in enumerate(layout.tiles):
        columns = np.arange(tile.column, tile.column + tile.width) % layout.shape[1]
        meets = inside[tile.row : tile.row + tile.height][:, columns].any()
        assert (i in found) == meets
    assert list(found) == sorted(set(found))


class Mean(Sideways):
    """Leans on all that a tile is told as well."""

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        told = condition.mean(axis=(-3, -2, -1), keepdims=True)
        return np.asarray(super().denoise(x, sigma, condition, labels) + told, dtype=np.float32)


def draws_of(bundle: Bundle, denoiser: Denoiser, work: Work) -> tuple[Array, list[int]]:
    """Return a step's residual, and the tile of every call, in order."""
    workload, asked = Workload(), []
    workload.add(work)
    while (batch := workload.next_batch()) is not None:
        asked += [job.tile for job in batch.jobs]
        workload.store(batch, denoiser.denoise(*batch.inputs()))
    (finished,) = workload.finished()
    assert finished.residual is not None, finished.fault
    assert finished.calls == len(asked)
    return finished.residual, asked


def refuse_differences(
    bundle: Bundle, denoiser: Denoiser, work: Work, windows: list[Window]
) -> None:
    """Compare regions of a step with the whole's, and count: every tile that is needed, once."""
    wanted = tiles_of_all(windows, work.recipe.layout)
    everything, _ = draws_of(bundle, denoiser, work)

    found, asked = draws_of(bundle, denoiser, replace(work, wanted=wanted))

    each = len(work.draws) * calls(work.recipe.settings, bundle.preconditioning.kind)
    assert 0 < len(wanted) < len(work.recipe.layout.tiles)
    assert {tile: asked.count(tile) for tile in asked} == dict.fromkeys(wanted, each)
    for region in windows:
        assert np.isfinite(cropped(found, region)).all()
        assert cropped(found, region).tobytes() == cropped(everything, region).tobytes()


def test_regions_have_the_whole_globes_pixels_to_the_last_bit() -> None:
    """Where a tile's values lean on all of it, so that a missing or moved tile would be seen."""
    bundle = bundle_of(tile=(6, 9), overlap=(1, 2))
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=True)
    told = np.random.default_rng(6).standard_normal((3, *bundle.shape)).astype(np.float32)
    work = Work("step", Recipe(bundle, layout, bundle.sampler), told, (b"a", b"b"))
    across, polar = Region("across", (40.0, 0.0)), Region("polar", (90.0, 30.0))
    windows = [window(region, SMALL, bundle.tile) for region in (across, polar)]

    refuse_differences(bundle, Sideways(0.2, 0.6), work, windows)


def test_a_region_needs_no_input_beyond_its_tiles() -> None:
    """So that a forecast of a part of the globe serves, NaN where it does not reach."""
    bundle = bundle_of(tile=(6, 9), overlap=(1, 2))
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=True)
    told = np.random.default_rng(6).standard_normal((3, *bundle.shape)).astype(np.float32)
    work = Work("step", Recipe(bundle, layout, bundle.sampler), told, (b"a",))
    region = window(Region("across", (40.0, 0.0)), SMALL, bundle.tile)
    wanted = tiles_of(region, layout)
    known = np.full_like(told, np.nan)
    for one in needed_of(wanted, layout):
        columns = np.arange(*one.columns) % one.width
        known[:, slice(*one.rows), columns] = told[:, slice(*one.rows), columns]
    assert np.isnan(known).any()

    found, _ = draws_of(bundle, Mean(0.2, 0.6), replace(work, condition=known, wanted=wanted))

    everything, _ = draws_of(bundle, Mean(0.2, 0.6), work)
    assert cropped(found, region).tobytes() == cropped(everything, region).tobytes()


def test_tiles_within_a_window_need_nothing_beyond_it_and_keep_the_globes_noise() -> None:
    """A pointwise denoiser gives there what it gives the whole globe: the noise is the same."""
    bundle = bundle_of(tile=(6, 9), overlap=(1, 2))
    told = np.zeros((3, *bundle.shape), dtype=np.float32)
    region = window(Region("across", (40.0, 0.0), (12, 18)), SMALL, bundle.tile)
    within = Layout.within(bundle.shape, bundle.tile, bundle.overlap, region)
    whole = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=True)

    found, everything = (
        draws_of(
            bundle, EXACT, Work("step", Recipe(bundle, layout, bundle.sampler), told, (b"a",))
        )[0]
        for layout in (within, whole)
    )

    assert tiles_of(region, within) == tuple(range(len(within.tiles)))
    for one in needed_of(range(len(within.tiles)), within):
        assert region.rows[0] <= one.rows[0] < one.rows[1] <= region.rows[1]
        start = (one.columns[0] - region.columns[0]) % bundle.shape[1]
        assert start + 9 <= region.columns[1] - region.columns[0]
    np.testing.assert_allclose(cropped(found, region), cropped(everything, region), atol=5e-6)


def test_one_tile_within_a_window_of_its_size_is_all_there_is() -> None:
    region = Window((4, 10), (30, 39), 36)

    within = Layout.within((19, 36), (6, 9), (1, 2), region)

    assert within.tiles == (Tile(4, 30, 6, 9),)
    with pytest.raises(UsageError, match="tiles of 7 rows"):
        Layout.within((19, 36), (7, 9), (1, 2), region)


@pytest.mark.slow
def test_a_region_of_a_real_forecast_has_the_globes_pixels_from_the_shipped_network(
    shared_data: Path,
) -> None:
    name = "gfs-wind-4to1"
    if name not in shipped_names():
        skip_at_a_desk(f"the bundle {name} does not ship yet")
    bundle = open_manifest(name)
    # One state of a day that no training saw, with as few levels as blend anything.
    paths = held_back(shared_data / "gfs-wind-1deg" / "train")[:1]
    (step,) = read_steps(paths, bundle)
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=True)
    recipe = Recipe(bundle, layout, SamplerSettings(steps=2, sigma_max=5.0, sigma_min=0.02))
    grid = Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
    work = Work("step", recipe, condition(step, bundle), (b"draw",))

    refuse_differences(
        bundle, open_bundle(bundle), work, [window(NAMED["europe"], grid, bundle.tile)]
    )
