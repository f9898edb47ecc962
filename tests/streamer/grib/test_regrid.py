"""MIR's operators: what they keep, how arrays and messages agree, and that they are quiet."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.domain import Grid
from streamer.grib import regrid
from streamer.grib.codes import opened
from streamer.grib.frame import split
from streamer.grib.manifest import Coarse, GribManifest, lattice
from streamer.grib.wants import Limits

pytestmark = pytest.mark.usefixtures("mir_cache")


def test_a_constant_stays_constant_down_and_up(wind_manifest: GribManifest) -> None:
    down = regrid.to_coarse(np.full((181, 360), 7.5), wind_manifest.grid, wind_manifest.coarse)
    up = regrid.to_fine(down, wind_manifest.coarse, wind_manifest.grid, "structured-bicubic")

    assert down.shape == (45, 90)
    assert up.shape == (181, 360)
    np.testing.assert_allclose(down, 7.5, rtol=1e-6)
    np.testing.assert_allclose(up, 7.5, rtol=1e-6)


@pytest.mark.parametrize("wave", [1, 5, 20])
def test_a_box_of_4_degrees_damps_a_wave_as_the_mean_of_its_points_does(
    wave: int, wind_manifest: GribManifest
) -> None:
    # The box spans two points to each side, of which the outermost count half.
    phase = np.radians(wave * np.arange(-2, 3))
    damping = np.cos(phase) @ np.array([0.5, 1, 1, 1, 0.5]) / 4
    fine, coarse = wind_manifest.grid, wind_manifest.coarse
    field = np.broadcast_to(np.cos(np.radians(wave * fine.longitudes)), fine.shape)

    found = regrid.to_coarse(field, fine, coarse)

    expected = damping * np.cos(np.radians(wave * coarse.grid.longitudes))
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-5)


def test_an_array_and_its_message_give_the_same_field(
    shared_data: Path, wind_manifest: GribManifest
) -> None:
    path = min((shared_data / "gfs-wind-1deg" / "train").iterdir())
    for message in split(path.read_bytes(), Limits()):
        assert isinstance(message, bytes)
        with opened(message) as handle:
            values = handle.values().reshape(wind_manifest.grid.shape)

        from_array = regrid.to_coarse(values, wind_manifest.grid, wind_manifest.coarse)
        from_message = regrid.message_to_coarse(message, wind_manifest.coarse)

        # The array goes through the matrix, whose sums are MIR's in another order.
        np.testing.assert_allclose(from_array, from_message, rtol=2e-7, atol=1e-6)


def test_a_field_on_the_coarse_grid_passes_unchanged(wind_manifest: GribManifest) -> None:
    coarse = wind_manifest.coarse
    field = np.random.default_rng(0).standard_normal((45, 90)).astype(np.float32)

    np.testing.assert_array_equal(regrid.to_coarse(field, coarse.grid, coarse), field)


def test_a_globe_that_begins_elsewhere_is_turned_to_the_same_field(
    wind_manifest: GribManifest,
) -> None:
    coarse = wind_manifest.coarse
    fine = np.random.default_rng(1).standard_normal((181, 360))
    west = Grid(90.0, -180.0, 1.0, 1.0, 181, 360)
    coarse_west = Grid(88.0, -180.0, 4.0, 4.0, 45, 90)
    expected = regrid.to_coarse(fine, wind_manifest.grid, coarse)

    turned = regrid.to_coarse(np.roll(fine, 180, axis=1), west, coarse)
    already = regrid.to_coarse(np.roll(expected, 45, axis=1), coarse_west, coarse)

    np.testing.assert_array_equal(turned, expected)
    np.testing.assert_array_equal(already, expected)


def test_the_matrices_are_mirs_own_operators(wind_manifest: GribManifest) -> None:
    coarse, fine = wind_manifest.coarse.grid, wind_manifest.grid
    for source, target, way in (
        (fine, coarse, "grid-box-average"),
        (coarse, fine, "structured-bicubic"),
    ):
        field = np.random.default_rng(2).standard_normal(source.shape)

        matrix = regrid.operator(source, target, way)

        assert matrix is not None
        asked = regrid._interpolate(field, source, target, way)
        found = (matrix @ field.ravel()).reshape(target.shape)
        np.testing.assert_allclose(found, asked, atol=1e-9)


def test_a_limited_area_is_averaged_and_interpolated_within() -> None:
    fine = lattice(1, 1, (60.0, -12.0, 36.0, 20.0))
    coarse = Coarse(lattice(4, 4, (60.0, -12.0, 36.0, 20.0)), "grid-box-average")
    field = np.broadcast_to(fine.latitudes[:, None], fine.shape)

    down = regrid.to_coarse(field, fine, coarse)
    up = regrid.to_fine(down, coarse, fine, "linear")

    assert down.shape == (7, 9)
    # A box weighs its points by area, so its mean lies a little towards the equator.
    np.testing.assert_allclose(down[1:-1], np.tile(coarse.grid.latitudes[1:-1, None], 9), atol=0.05)
    np.testing.assert_allclose(up[4:-4], field[4:-4], atol=0.1)


@pytest.mark.parametrize(
    "wide", [Grid(65.0, -20.0, 0.25, 0.25, 101, 121), lattice(0.25, 0.25, None)]
)
def test_the_outermost_boxes_of_an_area_end_with_it_however_far_the_field_reaches(
    wide: Grid,
) -> None:
    area = Grid(58.0, -10.0, 0.25, 0.25, 33, 49)
    coarse = Coarse(lattice(1, 1, (58.0, -10.0, 50.0, 2.0)), "grid-box-average")
    field = np.random.default_rng(3).standard_normal(wide.shape)
    top, left = round((wide.north - 58.0) / 0.25), round((-10.0 - wide.west) / 0.25)
    within = np.take(field[top : top + 33], (left + np.arange(49)) % wide.columns, axis=1)

    found = regrid.to_coarse(field, wide, coarse)

    np.testing.assert_array_equal(found, regrid.to_coarse(within, area, coarse))


def test_a_field_that_does_not_reach_as_far_is_refused_by_its_area(
    wind_manifest: GribManifest,
) -> None:
    north = Grid(90.0, 0.0, 1.0, 1.0, 90, 360)

    with pytest.raises(regrid.NotCovered, match="reach"):
        regrid.to_coarse(np.zeros(north.shape), north, wind_manifest.coarse)


def test_what_mir_says_of_its_cache_does_not_reach_standard_output(tmp_path: Path) -> None:
    program = (
        "import pathlib, numpy\n"
        "from streamer.grib import regrid\n"
        "from streamer.grib.manifest import Coarse, lattice\n"
        f"regrid.use_cache(pathlib.Path({str(tmp_path / 'own')!r}))\n"
        "grid, coarse = lattice(5, 5, None), Coarse(lattice(10, 10, None), 'grid-box-average')\n"
        "print(regrid.to_coarse(numpy.ones(grid.shape), grid, coarse).shape)\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert ended.stdout == "(19, 36)\n"
    assert "cache" in ended.stderr.lower(), "MIR said nothing, so nothing was proven"
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    assert any((tmp_path / "own").rglob("*.mat"))


def test_a_cache_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    with pytest.raises(UsageError, match="mode 777"):
        regrid.use_cache(tmp_path)


def test_the_default_cache_lies_below_the_users_cache_folder() -> None:
    assert regrid.default_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/downscaled/mir")
    assert regrid.default_cache({}).is_relative_to(Path.home())
