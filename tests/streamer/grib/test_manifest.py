"""The bundle's GRIB part: read into values, or refused with every fault at once."""

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
