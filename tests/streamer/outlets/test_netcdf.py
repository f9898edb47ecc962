"""NetCDF files: what readers see in them, and what the conventions' checker says."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from streamer.domain import Grid
from tests.conftest import require_tool
from tests.published import Published, publish_step
from tests.streamer.outlets.files import RUN_FOLDER, outlet
from tests.streamer.outlets.readers import run_tool

#: Across the date line, and across Greenwich.
PACIFIC = Grid(20.0, 160.0, 5.0, 10.0, 5, 6)
EUROPE = Grid(60.0, -20.0, 5.0, 10.0, 5, 6)
STATISTICS = (
    "mean", "spread", "variance", "minimum", "maximum", "quantile-0.9", "above-17.2",
)  # fmt: skip


def written(step: Published, folder: Path) -> Path:
    outlet("netcdf", folder).write_step(step.record, step.messages)
    return folder / RUN_FOLDER / "draws" / "3.nc"


def opened(path: Path) -> Any:
    with xr.open_dataset(path, engine="netcdf4") as data:
        return data.load()


@pytest.mark.parametrize("grid", [EUROPE, PACIFIC])
def test_values_places_and_times_are_those_that_were_published(tmp_path: Path, grid: Grid) -> None:
    step = publish_step(180, parameters=("10u", "2t"), draws=3, grid=grid)

    data = opened(written(step, tmp_path))

    assert data.u10.dims == ("realization", "time", "latitude", "longitude")
    np.testing.assert_allclose(data.u10.values[:, 0], step.values[:3], atol=1e-3)
    np.testing.assert_allclose(data.t2m.values[:, 0], step.values[3:], atol=1e-3)
    np.testing.assert_array_equal(data.latitude, grid.latitudes)
    np.testing.assert_array_equal(data.longitude % 360, grid.longitudes % 360)
    assert np.all(np.diff(data.longitude) > 0)
    assert data.time.values == np.datetime64("2018-10-08T03:00")
    assert data.forecast_reference_time.values == np.datetime64("2018-10-08T00:00")
    assert data.forecast_period.values == 3
    assert data.u10.standard_name == "eastward_wind"
    assert data.u10.coords["height_10m"].values == 10
    assert data.t2m.coords["height_2m"].values == 2


def test_a_statistic_says_what_it_is(tmp_path: Path) -> None:
    step = publish_step(parameters=("10si",), statistics=STATISTICS)

    data = opened(written(step, tmp_path))

    assert set(data.data_vars) == {
        "si10", "si10_mean", "si10_spread", "si10_variance", "si10_minimum", "si10_maximum",
        "si10_quantile_0_9", "si10_above_17_2",
    }  # fmt: skip
    assert data.si10_variance.units == "m2 s-2"
    assert data.si10_spread.cell_methods == "time: point realization: standard_deviation"
    assert data.si10_quantile_0_9.long_name == "quantile 0.9 of 10 metre wind speed"
    assert data.si10_above_17_2.units == "%"
    assert "standard_name" not in data.si10_above_17_2.attrs
    np.testing.assert_allclose(data.si10_mean.values[0], step.values[2], atol=1e-3)


def test_an_accumulation_says_since_when(tmp_path: Path) -> None:
    step = publish_step(180, parameters=("tp", "10u"))

    data = opened(written(step, tmp_path))

    assert data.tp.cell_methods == "time: sum"
    assert data.u10.cell_methods == "time: point"
    hours = [np.datetime64(f"2018-10-08T{hour:02}") for hour in (0, 3)]
    assert (data.time_bounds.values == [hours]).all()


def test_the_checker_of_cf_1_11_finds_no_fault(tmp_path: Path) -> None:
    # compliance-checker 6.1, the conventions' version 1.11, its bundled table of standard names.
    parameters = ("10u", "10v", "2t", "tp", "10si")
    step = publish_step(parameters=parameters, statistics=STATISTICS, grid=EUROPE)
    path = written(step, tmp_path)

    checker = Path(sys.executable).with_name("compliance-checker")
    # In a process of its own: with all libraries of ours it dies at its end.
    done = subprocess.run(
        [str(checker), "--test=cf:1.11", "--criteria=strict", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    complaints = [line for line in done.stdout.splitlines() if line.startswith("* ")]
    # CF allows a standard name there, §7.3: "realization"; the checker looks for a dimension.
    known = "cell_methods name component realization does not match a dimension"
    assert [line for line in complaints if known not in line] == []
    assert "Errors" not in done.stdout
    assert "cf:1.11" in done.stdout
    assert done.returncode == (1 if complaints else 0), done.stderr


def test_cdo_reads_statistics_on_their_grid(tmp_path: Path) -> None:
    require_tool("cdo")
    step = publish_step(parameters=("10u", "tp"), draws=1, statistics=("mean",), grid=PACIFIC)
    path = written(step, tmp_path)

    grid = run_tool("cdo", "-s", "griddes", "-selname,u10_mean", str(path))
    values = run_tool("cdo", "-s", "outputf,%.6f", "-selname,u10_mean", str(path))

    assert "gridtype  = lonlat" in grid
    assert "xfirst    = 160" in grid
    assert "yfirst    = 20" in grid
    np.testing.assert_allclose(
        np.array(values.split(), dtype=float), step.values[1].ravel(), atol=1e-3
    )
