"""Decoding for bundles whose coarse fields are resized images: by way of their fine grid."""

from typing import Any

import numpy as np
import pytest

from streamer.domain import Field, Grid, Reason, Rejected
from streamer.grib import regrid
from streamer.grib.codes import Values, sample
from streamer.grib.decode import decode
from streamer.grib.known import resized_globe
from streamer.grib.manifest import Coarse, read_manifest
from streamer.grib.resize import resize
from streamer.grib.wants import Wants

pytestmark = pytest.mark.usefixtures("mir_cache")

#: The fine globe of 10 degrees, whose coarse fields are images of 6 by 9.
RESIZED = resized_globe(["2t", "tp"], shape=(19, 36), coarse=(6, 9))
RESIZED_WANTS = Wants(read_manifest(RESIZED))


def on_grid(spacing: float, values: Values, west: float = 0.0, **keys: Any) -> bytes:
    """A message of a global grid, 2t unless told otherwise."""
    rows, columns = values.shape
    grid = {
        "Ni": columns,
        "Nj": rows,
        "latitudeOfFirstGridPointInDegrees": spacing * (rows - 1) / 2,
        "latitudeOfLastGridPointInDegrees": -spacing * (rows - 1) / 2,
        "longitudeOfFirstGridPointInDegrees": west,
        "longitudeOfLastGridPointInDegrees": (west + spacing * (columns - 1)) % 360,
        "iDirectionIncrementInDegrees": spacing,
        "jDirectionIncrementInDegrees": spacing,
        "bitsPerValue": 24,
    }
    with sample("regular_ll_sfc_grib2") as handle:
        for key, value in {**grid, "shortName": "2t", **keys}.items():
            handle.set(key, value)
        handle.set_values(values.ravel())
        return handle.message()


def decoded(message: bytes, wants: Wants = RESIZED_WANTS) -> Any:
    """The one answer to a record of one message."""
    (found,) = decode(message, wants, "")
    return found


def temperatures(rows: int, columns: int) -> Values:
    """A smooth globe, warm at the equator and at Greenwich."""
    latitude = np.linspace(np.pi / 2, -np.pi / 2, rows)[:, None]
    longitude = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    return 250 + 40 * np.cos(latitude) * (1 + np.cos(longitude) / 8)


def test_a_field_on_the_fine_grid_is_resized_and_back() -> None:
    values = temperatures(19, 36)

    found = decoded(on_grid(10, values))

    np.testing.assert_allclose(found.coarse, resize(values, (6, 9)), rtol=1e-6)
    np.testing.assert_array_equal(found.interpolated, resize(found.coarse, (19, 36)))
    assert found.interpolated.dtype == np.float32


def test_a_fine_grid_that_starts_elsewhere_is_turned_before_it_is_resized() -> None:
    """The resize knows no date line, so it matters which column is the first."""
    values = temperatures(19, 36)

    found = decoded(on_grid(10, np.roll(values, 18, axis=1), 180))

    np.testing.assert_allclose(found.coarse, resize(values, (6, 9)), rtol=1e-6)


@pytest.mark.parametrize("spacing", [2.5, 5, 7.5, 20])
def test_another_grid_comes_to_the_fine_one_by_box_averages_first(spacing: float) -> None:
    values = temperatures(round(180 / spacing) + 1, round(360 / spacing))
    grid = Grid(90.0, 0.0, spacing, spacing, *values.shape)

    found = decoded(on_grid(spacing, values))

    fine = Coarse(RESIZED_WANTS.manifest.grid, "grid-box-average")
    wanted = resize(regrid.to_coarse(values, grid, fine), (6, 9))
    np.testing.assert_allclose(found.coarse, wanted, rtol=1e-6)
    np.testing.assert_allclose(found.coarse, resize(temperatures(19, 36), (6, 9)), atol=4.0)


def test_rain_of_a_finer_grid_keeps_its_amount_and_its_sign() -> None:
    rain = np.random.default_rng(2).gamma(0.1, 0.002, (73, 144))
    keys: dict[str, Any] = {"shortName": "tp", "dataDate": 20240102, "stepRange": "0-6"}
    wants = Wants(read_manifest(resized_globe(["tp"], shape=(37, 72), coarse=(19, 36))))

    found = decoded(on_grid(2.5, rain, **keys), wants)

    assert found.coarse.min() >= 0.0
    area = np.cos(np.linspace(np.pi / 2, -np.pi / 2, 73))[:, None]
    about = np.cos(np.radians(wants.manifest.coarse.grid.latitudes))[:, None]
    total = (rain * area).sum() / area.sum() / 144
    assert (found.coarse * about).sum() / about.sum() / 36 == pytest.approx(total, rel=0.05)


def test_a_gaussian_grid_is_resized_through_the_fine_grid() -> None:
    with sample("reduced_gg_sfc_grib2") as handle:
        handle.set("shortName", "2t")
        handle.set_values(np.full(handle.integer("numberOfDataPoints"), 281.5))
        message = handle.message()

    found = decoded(message)

    assert found.coarse.shape == (6, 9)
    np.testing.assert_allclose(found.coarse, 281.5, rtol=1e-5)


def test_a_field_on_the_resized_grid_itself_passes_as_it_is() -> None:
    grid = RESIZED_WANTS.manifest.coarse.grid
    values = np.random.default_rng(1).normal(280, 5, grid.shape).astype(np.float32)

    np.testing.assert_array_equal(
        regrid.to_coarse(values, grid, RESIZED_WANTS.manifest.coarse), values
    )


def test_input_coarser_than_the_resized_fields_is_refused() -> None:
    found = decoded(on_grid(45, temperatures(5, 8)))

    assert isinstance(found, Rejected)
    assert found.reason is Reason.COARSER_THAN_BUNDLE
    assert "45 degrees wide, the bundle takes at most 40" in found.text


def test_a_field_that_does_not_cover_the_fine_globe_is_refused() -> None:
    keys: dict[str, Any] = {"longitudeOfLastGridPointInDegrees": 170, "Ni": 18}
    message = on_grid(10, temperatures(19, 18), **keys)

    found = decoded(message)

    assert isinstance(found, Rejected)
    assert found.reason is Reason.OUTSIDE_AREA


@pytest.mark.parametrize(("steps", "is_sound"), [("0-1", False), ("0-2", True), ("5-6", False)])
def test_an_amount_may_be_as_large_as_its_hours_allow(steps: str, is_sound: bool) -> None:
    """0.8 m are no rain of an hour, and might be of two."""
    values = np.full((19, 36), 0.8)

    found = decoded(on_grid(10, values, shortName="tp", stepRange=steps))

    assert isinstance(found, Field) == is_sound
    if not is_sound:
        assert found.reason is Reason.OUT_OF_RANGE
        hours = "+0 to +1" if steps == "0-1" else "+5 to +6"
        assert f"0.8 m from {hours} h, sound ones lie within -0.001 to 0.5" in found.text
