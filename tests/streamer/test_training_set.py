"""Twins, statistics and constants are what the daemon makes and what the sphere says."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import netcdf_file

from engines.errors import UsageError
from streamer import training_set
from streamer.domain import Grid
from streamer.grib.manifest import Coarse, lattice
from streamer.grib.regrid import to_coarse, to_fine
from streamer.training_set import (
    Making,
    interpolated_twin,
    normalisation,
    normalise,
    position,
    slopes,
    surface,
)
from streamer.verify.scores import area_weights

GLOBE = Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
COARSE = Coarse(lattice(4.0, 4.0, None), "grid-box-average")
BICUBIC = "structured-bicubic"


def test_rows_share_the_sphere() -> None:
    weights = area_weights(GLOBE.latitudes)

    assert weights.sum() == pytest.approx(1.0)
    # The zone from 30.5 N to 90 N has (1 - sin 30.5) / 2 of the sphere.
    assert weights[:60].sum() == pytest.approx((1 - np.sin(np.deg2rad(30.5))) / 2)
    assert np.allclose(weights, weights[::-1])


def test_a_constant_field_is_its_own_twin() -> None:
    fine = np.full((1, 1, 181, 360), 7.5, dtype=np.float32)

    assert np.allclose(interpolated_twin(fine, GLOBE, COARSE, BICUBIC), 7.5, atol=1e-5)


def test_the_twin_is_what_the_daemon_makes_of_each_field() -> None:
    fine = np.random.default_rng(0).standard_normal((2, 1, 181, 360), dtype=np.float32)

    twin = interpolated_twin(fine, GLOBE, COARSE, BICUBIC)

    for state in range(2):
        small = to_coarse(fine[state, 0], GLOBE, COARSE)
        assert np.array_equal(twin[state, 0], to_fine(small, COARSE, GLOBE, BICUBIC))


def test_a_globe_is_rolled_by_every_part_of_a_box_and_back() -> None:
    fine = np.random.default_rng(3).standard_normal((2, 1, 181, 360), dtype=np.float32)
    statistics = normalisation(fine, interpolated_twin(fine, GLOBE, COARSE, BICUBIC), GLOBE)
    making = Making(GLOBE, COARSE, BICUBIC, statistics)

    residual, condition = making.rolled(fine)

    assert residual.shape == condition.shape == (8, 1, 181, 360)
    (one,) = statistics
    given_back = (condition + residual * one.residual_std) * one.fine_std + one.fine_mean
    for by in range(4):
        np.testing.assert_allclose(given_back[2 * by : 2 * by + 2], fine, atol=1e-4)
        _, moved = making.pair(np.roll(fine, by, axis=-1))
        assert np.array_equal(np.roll(condition[2 * by : 2 * by + 2], by, axis=-1), moved)
    assert np.abs(condition[2] - condition[0]).mean() > 0.1


@pytest.mark.parametrize(("room", "rolls"), [(9, 4), (7, 2), (4, 2), (3, 1), (1, 1)])
def test_no_more_rolls_than_memory_is_meant_to_hold(
    room: int, rolls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = np.random.default_rng(3).standard_normal((2, 1, 181, 360), dtype=np.float32)
    statistics = normalisation(fine, interpolated_twin(fine, GLOBE, COARSE, BICUBIC), GLOBE)
    monkeypatch.setattr(training_set, "MOST_BYTES", room * 2 * 4 * 181 * 360)

    residual, _ = Making(GLOBE, COARSE, BICUBIC, statistics).rolled(fine)

    assert len(residual) == rolls * 2


def test_normalised_fields_have_mean_0_and_deviation_1_by_area() -> None:
    rng = np.random.default_rng(1)
    twin = 3.0 + 5.0 * rng.standard_normal((2, 2, 181, 360), dtype=np.float32)
    fine = twin + 1.5 * rng.standard_normal(twin.shape, dtype=np.float32)
    weights = area_weights(GLOBE.latitudes)

    statistics = normalisation(fine, twin, GLOBE)
    residual, condition = normalise(fine, twin, statistics)

    for values in (residual, condition):
        mean = (values.astype(float).mean(axis=-1) @ weights).mean(axis=0)
        square = ((values.astype(float) ** 2).mean(axis=-1) @ weights).mean(axis=0)
        assert mean == pytest.approx([0.0, 0.0], abs=1e-5)
        assert square == pytest.approx([1.0, 1.0], rel=1e-4)
    assert residual.dtype == condition.dtype == np.float32


def test_the_residual_brings_the_fine_field_back() -> None:
    rng = np.random.default_rng(2)
    twin = rng.standard_normal((1, 1, 181, 360), dtype=np.float32)
    fine = twin + rng.standard_normal(twin.shape, dtype=np.float32)

    (one,) = normalisation(fine, twin, GLOBE)
    residual, condition = normalise(fine, twin, (one,))

    back = (condition + residual * one.residual_std) * one.fine_std + one.fine_mean
    assert np.allclose(back, fine, atol=1e-5)


def test_position_tells_the_latitude_and_no_longitude() -> None:
    fields = position(GLOBE)

    assert list(fields) == ["sin_latitude", "log_secant_latitude"]
    sine, narrowness = fields.values()
    for values in (sine, narrowness):
        assert values.shape == GLOBE.shape
        assert np.all(values == values[:, :1])
    assert (sine[0, 0], sine[90, 7], sine[180, 359]) == (1.0, 0.0, -1.0)
    # At 60 degrees a box is half as wide; at the pole it counts as one half a degree beside it.
    half_a_degree = -np.log(np.sin(np.deg2rad(0.5)))
    found = [narrowness[row, 0] for row in (0, 30, 90, 150, 180)]
    assert found == pytest.approx([half_a_degree, np.log(2), 0, np.log(2), half_a_degree], rel=1e-5)


def test_the_surface_of_the_earth_is_where_it_should_be(shared_data: Path) -> None:
    fields = surface(shared_data / "constants" / "era5-z-lsm-0p25.nc", GLOBE)

    z, rough, lsm = fields["z"], fields["z_deviation"], fields["lsm"]
    weights = area_weights(GLOBE.latitudes)
    assert z.shape == lsm.shape == GLOBE.shape
    assert (z.astype(float).mean(axis=1) @ weights) == pytest.approx(0.0, abs=1e-5)
    # Tibet is the highest wide land; the share of land is 0.29.
    assert z[90 - 33, 88] > 6.0
    assert lsm[90 - 33, 88] == pytest.approx(1.0, abs=0.1)
    assert lsm[90, 220] == 0.0
    # The Himalaya at 85 E is rough, the plain of the Ganges is not, nor is the Pacific.
    assert rough[90 - 28, 85] > 5.0
    assert rough[90 - 25, 85] < 1.0
    assert rough[90, 220] < 0.05
    assert (rough.astype(float) ** 2).mean(axis=1) @ weights == pytest.approx(1.0, rel=1e-4)
    assert 0.28 < lsm.mean(axis=1) @ weights < 0.36


def testslopes_are_what_geometry_says() -> None:
    # On a plane through the Earth's middle z is sin(latitude) and x cos(latitude) cos(longitude).
    latitude, longitude = (np.deg2rad(one) for one in (GLOBE.latitudes[:, None], GLOBE.longitudes))
    z = np.sin(latitude) + np.cos(latitude) * np.cos(longitude)

    found = slopes(z, GLOBE)

    east = -np.sin(longitude) * np.ones_like(latitude)
    north = np.cos(latitude) - np.sin(latitude) * np.cos(longitude)
    weights = area_weights(GLOBE.latitudes)
    unit = ((east**2 + north**2).mean(axis=1) @ weights) ** 0.5
    inner = slice(1, -1)
    assert np.allclose(found["slope_east"][inner], east[inner] / unit, atol=2e-3)
    assert np.allclose(found["slope_north"][inner], north[inner] / unit, atol=2e-3)


def test_a_file_that_is_no_surface_is_named(tmp_path: Path) -> None:
    (tmp_path / "z.nc").write_text("not NetCDF")

    with pytest.raises(UsageError, match=r"z\.nc cannot be read as NetCDF 3"):
        surface(tmp_path / "z.nc", GLOBE)


UK = Grid(58.0, -10.0, 0.25, 0.25, 33, 49)


def test_a_limited_area_has_the_surface_of_its_part_of_the_globe(shared_data: Path) -> None:
    fields = surface(shared_data / "constants" / "era5-z-lsm-0p25.nc", UK)

    # The file has the same boxes: how rough they are within it cannot tell.
    assert list(fields) == ["z", "slope_east", "slope_north", "lsm"]
    weights = area_weights(UK.latitudes)
    z = fields["z"].astype(float)
    assert z.mean(axis=1) @ weights == pytest.approx(0.0, abs=1e-5)
    assert (z**2).mean(axis=1) @ weights == pytest.approx(1.0, rel=1e-5)
    # Ben Nevis, 57 N 5 W, is high; 55 N 10 W is sea, 52 N 1 W land.
    assert z[4, 20] > 2.0
    assert fields["lsm"][12, 0] == 0.0
    assert fields["lsm"][24, 36] > 0.99


def test_an_area_that_is_all_sea_has_no_surface_to_tell(shared_data: Path) -> None:
    sea = Grid(2.0, -140.0, 1.0, 1.0, 3, 3)

    fields = surface(shared_data / "constants" / "era5-z-lsm-0p25.nc", sea)

    assert "lsm" not in fields
    assert all(np.isfinite(values).all() for values in fields.values())


def test_a_surface_that_does_not_reach_over_the_area_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tropics.nc"
    with netcdf_file(path, "w") as file:
        for name, values in (
            ("latitude", np.arange(20.0, -21.0, -1.0)),
            ("longitude", np.arange(0.0, 360.0)),
        ):
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
        for name in ("z", "lsm"):
            file.createVariable(name, "f8", ("latitude", "longitude"))[:] = 0.0

    with pytest.raises(UsageError, match=r"tropics\.nc reaches over 20 N .*wanted 58 N -10 E"):
        surface(path, UK)
