"""Constants of a network are read from the file as they were in training, or refused."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import netcdf_file

from engines.errors import BundleError
from streamer.commands.bundle_constants import read_constants
from tests import ipsl

SHAPE = (19, 36)


def write(path: Path, north: float, south: float, west: float) -> Path:
    latitude = np.linspace(north, south, SHAPE[0])
    longitude = west + np.arange(SHAPE[1]) * 10.0
    with netcdf_file(path, "w") as file:
        for name, values in (("lat", latitude), ("lon", longitude)):
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
        file.createVariable("z", "f8", ("lat", "lon"))[:] = latitude[:, None] + longitude
    return path


def test_rows_may_run_either_way(tmp_path: Path) -> None:
    down = read_constants(write(tmp_path / "down.nc", 90, -90, 0), SHAPE, ["z"])
    up = read_constants(write(tmp_path / "up.nc", -90, 90, 0), SHAPE, ["z"])

    assert np.array_equal(down, up)
    assert down[0, 0, 0] == 1.0
    assert down[2, 0, 0] > down[2, -1, 0]


def test_columns_that_start_elsewhere_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "west.nc", 90, -90, -180)

    with pytest.raises(BundleError, match=r"36 columns from -180 to 170 E; wanted .* 0 to 350 E"):
        read_constants(path, SHAPE, ["z"])


def test_a_constant_of_unknown_normalisation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="names sdor, of which nothing says how"):
        read_constants(tmp_path / "any.nc", SHAPE, ["z", "sdor"])


def test_a_field_that_never_changes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flat.nc"
    ipsl.write_constants(path, SHAPE)
    with netcdf_file(path, "a") as file:
        file.variables["z"][:] = 5.0

    with pytest.raises(BundleError, match="z is the same everywhere"):
        read_constants(path, SHAPE, ["z", "lsm"])


def test_the_real_orography_has_the_published_mean_and_deviation(shared_data: Path) -> None:
    path = shared_data / "constants" / "era5-z-lsm-0p25.nc"
    with netcdf_file(path, "r", mmap=False, maskandscale=True) as file:
        z = np.array(np.squeeze(file.variables["z"][:]), dtype=np.float64)

    latitude, longitude, made, lsm = read_constants(path, (721, 1440), ["z", "lsm"])

    # The packed file keeps a step of 0.9 m2 s-2.
    assert np.abs(made - (z - 2270.3749) / 6149.4917).max() < 2e-4
    assert (latitude[0, 0], latitude[-1, 0], longitude[0, 0], longitude[0, -1]) == (1, -1, -1, 1)
    assert 0.0 <= lsm.min() < lsm.max() <= 1.0 + 1e-4
