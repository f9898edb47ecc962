"""The bundle's GRIB part: read into values, or refused with every fault at once."""

import re
from typing import Any

import pytest

from engines.errors import BundleError
from streamer.domain import Grid
from streamer.grib.manifest import Identity, Vector, is_global, lattice, read_manifest
from tests.streamer.grib.conftest import parameter, wind_part


def test_a_wind_bundle_is_read_as_it_says() -> None:
    found = read_manifest(wind_part())

    assert found.grid == Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
    assert found.coarse.grid == Grid(88.0, 0.0, 4.0, 4.0, 45, 90)
    assert found.interpolation == "structured-bicubic"
    assert [one.name for one in found.parameters] == ["10u", "10v"]
    assert found.parameter("10v").vector == Vector("10u", "v")
    assert found.parameter("10u").identities == (Identity(165),)
    assert found.parameter("10u").fill_missing is None


def test_an_identity_keeps_its_factor_and_any_further_key() -> None:
    part = wind_part()
    identity = {"paramId": 228, "factor": 1000, "typeOfLevel": "surface", "level": 0}
    part["parameters"]["tp"] = {**parameter(228, [0, 500]), "identities": [identity]}

    found = read_manifest(part).parameter("tp").identities[0]

    assert found == Identity(228, 1000.0, (("typeOfLevel", "surface"), ("level", 0)))


def test_every_fault_is_listed_at_once() -> None:
    part = wind_part()
    part["grid"]["north"] = "pole"
    part["coarse"]["method"] = "cdo"
    part["interpolation"] = ""
    part["parameters"]["10u"]["range"] = [5, -5]
    part["parameters"]["10v"]["identities"] = []
    part["parameters"]["2t"] = parameter(167, [0, 1], vector={"partner": "?", "component": "w"})

    with pytest.raises(BundleError) as told:
        read_manifest(part)

    for words in (
        "grib.grid.north is 'pole'",
        "grib.coarse.method is 'cdo'",
        "grib.interpolation is ''",
        "grib.parameters.10u.range: 5.0 is not below -5.0",
        "grib.parameters.10v.identities must be a list",
        "grib.parameters.2t.vector.component is 'w'",
        "? does not name 2t as its partner",
    ):
        assert words in str(told.value)


@pytest.mark.parametrize("part", [{}, {"grid": 3, "parameters": []}, {"coarse": "mir"}])
def test_a_part_of_another_shape_is_refused_and_not_a_crash(part: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"grib\.grid"):
        read_manifest(part)


def test_a_pair_of_two_u_components_is_refused() -> None:
    part = wind_part()
    part["parameters"]["10v"]["vector"]["component"] = "u"

    with pytest.raises(BundleError, match="one component u and one v"):
        read_manifest(part)


def test_a_limited_fine_grid_takes_the_coarse_points_around_it() -> None:
    part = wind_part()
    part["grid"] |= {"north": 57.0, "west": -9.0, "rows": 20, "columns": 30}
    part["interpolation"] = "linear"

    found = read_manifest(part).coarse.grid

    assert found == Grid(60.0, -12.0, 4.0, 4.0, 7, 9)
    assert found.latitudes[-1] == 36.0
    assert found.longitudes[-1] == 20.0


def test_a_cubic_interpolation_of_a_limited_area_is_refused() -> None:
    part = wind_part()
    part["grid"] |= {"rows": 20, "columns": 30}

    with pytest.raises(BundleError, match="serves global grids only"):
        read_manifest(part)


def test_a_fine_grid_that_leaves_the_globe_is_refused() -> None:
    part = wind_part()
    part["grid"]["rows"] = 183

    with pytest.raises(BundleError, match="leave the globe"):
        read_manifest(part)


@pytest.mark.parametrize(
    ("spacing", "rows", "columns"), [(4, 45, 90), (2.5, 73, 144), (1, 181, 360)]
)
def test_a_global_lattice_is_global(spacing: float, rows: int, columns: int) -> None:
    found = lattice(spacing, spacing, None)

    assert found.shape == (rows, columns)
    assert is_global(found)


def test_half_a_globe_is_not_global() -> None:
    assert not is_global(lattice(1, 1, (90, 0, 0, 359)))
    assert not is_global(lattice(1, 1, (90, 0, -90, 180)))


def resized_part(**changes: Any) -> dict[str, Any]:
    part = wind_part()
    del part["interpolation"]
    return part | {"coarse": {"resize": {"rows": 20, "columns": 45}}} | changes


def test_a_resized_coarse_grid_has_the_middles_of_its_boxes() -> None:
    """181 rows reach half a spacing over each pole: 181 degrees in 20 boxes, 360 in 45."""
    found = read_manifest(resized_part())

    coarse = found.coarse.grid
    assert coarse.shape == (20, 45)
    assert (coarse.spacing_lat, coarse.spacing_lon) == (9.05, 8.0)
    assert (coarse.north, coarse.west) == (90.5 - 9.05 / 2, -0.5 + 4.0)
    assert coarse.latitudes[-1] == pytest.approx(-coarse.north)
    assert found.coarse.target == found.coarse.resized == found.grid
    assert found.interpolation == "resize"


def test_the_grid_of_mir_is_its_own_target() -> None:
    found = read_manifest(wind_part())

    assert found.coarse.target == found.coarse.grid


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coarse": {"resize": {"rows": 200, "columns": 45}}}, "rows is 200, wanted a whole one"),
        ({"coarse": {"resize": {"rows": 20.5, "columns": 1}}}, "columns is 1, wanted a whole one"),
        ({"coarse": {"resize": {"rows": 20}}}, "resize.columns is None"),
        ({"coarse": {"resize": "all"}}, "resize.rows is None"),
        ({"interpolation": "linear"}, "is 'linear', a coarse field resized returns by resize"),
    ],
)
def test_a_resize_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BundleError, match=re.escape(words)):
        read_manifest(resized_part(**changes))


def test_a_channel_may_be_the_rate_of_what_messages_gather() -> None:
    part = wind_part()
    part["parameters"]["tp"] = parameter(228, [0, 0.5], accumulation={"per": "hour"})

    found = read_manifest(part)

    assert found.parameter("tp").accumulated
    assert found.parameter("tp").from_minutes == 1
    assert found.parameter("10u").from_minutes == 0
    assert not found.parameter("10u").accumulated
    part["parameters"]["tp"]["accumulation"] = {"per": "day"}
    with pytest.raises(BundleError, match=r"tp.accumulation is .*'per': 'hour'"):
        read_manifest(part)


def test_an_accumulation_may_exist_from_a_later_step_on() -> None:
    part = wind_part()
    part["parameters"]["tp"] = parameter(228, [0, 0.5], accumulation={"per": "hour"})
    part["parameters"]["tp"]["accumulation"]["from_step"] = 1.5

    assert read_manifest(part).parameter("tp").from_minutes == 90
    part["parameters"]["tp"]["accumulation"]["from_step"] = 0
    with pytest.raises(BundleError, match=r"tp.accumulation.from_step is 0, wanted hours above 0"):
        read_manifest(part)
