"""Reads the constants that a network of IPSL-AID is told: position, orography, land."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import netcdf_file

from engines.errors import BundleError
from streamer.domain import Array

Array64 = NDArray[np.float64]

#: Names of the axes, in files of several makers.
_AXES = (("latitude", "lat"), ("longitude", "lon"))
#: What is known of how a constant is normalised: orography by its own area mean and deviation,
#: the share of land as it is.
KNOWN = ("z", "lsm")


def read_constants(path: Path, shape: tuple[int, int], names: Sequence[str]) -> Array:
    """Return (2 + K, H, W) float32: latitude, longitude, then the named fields, normalised.

    path: a NetCDF 3 file on the network's own grid of `shape`, 90 N to 90 S and eastward from
    0 E; rows may run either way. Raises BundleError for another grid or a field that lacks.
    """
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise BundleError(
            f"constant_varnames_list names {', '.join(unknown)}, of which nothing says how it was "
            f"normalised; known are {', '.join(KNOWN)}"
        )
    latitude, longitude, fields = _read(path, names)
    if latitude.size > 1 and latitude[0] < latitude[-1]:
        latitude, fields = latitude[::-1], [field[::-1] for field in fields]
    _refuse_other_grids(path, latitude, longitude, shape)
    faults = [
        f"{name} is {field.shape} or holds numbers that are not finite, wanted {shape}"
        for name, field in zip(names, fields, strict=True)
        if field.shape != shape or not np.isfinite(field).all()
    ]
    if faults:
        raise BundleError(f"{path}: {'; '.join(faults)}")
    rows = np.broadcast_to(latitude[:, None] / 90.0, shape)
    # On the grid of 0.25 degrees the last longitude is 359.75.
    columns = np.broadcast_to(2.0 * longitude / longitude[-1] - 1.0, shape)
    told = [
        _standardised(field, latitude, f"{path}: {name}") if name == "z" else field
        for name, field in zip(names, fields, strict=True)
    ]
    return np.stack([rows, columns, *told]).astype(np.float32)


def _read(path: Path, names: Sequence[str]) -> tuple[Array64, Array64, list[Array64]]:
    try:
        with netcdf_file(path, "r", mmap=False, maskandscale=True) as file:
            held = tuple(file.variables)
            axes = [next((name for name in both if name in held), both[0]) for both in _AXES]
            lacking = [name for name in (*axes, *names) if name not in held]
            if lacking:
                raise BundleError(
                    f"{path}: lacks {', '.join(lacking)}, holds {', '.join(held) or 'nothing'}"
                )
            found = [
                np.array(np.ma.filled(np.squeeze(file.variables[name][:]), np.nan), np.float64)
                for name in (*axes, *names)
            ]
    except (OSError, TypeError, KeyError, ValueError) as error:
        raise BundleError(
            f"{path}: cannot be read as NetCDF 3 ({error}); a NetCDF 4 file becomes one with "
            "nccopy -k classic"
        ) from error
    return found[0], found[1], found[2:]


def _refuse_other_grids(
    path: Path, latitude: Array64, longitude: Array64, shape: tuple[int, int]
) -> None:
    rows, columns = shape
    wanted = (np.linspace(90.0, -90.0, rows), np.arange(columns) * 360.0 / columns)
    for found, axis, spacing in (
        (latitude, wanted[0], 180.0 / (rows - 1)),
        (longitude, wanted[1], 360.0 / columns),
    ):
        # Axes are float32 in most files.
        if found.shape != axis.shape or np.abs(found - axis).max() > spacing / 100:
            raise BundleError(
                f"{path}: is on another grid: {latitude.size} rows from {latitude.flat[0]:g} to "
                f"{latitude.flat[-1]:g} N, {longitude.size} columns from {longitude.flat[0]:g} to "
                f"{longitude.flat[-1]:g} E; wanted {rows} from 90 to -90 N and {columns} "
                f"from 0 to {wanted[1][-1]:g} E"
            )


def _standardised(field: Array64, latitude: Array64, where: str) -> Array64:
    """Return a field less its mean, by its deviation, both weighted by the cosine of latitude."""
    weights = np.broadcast_to(np.cos(np.deg2rad(latitude))[:, None], field.shape)
    mean = np.average(field, weights=weights)
    deviation = np.average((field - mean) ** 2, weights=weights) ** 0.5
    if deviation == 0.0:
        raise BundleError(f"{where} is the same everywhere, so it cannot be normalised")
    return np.asarray((field - mean) / deviation)
