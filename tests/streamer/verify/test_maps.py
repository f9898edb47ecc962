"""Maps: every point at its place, on globes and in windows, over the date line too."""

import numpy as np
import pytest

from streamer.domain import Grid
from streamer.verify.maps import Box, centred, highest

FINE, COARSE = Grid(90.0, 0.0, 5.0, 5.0, 37, 72), Grid(80.0, 0.0, 20.0, 20.0, 9, 18)


@pytest.mark.parametrize("grid", [FINE, COARSE, Grid(90.0, -180.0, 5.0, 5.0, 37, 72)])
def test_a_globe_is_drawn_from_180_west_with_each_column_at_its_longitude(grid: Grid) -> None:
    longitudes = np.broadcast_to(grid.longitudes, grid.shape)

    values, (west, east, south, north) = centred(longitudes, grid)

    centres = west + grid.spacing_lon * (np.arange(values.shape[1]) + 0.5)
    np.testing.assert_allclose((values[0] - centres) % 360, 0, atol=1e-9)
    assert west <= -180 < west + grid.spacing_lon
    assert east >= 180
    assert (south, north) == (-grid.north - grid.spacing_lat / 2, grid.north + grid.spacing_lat / 2)


def test_a_limited_area_stays_as_it_is() -> None:
    area = Grid(60.0, -10.0, 1.0, 1.0, 21, 31)
    values = np.arange(21.0 * 31).reshape(area.shape)

    shown, extent = centred(values, area)

    np.testing.assert_array_equal(shown, values)
    assert extent == (-10.5, 20.5, 39.5, 60.5)


@pytest.mark.parametrize("west", [0.0, -180.0])
@pytest.mark.parametrize(
    "box", [Box(45, -80, 20, -40), Box(10, 170, -10, 200), Box(5, -15, -5, 15)]
)
def test_a_box_holds_the_points_within_whatever_column_a_grid_begins_with(
    box: Box, west: float
) -> None:
    grid = Grid(90.0, west, 5.0, 5.0, 37, 72)
    places = np.stack(
        [np.broadcast_to(x, grid.shape) for x in (grid.latitudes[:, None], grid.longitudes)]
    )

    found, cut = box.grid(grid), box.cut(places, grid)

    assert cut.shape == (2, *found.shape)
    np.testing.assert_allclose(cut[0], np.broadcast_to(found.latitudes[:, None], found.shape))
    np.testing.assert_allclose((cut[1] - found.longitudes) % 360, 0)
    assert (found.north, found.west) == (box.north, box.west)
    assert found.longitudes[-1] == box.east
    assert found.latitudes[-1] == box.south


def test_a_box_between_the_points_is_refused() -> None:
    with pytest.raises(ValueError, match="no point of"):
        Box(4.0, 1.0, 1.0, 4.0).grid(FINE)


def test_colours_end_at_a_round_number_above_nearly_all() -> None:
    assert highest([np.linspace(0.0, 31.0, 1000)]) == 35.0
    assert highest([np.linspace(0.0, 3.1, 1000)]) == 4.0
    assert highest([np.zeros(3)]) == 0.2
