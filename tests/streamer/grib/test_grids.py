"""Input grids: any order of scanning, corners and increments, words that compare."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from streamer.domain import Grid
from streamer.grib import grids
from streamer.grib.codes import Handle, opened, sample
from streamer.grib.grids import GridError

Mode = tuple[int, int, int, int]
MODES: list[Mode] = [(a, b, c, d) for a, b, c, d in itertools.product((0, 1), repeat=4)]
ROWS, COLUMNS = 5, 4


def scan(mode: Mode) -> list[tuple[int, int]]:
    """Every (row from the north, column from the west) in the order that a mode scans them.

    Source: WMO Manual on Codes, flag table 3.4.
    """
    west_going, north_going, by_column, alternating = mode
    rows = list(range(ROWS))[:: -1 if north_going else 1]
    columns = list(range(COLUMNS))[:: -1 if west_going else 1]
    outer, inner = (columns, rows) if by_column else (rows, columns)
    places = []
    for number, one in enumerate(outer):
        turned = inner[::-1] if alternating and number % 2 else inner
        places += [(two, one) if by_column else (one, two) for two in turned]
    return places


def describe(handle: Handle, mode: Mode, scale: float = 1.0) -> None:
    """Lay a small grid of 10 by 20 degrees from 50 N 30 W in a mode of scanning."""
    west_going, north_going, by_column, alternating = mode
    south, east = 50 - 10 * (ROWS - 1), -30 + 20 * (COLUMNS - 1)
    first, last = (south, 50) if north_going else (50, south)
    left, right = (east, -30) if west_going else (-30, east)
    handle.set_all({"Ni": COLUMNS, "Nj": ROWS})
    for key, value in {
        "iScansNegatively": west_going,
        "jScansPositively": north_going,
        "jPointsAreConsecutive": by_column,
        "alternativeRowScanning": alternating,
    }.items():
        handle.set(key, value)
    handle.set("latitudeOfFirstGridPointInDegrees", first)
    handle.set("latitudeOfLastGridPointInDegrees", last)
    handle.set("longitudeOfFirstGridPointInDegrees", left)
    handle.set("longitudeOfLastGridPointInDegrees", right)
    handle.set("jDirectionIncrementInDegrees", 10 * scale)
    handle.set("iDirectionIncrementInDegrees", 20 * scale)


@pytest.mark.parametrize("mode", MODES)
def test_any_order_of_scanning_gives_the_same_field(mode: Mode) -> None:
    truth = np.arange(ROWS * COLUMNS, dtype=np.float64).reshape(ROWS, COLUMNS)
    with sample("regular_ll_sfc_grib2") as handle:
        describe(handle, mode)
        handle.set_values(np.array([truth[place] for place in scan(mode)]))
        message = handle.message()

    with opened(message) as handle:
        found = grids.read_grid(handle)
        field = grids.oriented(handle.values(), handle)

    assert found.regular == Grid(50.0, -30.0, 10.0, 20.0, ROWS, COLUMNS)
    np.testing.assert_allclose(field, truth, atol=1e-3)


def test_the_same_grid_in_another_order_has_the_same_words() -> None:
    words = set()
    for mode in MODES:
        with sample("regular_ll_sfc_grib2") as handle:
            describe(handle, mode)
            handle.set_values(np.zeros(ROWS * COLUMNS))
            words.add(grids.read_grid(handle).words)

    assert words == {"regular_ll 5x4 from 50 N -30 E by 10x20"}


def test_a_real_field_of_alternating_rows_is_as_smooth_across_as_along(shared_data: Path) -> None:
    path = shared_data / "conformance" / "cfgrib" / "alternate-scanning.grib"
    with opened(path.read_bytes()) as handle:
        field = grids.oriented(handle.values(), handle)
        plain = handle.values().reshape(field.shape)

    across = np.abs(np.diff(field, axis=0)).mean()
    assert across < 2 * np.abs(np.diff(field, axis=1)).mean()
    assert np.abs(np.diff(plain, axis=0)).mean() > 3 * across


def test_increments_that_contradict_the_corners_are_refused() -> None:
    with sample("regular_ll_sfc_grib2") as handle:
        describe(handle, (0, 0, 0, 0), scale=0.5)
        handle.set_values(np.zeros(ROWS * COLUMNS))

        with pytest.raises(GridError, match=r"5 points over 40 degrees are 10 apart, but j.* is 5"):
            grids.read_grid(handle)


def test_a_column_that_repeats_the_first_is_left_out() -> None:
    with sample("regular_ll_sfc_grib2") as handle:
        describe(handle, (0, 0, 0, 0))
        handle.set_all({"Ni": 5, "Nj": ROWS})
        handle.set("longitudeOfFirstGridPointInDegrees", 0)
        handle.set("longitudeOfLastGridPointInDegrees", 360)
        handle.set("iDirectionIncrementInDegrees", 90)
        truth = np.arange(5.0 * ROWS).reshape(ROWS, 5)
        handle.set_values(truth.ravel())

        found = grids.read_grid(handle).regular
        field = grids.oriented(handle.values(), handle)

    assert found == Grid(50.0, 0.0, 10.0, 90.0, ROWS, 4)
    assert found.is_periodic
    np.testing.assert_allclose(field, truth[:, :4], atol=1e-3)


@pytest.mark.parametrize("kind", ["mercator", "polar_stereographic", "sh", "reduced_rotated_gg"])
def test_a_grid_that_is_not_served_is_refused_by_name(kind: str, shared_data: Path) -> None:
    names = {
        "mercator": "earthkit-data/mercator.grib",
        "sh": "cfgrib/spherical_harmonics.grib",
        "reduced_rotated_gg": "earthkit-data/rotated_N32_subarea.grib",
        "polar_stereographic": (
            "grib-rs/CMC_RDPA_APCP-024-0100cutoff_SFC_0_ps10km_2023121806_000.grib2"
        ),
    }
    path = shared_data / "conformance" / names[kind]

    with opened(path.read_bytes()) as handle, pytest.raises(GridError, match=f"grid type {kind}"):
        grids.read_grid(handle)


def test_a_globe_covers_a_part_but_a_part_not_the_globe() -> None:
    globe, part = Grid(90, 0, 1, 1, 181, 360), Grid(60, -20, 1, 1, 30, 40)

    assert grids.covers(globe, part)
    assert grids.covers(part, part)
    assert not grids.covers(part, globe)
    assert not grids.covers(part, Grid(60, -25, 1, 1, 30, 40))
    assert not grids.covers(part, Grid(64, -20, 1, 1, 30, 40))
