"""Make what a network learns from out of fine states: coarse twins, statistics, constants.

The coarse twin is made by the daemon's own operators (`grib/regrid.py`), so that the network
meets at work what it learned from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import netcdf_file

from engines.errors import UsageError
from engines.manifest import Normalisation
from streamer.domain import Array, Grid
from streamer.grib.grids import covers, reach
from streamer.grib.manifest import Coarse
from streamer.grib.regrid import to_coarse, to_fine
from streamer.verify.scores import area_weights

Array64 = NDArray[np.float64]
#: Residual and condition, both (N, C, H, W) float32.
Pair = tuple[Array, Array]
#: What residuals and conditions to learn from may take, in bytes.
MOST_BYTES = 4 << 30


def interpolated_twin(fine: Array, grid: Grid, coarse: Coarse, interpolation: str) -> Array:
    """Return (N, C, H, W): what is left of `fine` after the coarse grid, back on the fine one."""
    twin = np.empty_like(fine)
    for state in np.ndindex(fine.shape[:2]):
        small = to_coarse(fine[state], grid, coarse)
        twin[state] = to_fine(small, coarse, grid, interpolation)
    return twin


def normalisation(fine: Array, twin: Array, grid: Grid) -> tuple[Normalisation, ...]:
    """Return each parameter's statistics, weighted by area, from (N, C, H, W) of states."""
    rows = area_weights(grid.latitudes)
    channels = range(fine.shape[1])
    return tuple(_one(fine[:, c].astype(float), twin[:, c].astype(float), rows) for c in channels)


def normalise(fine: Array, twin: Array, statistics: Sequence[Normalisation]) -> Pair:
    """Return the residual, of deviation 1, and the normalised twin, both (N, C, H, W) float32."""
    condition = normalised_twin(twin, statistics)
    return residual_of(fine, condition, statistics), condition


def normalised_twin(twin: Array, statistics: Sequence[Normalisation]) -> Array:
    """Return interpolated coarse fields as the network is told them, (N, C, H, W) float32."""
    condition = np.empty_like(twin)
    for c, one in enumerate(statistics):
        condition[:, c] = (_transformed(twin[:, c], one) - one.coarse_mean) / one.coarse_std
    return condition


def residual_of(fine: Array, condition: Array, statistics: Sequence[Normalisation]) -> Array:
    """Return what the network predicts, (N, C, H, W) float32, from its normalised condition."""
    residual = np.empty_like(fine)
    for c, one in enumerate(statistics):
        target = (_transformed(fine[:, c], one) - one.fine_mean) / one.fine_std
        residual[:, c] = (target - condition[:, c]) / one.residual_std
    return residual


def most_states(channels: int, grid: Grid) -> int:
    """Return how many states to learn from memory is meant to hold, at least 1."""
    return max(1, MOST_BYTES // (2 * 4 * channels * grid.rows * grid.columns))


@dataclass(frozen=True, slots=True, eq=False)
class Making:
    """How fine states become what a network learns from: both grids, the way back, statistics."""

    grid: Grid
    coarse: Coarse
    interpolation: str
    statistics: Sequence[Normalisation]

    def pair(self, fine: Array) -> Pair:
        """Return residual and condition of states (N, C, H, W)."""
        twin = interpolated_twin(fine, self.grid, self.coarse, self.interpolation)
        return normalise(fine, twin, self.statistics)

    def rolled(self, fine: Array) -> Pair:
        """Return residual and condition once for every place of the boxes, (R N, C, H, W).

        A globe that is rolled against its boxes by less than one of them leaves the same weather
        another residual, so it is not so soon known by heart. It is rolled back to its surface.
        As many rolls as memory is meant to hold, and none where columns do not close.
        """
        found = []
        for by in self._rolls(*fine.shape[:2]):
            made = self.pair(np.roll(fine, by, axis=-1))
            found.append([np.roll(part, -by, axis=-1) for part in made])
        residual, condition = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return residual, condition

    def _rolls(self, states: int, channels: int) -> range:
        if not self.grid.is_periodic:
            return range(1)
        width = max(1, round(self.coarse.grid.spacing_lon / self.grid.spacing_lon))
        most = max(1, most_states(channels, self.grid) // states)
        return range(0, width, math.ceil(width / most))


def _transformed(values: Array, one: Normalisation) -> Array:
    return np.log1p(values) if one.transform == "log1p" else values


def position(grid: Grid) -> Mapping[str, Array]:
    """Return what a network may know of where a point is, each (H, W) float32: its latitude.

    `sin_latitude` tells the hemisphere and the turning of the Earth. `log_secant_latitude` tells
    how much narrower than high a point's box is there, as a logarithm: about the poles, where a
    degree of latitude changes it by a tenth and more, the sine hardly changes.

    No longitude: the globe rolled round its axis, with its surface, is as good a globe, and a
    network that is never told the longitude has learnt from all rolls at once. Told it, it would
    know some twenty independent states of every place by heart.
    """
    made = {
        "sin_latitude": np.sin(np.deg2rad(grid.latitudes)),
        "log_secant_latitude": -np.log(_narrowing(grid)),
    }
    return {
        name: np.broadcast_to(rows[:, None], grid.shape).astype(np.float32)
        for name, rows in made.items()
    }


def surface(path: Path, grid: Grid) -> Mapping[str, Array]:
    """Return what lies below a field, (H, W) float32: heights, slopes, roughness, and land.

    `z`: the box means of the surface's geopotential, normalised. `z_deviation`: the deviation
    within each box, in units of its mean square root over the grid; only of a file that is finer
    than the grid. `slope_east`, `slope_north`: how the box means rise with distance, both in units
    of the slope's mean square root over the grid: cold air flows down them. `lsm`: the share of
    land. What is the same everywhere is left out: a limited area may be all sea.

    path: a NetCDF 3 file with `z` and `lsm` on a regular grid, north to south. Raises UsageError
    if it is not that, or does not reach over the grid.
    """
    found, fields = _read_surface(path)
    if not covers(found, grid):
        raise UsageError(f"{path} reaches over {reach(found)}, wanted {reach(grid)}")
    made = _surface(found, fields, grid)
    return {name: values for name, values in made.items() if np.ptp(values) > 0.0}


def _surface(found: Grid, fields: Mapping[str, Array64], grid: Grid) -> Mapping[str, Array]:
    onto = Coarse(grid=grid, interpolation="grid-box-average")
    z = to_coarse(fields["z"], found, onto).astype(np.float64)
    rows = area_weights(grid.latitudes)
    mean = _area_mean(z, rows)
    deviation = _area_mean((z - mean) ** 2, rows) ** 0.5
    is_finer = found.spacing_lat < grid.spacing_lat * (1 - 1e-6)
    return {
        "z": ((z - mean) / (deviation or 1.0)).astype(np.float32),
        # Of equal boxes it would be nothing but rounding, normalised.
        **({"z_deviation": _roughness(found, fields["z"], grid)} if is_finer else {}),
        **slopes(z, grid),
        "lsm": np.clip(to_coarse(fields["lsm"], found, onto), 0.0, 1.0),
    }


def _roughness(found: Grid, z: Array64, grid: Grid) -> Array:
    """Return the deviation of heights within each box, of mean square 1."""
    onto = Coarse(grid=grid, interpolation="grid-box-average")
    # Heights above the mean keep the difference of squares from losing its digits.
    above = z - z.mean()
    square = to_coarse(above**2, found, onto).astype(np.float64)
    roughness = np.sqrt(np.maximum(square - to_coarse(above, found, onto).astype(float) ** 2, 0.0))
    unit = _area_mean(roughness**2, area_weights(grid.latitudes)) ** 0.5
    return np.asarray(roughness / (unit or 1.0), dtype=np.float32)


def slopes(z: Array64, grid: Grid) -> Mapping[str, Array]:
    """Return how heights rise to the east and to the north, their mean square together 1."""
    if grid.is_periodic:
        along = (np.roll(z, -1, axis=1) - np.roll(z, 1, axis=1)) / 2
    else:
        along = np.gradient(z, axis=1)
    # Rows run to the south. One unit of length for both: a degree of latitude.
    east = along / (grid.spacing_lon * _narrowing(grid)[:, None])
    north = -np.gradient(z, axis=0) / grid.spacing_lat
    unit = _area_mean(east**2 + north**2, area_weights(grid.latitudes)) ** 0.5 or 1.0
    return {
        "slope_east": (east / unit).astype(np.float32),
        "slope_north": (north / unit).astype(np.float32),
    }


def _narrowing(grid: Grid) -> Array64:
    """Return the cosine of each row's latitude; a pole counts as half a row beside it."""
    beside = 90.0 - grid.spacing_lat / 2
    return np.cos(np.deg2rad(np.minimum(np.abs(grid.latitudes), beside)))


def _read_surface(path: Path) -> tuple[Grid, Mapping[str, Array64]]:
    try:
        with netcdf_file(path, "r", mmap=False, maskandscale=True) as file:
            latitude, longitude = (
                np.array(file.variables[name][:], dtype=np.float64)
                for name in ("latitude", "longitude")
            )
            fields = {
                name: np.array(np.squeeze(file.variables[name][:]), dtype=np.float64)
                for name in ("z", "lsm")
            }
    except (OSError, TypeError, KeyError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read as NetCDF 3 with latitude, longitude, z and lsm: {error}"
        ) from error
    grid = Grid(
        north=float(latitude[0]),
        west=float(longitude[0]),
        spacing_lat=float(latitude[0] - latitude[1]),
        spacing_lon=float(longitude[1] - longitude[0]),
        rows=len(latitude),
        columns=len(longitude),
    )
    if grid.spacing_lat <= 0 or grid.spacing_lon <= 0:
        raise UsageError(f"{path}: rows and columns must run north to south and west to east")
    return grid, fields


def _one(fine: Array64, twin: Array64, rows: Array64) -> Normalisation:
    fine_mean, coarse_mean = _area_mean(fine, rows), _area_mean(twin, rows)
    fine_std = _area_mean((fine - fine_mean) ** 2, rows) ** 0.5
    coarse_std = _area_mean((twin - coarse_mean) ** 2, rows) ** 0.5
    residual = (fine - fine_mean) / fine_std - (twin - coarse_mean) / coarse_std
    return Normalisation(
        coarse_mean=coarse_mean,
        coarse_std=coarse_std,
        fine_mean=fine_mean,
        fine_std=fine_std,
        residual_std=_area_mean(residual**2, rows) ** 0.5,
    )


def _area_mean(values: Array64, rows: Array64) -> float:
    """Return the mean of (..., H, W) over the surface and whatever stands before."""
    return float((values.mean(axis=-1) @ rows).mean())
