"""What a fit is given: every state's twin, and the globe seen from the other pole."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.archive import Archive, Found, StateKey
from streamer.domain import Array, Grid
from streamer.grib.manifest import read_manifest
from streamer.material import Material, coarse_grid, gather, row_weights
from streamer.training_set import normalise

GLOBE = Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
WINDS = (Found(165, "10u", "m s**-1"), Found(166, "10v", "m s**-1"))


def archive_of(fine: Array, grid: Grid = GLOBE) -> Archive:
    days = [datetime(2018, 10, 6 + day, tzinfo=UTC) for day in range(len(fine))]
    return Archive(WINDS, grid, tuple(StateKey(day, "0", 0) for day in days), fine)


@pytest.fixture(scope="module")
def fine() -> Array:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, 2, 181, 360)).astype(np.float32)
    # Smooth enough to have a coarse twin, and with means that are not 0.
    means = np.array([[[[3.0]], [[-2.0]]]])
    fields: Array = (0.1 * np.cumsum(noise, axis=-1) + means).astype(np.float32)
    return fields


@pytest.fixture(scope="module")
def material(fine: Array, shared_data: Path) -> Material:
    surface = shared_data / "constants" / "era5-z-lsm-0p25.nc"
    return gather(archive_of(fine), surface, 4.0, 1)


def test_the_mirror_is_the_globe_with_its_poles_exchanged(
    material: Material, fine: Array, shared_data: Path
) -> None:
    mirror = material.lesson().learn.mirror
    assert mirror is not None
    surface = shared_data / "constants" / "era5-z-lsm-0p25.nc"
    turned: Array = fine[:, :, ::-1] * np.array([[[[1.0]], [[-1.0]]]], np.float32)

    other = gather(archive_of(np.ascontiguousarray(turned)), surface, 4.0, 1)
    # The same statistics must do for both.
    residual, condition = normalise(turned, other.twin, material.statistics)

    for found, own, wanted in (
        (mirror.residual, material.residual, residual),
        (mirror.condition, material.condition, condition),
    ):
        seen = own[:, :, ::-1] * found[:, 0, None, None] + found[:, 1, None, None]
        assert np.allclose(seen, wanted, atol=2e-4)
    names = ("sin_latitude", "slope_north")
    signs = [-1.0 if name in names else 1.0 for name in material.constants]
    assert mirror.constants[:, 0].tolist() == signs


def area_of(grid: Grid) -> Archive:
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((3, 2, *grid.shape)).astype(np.float32)
    return archive_of(np.cumsum(noise, axis=-1), grid)


def test_a_globe_is_learnt_once_for_every_place_of_its_boxes(material: Material) -> None:
    lesson = material.lesson()

    assert len(lesson.learn.residual) == 4 * len(material.split.learn)
    first = list(material.split.learn)
    assert np.array_equal(lesson.learn.condition[: len(first)], material.condition[first])
    # What is held back is what the daemon will meet.
    assert np.array_equal(
        lesson.held_back.residual, material.residual[list(material.split.held_back)]
    )


@pytest.fixture(scope="module")
def within(shared_data: Path) -> Material:
    """British Isles, with a margin that does not end at coarse points."""
    surface = shared_data / "constants" / "era5-z-lsm-0p25.nc"
    return gather(area_of(Grid(58.5, -10.25, 0.25, 0.25, 36, 52)), surface, 1.0, 1)


def test_a_limited_area_is_cut_to_the_coarse_points_within_it(within: Material) -> None:
    assert within.archive.grid == Grid(58.0, -10.0, 0.25, 0.25, 33, 49)
    assert within.coarse.grid == Grid(58.0, -10.0, 1.0, 1.0, 9, 13)
    whole = area_of(Grid(58.5, -10.25, 0.25, 0.25, 36, 52))
    assert np.array_equal(within.archive.fine, whole.fine[:, :, 2:35, 1:50])
    assert within.twin.shape == (3, 2, 33, 49)


def test_the_daemon_reads_the_same_coarse_grid_and_operators(within: Material) -> None:
    grid = within.archive.grid
    part = {
        "grid": {key: getattr(grid, key) for key in grid.__dataclass_fields__},
        "coarse": {"method": "mir", "grid": [1.0, 1.0], "interpolation": "grid-box-average"},
        "interpolation": within.interpolation,
        "parameters": {"2t": {"units": "K", "identities": [{"paramId": 167}], "range": [0, 400]}},
    }

    manifest = read_manifest(part)

    assert (manifest.coarse, manifest.interpolation) == (within.coarse, "bilinear")


def test_a_part_of_the_globe_is_neither_rolled_nor_mirrored(within: Material) -> None:
    learn = within.lesson().learn

    assert not learn.periodic
    assert learn.mirror is None
    assert learn.residual.shape == (2, 2, 33, 49)
    # Equal boxes know nothing of how rough the heights within are.
    assert list(within.constants) == [
        "sin_latitude", "log_secant_latitude", "z", "slope_east", "slope_north", "lsm",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("grid", "spacing", "words"),
    [
        (GLOBE, 1.0, "--coarse is 1 degrees, wanted more than the archive's 1"),
        (Grid(60.0, 0.0, 1.0, 1.0, 30, 360), 4.0, "a band"),
        (Grid(58.0, -10.0, 0.25, 0.25, 33, 49), 8.0, "holds 1 rows and 2 columns"),
    ],
)
def test_an_area_that_no_coarse_grid_serves_is_refused(
    grid: Grid, spacing: float, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        coarse_grid(grid, spacing)


def test_coarse_points_that_are_none_of_the_archive_are_refused(shared_data: Path) -> None:
    surface = shared_data / "constants" / "era5-z-lsm-0p25.nc"

    with pytest.raises(UsageError, match="wanted --coarse to be a multiple"):
        gather(area_of(Grid(58.0, -10.0, 0.3, 0.3, 28, 41)), surface, 1.0, 1)


def test_rows_count_by_their_area_and_more_about_the_poles() -> None:
    weights = row_weights(GLOBE)

    assert weights[90] == 1.0
    assert weights[90 - 45] == pytest.approx(0.3 + 0.7 * np.cos(np.pi / 4))
    assert (weights[:19] == np.float32(1.3)).all()
    assert weights[90 - 66] == pytest.approx(0.65)
    assert np.array_equal(weights, weights[::-1])
