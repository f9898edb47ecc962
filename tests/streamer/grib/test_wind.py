"""Grid-relative wind: angles against the grid's own points, and a known wind turned back."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from streamer.domain import Field, Reason, Rejected
from streamer.grib import regrid, wind
from streamer.grib.codes import Handle, Values, sample
from streamer.grib.decode import decode
from streamer.grib.manifest import GribManifest
from streamer.grib.wants import Wants


@contextmanager
def rotated(spacing: float) -> Iterator[Handle]:
    """The whole globe in coordinates whose south pole lies at 35 S, 20 E."""
    rows, columns = round(180 / spacing) + 1, round(360 / spacing)
    with sample("rotated_ll_sfc_grib2") as handle:
        handle.set_all({"Ni": columns, "Nj": rows})
        for key, value in {
            "latitudeOfFirstGridPointInDegrees": 90,
            "longitudeOfFirstGridPointInDegrees": 0,
            "latitudeOfLastGridPointInDegrees": -90,
            "longitudeOfLastGridPointInDegrees": 360 - spacing,
            "iDirectionIncrementInDegrees": spacing,
            "jDirectionIncrementInDegrees": spacing,
            "latitudeOfSouthernPoleInDegrees": -35,
            "longitudeOfSouthernPoleInDegrees": 20,
            "uvRelativeToGrid": 1,
        }.items():
            handle.set(key, value)
        handle.set_values(np.zeros(rows * columns))
        yield handle


@contextmanager
def lambert(first: float, second: float) -> Iterator[Handle]:
    """A Lambert grid of 60 by 50 points, 20 km apart, over central Europe."""
    with sample("GRIB2") as handle:
        handle.set("gridType", "lambert")
        for key, value in {
            "Nx": 60,
            "Ny": 50,
            "shapeOfTheEarth": 6,
            "latitudeOfFirstGridPointInDegrees": 45,
            "longitudeOfFirstGridPointInDegrees": 1,
            "LaDInDegrees": first,
            "LoVInDegrees": 8,
            "DxInMetres": 20000,
            "DyInMetres": 20000,
            "Latin1InDegrees": first,
            "Latin2InDegrees": second,
            "iScansNegatively": 0,
            "jScansPositively": 1,
            "jPointsAreConsecutive": 0,
            "alternativeRowScanning": 0,
            "uvRelativeToGrid": 1,
        }.items():
            handle.set(key, value)
        handle.set_values(np.zeros(60 * 50))
        yield handle


def bearings(handle: Handle, rows: int, columns: int) -> tuple[Values, Values]:
    """The bearing from each point to the next row's, and from the one before; from positions."""
    lat = np.radians(handle.numbers("latitudes")).reshape(rows, columns)
    lon = np.radians(handle.numbers("longitudes")).reshape(rows, columns)
    north = -1 if not handle.integer("jScansPositively") else 1
    lat, lon = lat[::north], lon[::north]
    step = np.diff(lon, axis=0)
    east = np.sin(step) * np.cos(lat[1:])
    rest = np.cos(lat[:-1]) * np.sin(lat[1:]) - np.sin(lat[:-1]) * np.cos(lat[1:]) * np.cos(step)
    ahead = np.arctan2(east, rest)
    angle = wind.grid_angles(handle)
    assert angle is not None
    return ahead, angle.reshape(rows, columns)[::north]


def test_rotated_angles_are_the_bearings_between_the_grids_own_rows() -> None:
    with rotated(1.0) as handle:
        ahead, angle = bearings(handle, 181, 360)

    # A meridian of the rotated grid is a great circle; at a row its bearing is exact.
    error = np.angle(np.exp(1j * (ahead - angle[:-1])))
    assert np.abs(error[1:-1]).max() < 1e-4


@pytest.mark.parametrize("parallels", [(50.0, 50.0), (40.0, 60.0)])
def test_lambert_angles_are_the_bearings_between_the_grids_own_rows(
    parallels: tuple[float, float],
) -> None:
    with lambert(*parallels) as handle:
        ahead, angle = bearings(handle, 50, 60)

    # The y axis is straight on the map and not on the sphere, so the bearing to the next point
    # is that of the place halfway, to second order.
    halfway = (angle[:-1] + angle[1:]) / 2
    assert np.abs(angle).max() > 0.05
    assert np.abs(ahead - halfway).max() < 2e-3


def test_turning_keeps_the_speed() -> None:
    rng = np.random.default_rng(0)
    u, v, angle = rng.standard_normal((3, 500))

    of_u, of_v = wind.turn(u, "u", angle), wind.turn(v, "v", angle)

    east, north = of_u.own + of_v.partner, of_v.own + of_u.partner
    np.testing.assert_allclose(np.hypot(east, north), np.hypot(u, v))


def test_a_grid_wind_along_its_own_north_points_along_the_angle() -> None:
    angle = np.array([0.3])

    of_v = wind.turn(np.array([1.0]), "v", angle)

    np.testing.assert_allclose([of_v.partner, of_v.own], [np.sin(angle), np.cos(angle)])


def test_a_westerly_on_a_rotated_grid_comes_back_as_a_westerly(
    wind_manifest: GribManifest, mir_cache: object
) -> None:
    with rotated(2.0) as handle:
        # Solid rotation about the Earth's axis: 20 m/s eastward at the equator, nothing northward.
        east = 20 * np.cos(np.radians(handle.numbers("latitudes")))
        angle = wind.grid_angles(handle)
        assert angle is not None
        messages = {}
        for number, (name, values) in enumerate(
            {"u": east * np.cos(angle), "v": east * np.sin(angle)}.items()
        ):
            handle.set_all({"discipline": 0, "parameterCategory": 2, "parameterNumber": 2 + number})
            handle.set_all({"typeOfFirstFixedSurface": 103, "scaledValueOfFirstFixedSurface": 10})
            handle.set("scaleFactorOfFirstFixedSurface", 0)
            handle.set("bitsPerValue", 24)
            handle.set_values(values)
            messages[name] = handle.message()

    u, v = decode(messages["u"] + messages["v"], Wants(wind_manifest), "")

    assert isinstance(u, Field)
    assert isinstance(v, Field)
    assert u.crossed_coarse is not None
    assert v.crossed_coarse is not None
    fine = wind_manifest.grid
    exact = np.broadcast_to(20 * np.cos(np.radians(fine.latitudes))[:, None], fine.shape)
    truth = regrid.to_coarse(exact, fine, wind_manifest.coarse)
    # Linear interpolation from 2 degrees, then means over 4: within 0.1 of 20 m/s; without turning
    # the error is of the order of the wind.
    np.testing.assert_allclose(u.coarse + v.crossed_coarse, truth, atol=0.1)
    np.testing.assert_allclose(v.coarse + u.crossed_coarse, 0, atol=0.1)
    assert np.abs(u.coarse - truth).max() > 5
    assert u.crossed is not None
    assert u.crossed.shape == wind_manifest.grid.shape


def test_a_wind_on_a_grid_whose_angles_are_not_known_is_refused_by_name(
    wind_manifest: GribManifest,
) -> None:
    with sample("reduced_gg_pl_32_grib2") as handle:
        handle.set("gridType", "healpix")
        handle.set_all({"Nside": 32, "orderingConvention": "ring"})
        handle.set("numberOfDataPoints", 12 * 32 * 32)
        handle.set("uvRelativeToGrid", 1)
        handle.set_all({"discipline": 0, "parameterCategory": 2, "parameterNumber": 2})
        handle.set_all({"typeOfFirstFixedSurface": 103, "scaledValueOfFirstFixedSurface": 10})
        handle.set("scaleFactorOfFirstFixedSurface", 0)
        handle.set_values(np.zeros(12 * 32 * 32))
        message = handle.message()

    (found,) = decode(message, Wants(wind_manifest), "")

    assert isinstance(found, Rejected)
    assert found.reason is Reason.GRID_RELATIVE_WIND
    assert "healpix" in found.text
