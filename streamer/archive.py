"""Read a folder of fine GRIB as what a network learns from: states, coarse twins, constants.

The coarse twin is made by the daemon's own operators (`grib/regrid.py`), so that the network
meets at work what it learned from. States are split by the calendar day of their valid time:
states of one day resemble each other, and a split by file would flatter the scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import netcdf_file

from engines.errors import UsageError
from streamer.domain import Array, Grid
from streamer.grib import codes
from streamer.grib.manifest import Coarse
from streamer.grib.regrid import to_coarse, to_fine

FAULTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Found:
    """A parameter as the archive's messages name it."""

    name: str
    param_id: int
    units: str


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """N complete states of C parameters on one grid, in the order of their valid times.

    fine: (N, C, H, W) float32, north to south, west to east. sources: the files' names.
    """

    parameters: tuple[Found, ...]
    grid: Grid
    valid_times: tuple[datetime, ...]
    sources: tuple[str, ...]
    fine: Array


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """One parameter's normalisation: means and deviations, weighted by area.

    The residual is fine normalised minus coarse normalised; `residual_std` is its deviation.
    """

    coarse_mean: float
    coarse_std: float
    fine_mean: float
    fine_std: float
    residual_std: float
    low: float
    high: float


def read_archive(paths: Sequence[Path]) -> Archive:
    """Read every message of the files; a state is what one file holds.

    Raises UsageError, naming files: no GRIB at all, one state only, a file that lacks a
    parameter which others have or holds one twice, mixed grids, missing values.
    """
    if not paths:
        raise UsageError("no files to learn from: the folder is empty")
    faults: list[str] = []
    states = [state for path in paths if (state := _read_state(path, faults)) is not None]
    if states:
        faults += _disagreements(states)
    if faults:
        more = f"; and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
        raise UsageError("; ".join(faults[:FAULTS_SHOWN]) + more)
    if len(states) < 2:
        raise UsageError(
            f"{paths[0].parent} holds one state only ({states[0].source}), want several days of them"
        )
    states.sort(key=lambda state: (state.valid_time, state.source))
    return Archive(
        parameters=states[0].parameters,
        grid=states[0].grid,
        valid_times=tuple(state.valid_time for state in states),
        sources=tuple(state.source for state in states),
        fine=np.stack([state.values for state in states]),
    )


def interpolate_twin(fine: Array, grid: Grid, coarse: Coarse, interpolation: str) -> Array:
    """Return (N, C, H, W): what is left of `fine` after the coarse grid, back on the fine one."""
    twin = np.empty_like(fine)
    for state in range(fine.shape[0]):
        for channel in range(fine.shape[1]):
            small = to_coarse(fine[state, channel], grid, coarse)
            twin[state, channel] = to_fine(small, coarse, grid, interpolation)
    return twin


def split_by_day(valid_times: Sequence[datetime], days: int) -> tuple[tuple[int, ...], set[date]]:
    """Return the indices to learn from, and the last `days` calendar days, which are held back.

    Raises UsageError if nothing would be left to learn from.
    """
    found = sorted({time.date() for time in valid_times})
    if len(found) <= days:
        raise UsageError(
            f"the archive holds {len(found)} days ({found[0]} to {found[-1]}), "
            f"want more than the {days} to hold back"
        )
    held = set(found[len(found) - days :])
    return tuple(i for i, time in enumerate(valid_times) if time.date() not in held), held


def area_weights(grid: Grid) -> NDArray[np.float64]:
    """Return (H,): the share of the sphere's surface in each row, summing to 1.

    A row reaches half a spacing to both sides, at the poles no further than the pole.
    """
    half = grid.spacing_lat / 2
    north = np.sin(np.deg2rad(np.minimum(grid.latitudes + half, 90.0)))
    south = np.sin(np.deg2rad(np.maximum(grid.latitudes - half, -90.0)))
    weights: NDArray[np.float64] = (north - south) / (north - south).sum()
    return weights


def channel_statistics(fine: Array, twin: Array, grid: Grid) -> tuple[ChannelStatistics, ...]:
    """Return the normalisation of each parameter from (N, C, H, W) of states and their twins."""
    rows = area_weights(grid)
    return tuple(
        _one_channel(fine[:, c].astype(np.float64), twin[:, c].astype(np.float64), rows)
        for c in range(fine.shape[1])
    )


def normalise(
    fine: Array, twin: Array, statistics: Sequence[ChannelStatistics]
) -> tuple[Array, Array]:
    """Return residual, of deviation 1, and the normalised twin, both (N, C, H, W) float32."""
    columns = {
        name: np.array([getattr(one, name) for one in statistics])[:, None, None]
        for name in ("coarse_mean", "coarse_std", "fine_mean", "fine_std", "residual_std")
    }
    condition = (twin - columns["coarse_mean"]) / columns["coarse_std"]
    target = (fine - columns["fine_mean"]) / columns["fine_std"]
    residual = (target - condition) / columns["residual_std"]
    return residual.astype(np.float32), condition.astype(np.float32)


def position(grid: Grid) -> dict[str, Array]:
    """Return where each point is, each (H, W): smooth over the poles' rows and the date line."""
    latitude = np.deg2rad(grid.latitudes)[:, None]
    longitude = np.deg2rad(grid.longitudes)[None, :]
    fields = {
        "sin_latitude": np.sin(latitude) + 0 * longitude,
        "cos_longitude": np.cos(longitude) + 0 * latitude,
        "sin_longitude": np.sin(longitude) + 0 * latitude,
    }
    return {name: values.astype(np.float32) for name, values in fields.items()}


def read_surface(path: Path, grid: Grid) -> dict[str, Array]:
    """Return orography `z`, normalised, and land share `lsm`, as box means on `grid`, (H, W).

    path: a NetCDF 3 file with `z` and `lsm` on a regular global grid, north to south.
    Raises UsageError if it is not that.
    """
    try:
        with netcdf_file(path, "r", mmap=False, maskandscale=True) as file:
            latitude = np.array(file.variables["latitude"][:], dtype=np.float64)
            longitude = np.array(file.variables["longitude"][:], dtype=np.float64)
            fields = {n: np.array(np.squeeze(file.variables[n][:])) for n in ("z", "lsm")}
    except (OSError, TypeError, KeyError, ValueError) as error:
        raise UsageError(
            f"{path} is not a NetCDF 3 file with latitude, longitude, z and lsm: {error}"
        ) from error
    found = Grid(
        north=float(latitude[0]),
        west=float(longitude[0]),
        spacing_lat=float(latitude[0] - latitude[1]),
        spacing_lon=float(longitude[1] - longitude[0]),
        rows=len(latitude),
        columns=len(longitude),
    )
    onto = Coarse(grid=grid, interpolation="grid-box-average")
    z = to_coarse(fields["z"], found, onto).astype(np.float64)
    rows = area_weights(grid)
    mean = _area_mean(z, rows)
    deviation = _area_mean((z - mean) ** 2, rows) ** 0.5
    return {
        "z": ((z - mean) / deviation).astype(np.float32),
        "lsm": np.clip(to_coarse(fields["lsm"], found, onto), 0.0, 1.0),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    source: str
    parameters: tuple[Found, ...]
    grid: Grid
    valid_time: datetime
    values: Array


def _read_state(path: Path, faults: list[str]) -> _State | None:
    """Read one file; what is wrong with it is added to `faults`."""
    fields: dict[Found, tuple[Grid, datetime, Array]] = {}
    try:
        for message in _messages(path):
            with codes.opened(message) as handle:
                found = Found(
                    handle.text("shortName"), handle.integer("paramId"), handle.text("units")
                )
                if found in fields:
                    faults.append(f"{path.name} holds {found.name} twice, want one state a file")
                    return None
                fields[found] = _read_field(handle)
    except (codes.CodesError, UsageError, OSError) as error:
        faults.append(f"{path.name}: {error}")
        return None
    ordered = sorted(fields, key=lambda found: found.param_id)
    grids = {grid for grid, _, _ in fields.values()}
    times = {time for _, time, _ in fields.values()}
    if len(grids) != 1 or len(times) != 1:
        faults.append(
            f"{path.name} mixes {len(grids)} grids and {len(times)} valid times, want one state"
        )
        return None
    values = np.stack([fields[found][2] for found in ordered])
    return _State(path.name, tuple(ordered), grids.pop(), times.pop(), values)


def _disagreements(states: list[_State]) -> list[str]:
    """Say which states differ from what most states are."""
    faults: list[str] = []
    every = {found for state in states for found in state.parameters}
    grids = [state.grid for state in states]
    usual = max(set(grids), key=grids.count)
    for state in states:
        lacking = sorted(found.name for found in every.difference(state.parameters))
        if lacking:
            faults.append(f"{state.source} lacks {', '.join(lacking)}, which other files have")
        if state.grid != usual:
            faults.append(f"{state.source} is on {state.grid}, the others on {usual}")
    return faults


def _read_field(handle: codes.Handle) -> tuple[Grid, datetime, Array]:
    kind = handle.text("gridType")
    if kind != "regular_ll":
        raise UsageError(f"grid type {kind}, want regular_ll")
    missing = handle.integer("numberOfMissing")
    if missing:
        raise UsageError(f"{handle.text('shortName')} has {missing} missing values, want none")
    rows, columns = handle.integer("Nj"), handle.integer("Ni")
    values = handle.values().reshape(rows, columns)
    if handle.integer("jPointsAreConsecutive") or handle.integer("alternativeRowScanning"):
        raise UsageError("columns or alternating rows scan first, want rows from west to east")
    latitude = handle.number("latitudeOfFirstGridPointInDegrees")
    if handle.integer("jScansPositively"):
        values, latitude = values[::-1], handle.number("latitudeOfLastGridPointInDegrees")
    if handle.integer("iScansNegatively"):
        raise UsageError("rows scan from east to west, want west to east")
    grid = Grid(
        north=latitude,
        west=handle.number("longitudeOfFirstGridPointInDegrees"),
        spacing_lat=handle.number("jDirectionIncrementInDegrees"),
        spacing_lon=handle.number("iDirectionIncrementInDegrees"),
        rows=rows,
        columns=columns,
    )
    text = f"{handle.integer('validityDate'):08d}{handle.integer('validityTime'):04d}"
    time = datetime.strptime(text, "%Y%m%d%H%M").replace(tzinfo=UTC)
    return grid, time, values.astype(np.float32)


def _messages(path: Path) -> list[bytes]:
    raw = path.read_bytes()
    messages = []
    start = 0
    while start < len(raw):
        if raw[start : start + 4] != b"GRIB":
            raise UsageError(f"no GRIB at byte {start}, found {raw[start : start + 8]!r}")
        length = int.from_bytes(raw[start + 8 : start + 16], "big")
        messages.append(raw[start : start + length])
        start += length
    return messages


def _one_channel(
    fine: NDArray[np.float64], twin: NDArray[np.float64], rows: NDArray[np.float64]
) -> ChannelStatistics:
    fine_mean, coarse_mean = _area_mean(fine, rows), _area_mean(twin, rows)
    fine_std = _area_mean((fine - fine_mean) ** 2, rows) ** 0.5
    coarse_std = _area_mean((twin - coarse_mean) ** 2, rows) ** 0.5
    residual = (fine - fine_mean) / fine_std - (twin - coarse_mean) / coarse_std
    low, high = float(fine.min()), float(fine.max())
    return ChannelStatistics(
        coarse_mean=coarse_mean,
        coarse_std=coarse_std,
        fine_mean=fine_mean,
        fine_std=fine_std,
        residual_std=_area_mean(residual**2, rows) ** 0.5,
        low=low,
        high=high,
    )


def _area_mean(values: NDArray[np.float64], rows: NDArray[np.float64]) -> float:
    """Return the mean of (..., H, W) over the sphere and whatever stands before."""
    return float((values.mean(axis=-1) @ rows).mean())
