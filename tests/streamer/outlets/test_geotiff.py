"""GeoTIFF files as a GIS sees them."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from streamer.domain import Grid
from streamer.outlets.geotiff import westward
from tests.published import Published, publish_step
from tests.streamer.outlets.files import RUN_FOLDER, outlet

GLOBE = Grid(90.0, 0.0, 10.0, 10.0, 19, 36)


def written(step: Published, folder: Path, parameter: str = "10u") -> Path:
    outlet("geotiff", folder).write_step(step.record, step.messages)
    return folder / RUN_FOLDER / "draws" / "3" / f"{parameter}.tif"


@pytest.mark.parametrize(
    ("grid", "west", "east"),
    [
        (GLOBE, -185.0, 175.0),
        (Grid(60.0, -20.0, 5.0, 10.0, 5, 6), -25.0, 35.0),
        (Grid(20.0, 160.0, 5.0, 10.0, 5, 6), -205.0, -145.0),
        (Grid(50.0, 230.0, 5.0, 10.0, 5, 6), -135.0, -75.0),
    ],
)
def test_every_value_lies_where_it_was_forecast(
    tmp_path: Path, grid: Grid, west: float, east: float
) -> None:
    step = publish_step(parameters=("10u",), draws=2, grid=grid)

    with rasterio.open(written(step, tmp_path)) as file:
        assert (file.bounds.left, file.bounds.right) == (west, east)
        assert file.crs.to_epsg() == 4326
        for row, latitude in enumerate(grid.latitudes):
            for column, longitude in enumerate(grid.longitudes):
                x = (longitude - west) % 360.0 + west
                (found,) = file.sample([(x, latitude)], indexes=[2])
                assert abs(found[0] - step.values[1, row, column]) < 1e-3


def test_bands_say_what_they_are(tmp_path: Path) -> None:
    step = publish_step(parameters=("10u", "2t"), draws=2, statistics=("mean", "variance"))

    with rasterio.open(written(step, tmp_path)) as file:
        assert file.descriptions == ("u10 draw 0", "u10 draw 1", "u10 mean", "u10 variance")
        assert file.units == ("m s-1", "m s-1", "m s-1", "m2 s-2")
        assert np.isnan(file.nodata)
        tags = file.tags()

    assert tags["TIFFTAG_DATETIME"] == "2018:10:08 03:00:00"
    assert tags["valid_time"] == "2018-10-08T03:00:00Z"
    assert tags["reference_time"] == "2018-10-08T00:00:00Z"
    assert tags["parameter"] == "10u"


def test_an_accumulation_says_since_when(tmp_path: Path) -> None:
    with rasterio.open(written(publish_step(parameters=("tp",)), tmp_path, "tp")) as file:
        assert file.tags()["accumulated"] == "+0 to +3 h"


def test_a_large_field_is_cloud_optimized(tmp_path: Path) -> None:
    grid = Grid(90.0, 0.0, 0.25, 0.25, 721, 1440)
    path = written(publish_step(parameters=("10u",), draws=1, grid=grid), tmp_path)

    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)]
        assert file.overviews(1) == [2, 4]
    # What a reader over HTTP asks for first: all directories, before any pixel.
    assert b"LAYOUT=IFDS_BEFORE_DATA" in path.read_bytes()[:512]


def test_other_threads_go_on_while_a_large_file_is_made(tmp_path: Path) -> None:
    grid = Grid(90.0, 0.0, 0.25, 0.25, 721, 1440)
    step = publish_step(parameters=("10u",), draws=2, grid=grid)
    over, looks = threading.Event(), [time.perf_counter()]

    def look() -> None:
        while not over.wait(0.001):
            looks.append(time.perf_counter())

    thread = threading.Thread(target=look)
    thread.start()
    started = time.perf_counter()
    try:
        written(step, tmp_path)
    finally:
        over.set()
        thread.join()
    seconds = time.perf_counter() - started

    # The engine's thread is one of them, and its calls are short.
    assert max(np.diff(looks)) < seconds / 3


@pytest.mark.parametrize("west", [0.0, -180.0, 180.0, 0.5, 359.0])
def test_a_globe_begins_within_a_column_of_180_west(west: float) -> None:
    grid, shift = westward(Grid(90.0, west, 1.0, 1.0, 181, 360))

    assert -180.5 <= grid.west <= -179.5
    assert (west - shift - grid.west) % 360 == 0
