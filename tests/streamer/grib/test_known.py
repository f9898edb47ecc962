"""The parameters of known families: as ecCodes names them, whoever sends them in either edition."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from engines.errors import BundleError
from streamer.demands import Bounds, Constraints, Relation
from streamer.domain import Field
from streamer.grib.codes import sample
from streamer.grib.decode import decode
from streamer.grib.known import PARAMETERS, parameters, resized_globe
from streamer.grib.manifest import read_manifest
from streamer.grib.wants import Wants

SIX = ("2t", "10u", "10v", "tp", "2d", "skt")
SMALL = resized_globe(SIX, shape=(19, 36), coarse=(6, 9))
#: a sound value in the network's units
TYPICAL = {"2t": 280.0, "10u": -4.0, "10v": 3.0, "tp": 0.002, "2d": 275.0, "skt": 281.0}

#: How GFS names them, by WMO's numbers: category, number, kind of surface, height.
GFS = {
    "2t": (0, 0, 103, 2),
    "2d": (0, 6, 103, 2),
    "10u": (2, 2, 103, 10),
    "10v": (2, 3, 103, 10),
    "skt": (0, 0, 1, None),
    "tp": (1, 8, 1, None),
}
#: The same in edition 1: number, kind of level, level.
GFS_1 = {
    "2t": (11, 105, 2),
    "2d": (17, 105, 2),
    "10u": (33, 105, 10),
    "10v": (34, 105, 10),
    "skt": (11, 1, 0),
    "tp": (61, 1, 0),
}


def gfs_keys(name: str, edition: int) -> dict[str, Any]:
    """Name a parameter as GFS does."""
    if edition == 1:
        number, kind, level = GFS_1[name]
        keys = {"indicatorOfTypeOfLevel": kind, "level": level, "indicatorOfParameter": number}
        return {"table2Version": 2, **keys}
    category, number, surface, height = GFS[name]
    interval = {"productDefinitionTemplateNumber": 8, "typeOfStatisticalProcessing": 1}
    return {
        "tablesVersion": 2,
        **(interval if name == "tp" else {}),
        "parameterCategory": category,
        "parameterNumber": number,
        "typeOfFirstFixedSurface": surface,
        **({} if height is None else {"scaleFactorOfFirstFixedSurface": 0}),
        **({} if height is None else {"scaledValueOfFirstFixedSurface": height}),
    }


def message(edition: int, centre: str, keys: Mapping[str, Any], value: float) -> bytes:
    """One constant field on the small globe."""
    grid = {
        "Ni": 36,
        "Nj": 19,
        "latitudeOfFirstGridPointInDegrees": 90,
        "latitudeOfLastGridPointInDegrees": -90,
        "longitudeOfFirstGridPointInDegrees": 0,
        "longitudeOfLastGridPointInDegrees": 350,
        "iDirectionIncrementInDegrees": 10,
        "jDirectionIncrementInDegrees": 10,
    }
    with sample(f"regular_ll_sfc_grib{edition}") as handle:
        for key, found in {**grid, "centre": centre, **keys}.items():
            handle.set(key, found)
        handle.set_values(np.full(19 * 36, value))
        return handle.message()


@pytest.mark.usefixtures("mir_cache")
@pytest.mark.parametrize("name", SIX)
@pytest.mark.parametrize(
    ("edition", "centre"), [(1, "ecmf"), (2, "ecmf"), (1, "kwbc"), (2, "kwbc")]
)
def test_each_centres_spelling_becomes_the_channel_in_its_units(
    name: str, edition: int, centre: str
) -> None:
    names = gfs_keys(name, edition) if centre == "kwbc" else {"shortName": name}
    if name == "tp":
        # Nothing has fallen yet at step 0.
        names = {**names, "stepType": "accum", "stepRange": "0-6"}
    in_kg = name == "tp" and centre == "kwbc"
    sent = message(edition, centre, names, TYPICAL[name] * (1000.0 if in_kg else 1.0))

    (found,) = decode(sent, Wants(read_manifest(SMALL)), "")

    assert isinstance(found, Field)
    assert found.parameter == name
    np.testing.assert_allclose(found.coarse, TYPICAL[name], rtol=1e-4)
    np.testing.assert_allclose(found.interpolated, TYPICAL[name], rtol=1e-4)


def test_a_whole_part_is_a_manifest() -> None:
    found = read_manifest(resized_globe(SIX))

    assert tuple(one.name for one in found.parameters) == SIX
    assert found.grid.shape == (721, 1440)
    assert found.grid.latitudes[-1] == -90.0
    assert found.coarse.grid.shape == (80, 128)
    assert found.parameter("tp").accumulated


def test_another_globe_is_resized_by_the_same_factors() -> None:
    assert read_manifest(resized_globe(SIX, shape=(361, 720))).coarse.grid.shape == (40, 64)
    assert read_manifest(resized_globe(SIX, shape=(4, 6))).coarse.grid.shape == (2, 2)


def test_the_pair_of_winds_is_one_only_where_both_are_channels() -> None:
    assert "vector" in parameters(["10u", "10v"])["10v"]
    assert "vector" not in parameters(["2t", "10v"])["10v"]
    assert "vector" in PARAMETERS["10v"]


def test_rain_is_not_negative_and_the_dew_point_not_above_the_temperature() -> None:
    found = read_manifest(resized_globe(SIX)).constraints

    assert found == Constraints((Bounds("tp", 0.0, math.inf),), (Relation("2d", "2t"),), ())


def test_only_the_constraints_of_the_channels_there_are_said() -> None:
    found = read_manifest(resized_globe(["2d", "10u"])).constraints

    assert found == Constraints()


def test_a_channel_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(BundleError, match=r"known for msl, z500; known are 2t"):
        parameters(["2t", "msl", "z500"])
