"""From GRIB on the input topic to files of every format: a daemon and a sink on one bus."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from monitoring.metrics import SinkMetrics
from monitoring.probes import Status
from streamer.bus.memory import MemoryBus
from streamer.bus.record import Bus, Revoked
from streamer.commands.sink import opened
from streamer.config import Config, parse
from streamer.model import open_model
from streamer.outlets.settings import PATTERNS
from tests.end_to_end.daemons import House, World, config_of, forecast, work_off

#: Files of three steps of 10u and 10v.
COUNTS = {"*.grib2": 3, "[0-9].json": 3, "*.nc": 3, "*.tif": 6, "*.zarr": 1}


@pytest.fixture(scope="module")
def house(small_wind_bundle: Path) -> Iterator[House]:
    config = config_of(small_wind_bundle)
    house = House(open_model(config), config)
    yield house
    house.close()


def test_what_a_real_daemon_publishes_becomes_files(house: House, tmp_path: Path) -> None:
    world = World(house)
    world.feed(forecast(hours=(0,), members=(0,)))
    work_off(world)
    config = with_sink(house.config, tmp_path)
    assert config.sink is not None

    def open_bus(revoked: Revoked, lost: Revoked) -> Bus:
        return MemoryBus(world.broker, ["out"], group_id="sink", revoked=revoked, lost=lost)

    metrics = SinkMetrics()
    with opened(config, config.sink, open_bus, metrics, Status()) as sink:
        while len(list(tmp_path.rglob("[0-9].json"))) < 3:
            sink.turn()

    kinds = {pattern: len(list(tmp_path.rglob(pattern))) for pattern in COUNTS}
    assert kinds == COUNTS
    (store,) = tmp_path.rglob("*.zarr")
    run = xr.open_dataset(store, engine="zarr", consolidated=False)
    assert run.complete.values.tolist() == [1, 1, 1]
    for file in tmp_path.rglob("*.nc"):
        with xr.open_dataset(file, engine="netcdf4") as step:
            same = run.sel(step=float(step.forecast_period))
            assert float(step.u10.std()) > 0
            np.testing.assert_array_equal(step.u10.isel(time=0), same.u10)
            assert step.time == same.time


def with_sink(config: Config, folder: Path) -> Config:
    """Return the daemon's configuration with every format in it."""
    plain = {
        "bus": {"memory": True, "group_id": "wind"},
        "input": {"topic": "in", "steps": "0/3/6"},
        "output": {"topic": "out"},
        "model": {"bundle": str(config.model.bundle)},
        "sink": {"files": [{"format": kind, "folder": str(folder)} for kind in PATTERNS]},
    }
    return parse(plain, "a test")
