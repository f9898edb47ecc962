"""A region's points are found in a globe, over Greenwich and the date line, or not at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain import Grid
from streamer.verify.matching import window

GLOBE = Grid(90.0, 0.0, 10.0, 10.0, 19, 36)


@given(
    st.sampled_from([0.0, -180.0, 5.0]),
    st.integers(0, 15),
    st.integers(0, 35),
    st.integers(2, 4),
    st.integers(2, 36),
)
def test_every_window_of_a_globe_is_found_with_its_own_latitudes_and_longitudes(
    west: float, row: int, column: int, rows: int, columns: int
) -> None:
    globe = Grid(90.0, west, 10.0, 10.0, 19, 36)
    wanted = Grid(90.0 - 10 * row, west + 10 * column, 10.0, 10.0, rows, columns)

    found = window(globe, wanted)

    assert found is not None
    np.testing.assert_allclose(globe.latitudes[found[0]], wanted.latitudes)
    away = (globe.longitudes[found[1]] - wanted.longitudes) % 360.0
    np.testing.assert_allclose(np.minimum(away, 360.0 - away), 0.0, atol=1e-9)


@pytest.mark.parametrize(
    "wanted",
    [
        Grid(95.0, 0.0, 10.0, 10.0, 3, 3),
        Grid(-80.0, 0.0, 10.0, 10.0, 3, 3),
        Grid(50.0, 3.0, 10.0, 10.0, 3, 3),
        Grid(50.0, 0.0, 5.0, 10.0, 3, 3),
        Grid(50.0, 0.0, 10.0, 10.01, 3, 36),
    ],
)
def test_points_that_a_grid_lacks_are_not_made_up(wanted: Grid) -> None:
    assert window(GLOBE, wanted) is None


def test_a_limited_grid_does_not_go_round() -> None:
    found = Grid(60.0, -20.0, 10.0, 10.0, 4, 6)

    assert window(found, Grid(50.0, 350.0, 10.0, 10.0, 2, 3)) is not None
    assert window(found, Grid(50.0, 20.0, 10.0, 10.0, 2, 3)) is None
