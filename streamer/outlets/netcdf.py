"""The door to netCDF4: a product's step as one NetCDF-4 file after the CF conventions."""

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import netCDF4
import numpy as np
from numpy.typing import NDArray

from streamer.domain import Grid
from streamer.outlets.cf import (
    LATITUDE,
    LONGITUDE,
    PERIOD,
    REALIZATION,
    Attributes,
    StepData,
    Variable,
    file_attributes,
    reference_attributes,
    step_data,
    time_attributes,
)
from streamer.outlets.outlet import Piece
from streamer.outlets.weather import read_field
from streamer.records import StepRecord

#: Packed values have few different mantissas: more effort saves 3 % and takes thrice the time.
_EFFORT: Final = 1


def write(path: Path, record: StepRecord, pieces: Sequence[Piece]) -> None:
    """Write one file; see `WriteFile`. Raises OutletError for fields of several grids."""
    data = step_data(record, [read_field(piece) for piece in pieces])
    try:
        _write(path, record, data, pieces[0].entry.names.product)
    except RuntimeError as error:
        # All that HDF5 says of a full disk.
        raise OSError(errno.EIO, f"netCDF4 cannot write: {error}", str(path)) from error


def _write(path: Path, record: StepRecord, data: StepData, product: str) -> None:
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.setncatts(file_attributes(record, product))
        _write_places(file, data)
        _write_times(file, data)
        for scalar in data.levels.values():
            _write_scalar(file, scalar.name, scalar.value, scalar.attributes)
        for variable in data.variables:
            _write_variable(file, variable, data.grid)


def _write_places(file: netCDF4.Dataset, data: StepData) -> None:
    axes = {
        "latitude": (data.grid.latitudes, LATITUDE),
        "longitude": (data.grid.longitudes, LONGITUDE),
    }
    for name, (values, attributes) in axes.items():
        _write_axis(file, name, values, attributes)
    if data.draws:
        _write_axis(file, "realization", np.array(data.draws, dtype="i4"), REALIZATION)


def _write_times(file: netCDF4.Dataset, data: StepData) -> None:
    key, minutes = data.key, float(data.key.minutes)
    told = dict(time_attributes(key))
    if data.interval is not None:
        told["bounds"] = "time_bounds"
    _write_axis(file, "time", np.array([minutes]), told)
    _write_scalar(file, "forecast_reference_time", 0.0, reference_attributes(key))
    _write_scalar(file, "forecast_period", key.hours, PERIOD)
    if data.interval is not None:
        file.createDimension("bounds", 2)
        bounds = file.createVariable("time_bounds", "f8", ("time", "bounds"))
        bounds[:] = [[data.interval.start, data.interval.end]]


def _write_variable(file: netCDF4.Dataset, variable: Variable, grid: Grid) -> None:
    over = ("realization",) if variable.draws is not None else ()
    dimensions = (*over, "time", "latitude", "longitude")
    chunks = (*(1 for _ in over), 1, *grid.shape)
    found = file.createVariable(
        variable.name, "f4", dimensions, compression="zlib", complevel=_EFFORT, shuffle=True,
        chunksizes=chunks, fill_value=np.float32(np.nan),
    )  # fmt: skip
    level = [variable.level.name] if variable.level else []
    coordinates = " ".join(["forecast_reference_time", "forecast_period", *level])
    found.setncatts({**variable.attributes, "coordinates": coordinates})
    for draw, values in variable.values():
        # The one time stands between draws and places.
        found[(*draw, 0)] = values


def _write_axis(
    file: netCDF4.Dataset, name: str, values: NDArray[Any], attributes: Attributes
) -> None:
    file.createDimension(name, len(values))
    found = file.createVariable(name, values.dtype, (name,))
    found.setncatts(dict(attributes))
    found[:] = values


def _write_scalar(file: netCDF4.Dataset, name: str, value: float, attributes: Attributes) -> None:
    found = file.createVariable(name, "f8", ())
    found.setncatts(dict(attributes))
    found[...] = value
