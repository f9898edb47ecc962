"""Reads GRIB as any user would, with cfgrib and xarray: results, and the truth they are held to."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from streamer.domain import Grid

if TYPE_CHECKING:
    import xarray as xr

Array64 = NDArray[np.float64]

log = logging.getLogger(__name__)

#: How far, in degrees, a point of the truth may lie from the bundle's: GRIB 1 rounds to 0.001.
_NEAR_DEG = 2e-3


class NotGrib(UsageError):
    """A file without any GRIB message."""

    reason: ClassVar[str] = "not_grib"


@dataclass(frozen=True, slots=True)
class Choice:
    """One way in which GRIB names a parameter. factor: takes its units to the bundle's."""

    parameter: str
    keys: Mapping[str, int | float | str]
    factor: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One parameter of one moment in a file, not yet decoded; `values` does that."""

    parameter: str
    valid_time: datetime
    step: timedelta
    path: Path
    _cube: Any
    _factor: float

    def values(self, grid: Grid) -> Array64:
        """Decode: (D, H, W) in the bundle's units, one draw where the GRIB has no `number`.

        Rows north to south, columns from the grid's west. Raises UsageError, with what was found
        and what was wanted, if the field is on another grid or has missing values.
        """
        cube = self._cube
        cube = cube if "number" in cube.dims else cube.expand_dims("number")
        _refuse_other_grid(cube, grid, self.path)
        cube = cube.sortby("latitude", ascending=False).transpose("number", "latitude", "longitude")
        east = _east_of(_longitudes(cube), grid.west)
        values: Array64 = cube.values[:, :, np.argsort(east)].astype(np.float64) * self._factor
        missing = int(np.count_nonzero(~np.isfinite(values)))
        if missing:
            raise UsageError(
                f"{self.path}: {self.parameter} of {self.valid_time:%Y-%m-%d %H:%M} has {missing} "
                f"missing values, wanted none"
            )
        return values


@dataclass(slots=True)
class Truth:
    """What is known to be true, by parameter and valid time."""

    found: dict[tuple[str, datetime], Found] = field(default_factory=dict)

    def at(self, parameter: str, valid_time: datetime) -> Found | None:
        """Return the truth of a parameter at a time, if there is any."""
        return self.found.get((parameter, valid_time))

    @property
    def span(self) -> str:
        """From when to when it reaches, for messages."""
        times = sorted(time for _, time in self.found)
        return f"{times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M}"


def read_truth(paths: Iterable[Path], choices: Iterable[Choice]) -> Truth:
    """Look through files for the truth; of two that are valid at once the shorter lead time wins.

    Files that are no GRIB are passed by with a warning, as folders of GRIB often hold some.
    Raises UsageError where no file holds any wanted parameter.
    """
    truth, wanted = Truth(), tuple(choices)
    files = list(paths)
    for path in files:
        try:
            found = list(find(path, wanted))
        except NotGrib as error:
            log.warning("passed by: %s", error)
            continue
        for one in found:
            known = truth.found.setdefault((one.parameter, one.valid_time), one)
            if one.step < known.step:
                truth.found[one.parameter, one.valid_time] = one
    if not truth.found:
        names = ", ".join(sorted({choice.parameter for choice in wanted}))
        raise UsageError(f"found no {names} in the {len(files)} files of truth")
    return truth


def find(path: Path, choices: Iterable[Choice]) -> Iterator[Found]:
    """Yield what a file holds of the wanted parameters, moment by moment, undecoded.

    Raises NotGrib for a file that is none, UsageError where cfgrib cannot tell messages apart.
    """
    for choice in choices:
        data = _open(path, choice)
        for cube in data.data_vars.values():
            for moment in _moments(cube):
                time = np.datetime64(moment.time.values, "s").astype(datetime).replace(tzinfo=UTC)
                step = timedelta(seconds=int(moment.step.values / np.timedelta64(1, "s")))
                yield Found(choice.parameter, time + step, step, path, moment, choice.factor)


def _open(path: Path, choice: Choice) -> "xr.Dataset":
    # Takes seconds to import, and only who reads results needs it.
    import xarray as xr  # noqa: PLC0415

    # No index file: the data may lie where nothing can be written.
    options = {"indexpath": "", "filter_by_keys": dict(choice.keys), "errors": "raise"}
    try:
        return xr.open_dataset(path, engine="cfgrib", backend_kwargs=options, decode_timedelta=True)
    except EOFError:
        raise NotGrib(f"{path}: found no GRIB message, wanted fine GRIB") from None
    except (ValueError, KeyError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise UsageError(f"{path}: cfgrib cannot read {choice.parameter}: {said}") from error


def _moments(cube: "xr.DataArray") -> "Iterator[xr.DataArray]":
    """Cut a cube into single times and steps; moments that a ragged file lacks are left out."""
    for name in ("time", "step"):
        if name not in cube.dims:
            cube = cube.expand_dims(name)
    is_ragged = cube.sizes["time"] > 1 and cube.sizes["step"] > 1
    for time in range(cube.sizes["time"]):
        for step in range(cube.sizes["step"]):
            moment = cube.isel(time=time, step=step)
            if not is_ragged or bool(np.isfinite(moment.values).any()):
                yield moment


def _longitudes(cube: "xr.DataArray") -> Array64:
    """Return the columns' longitudes as the values are stored.

    Where a global grid begins between 0 and 180 E, cfgrib sorts the longitudes but not the values
    (ecCodes' distinctLongitudes; seen with cfgrib 0.9.15), so they are turned to the first point.
    """
    found: Array64 = cube.longitude.values
    first = float(cube.attrs["GRIB_longitudeOfFirstGridPointInDegrees"])
    away = np.abs((found - first + 180.0) % 360.0 - 180.0)
    return np.roll(found, -int(away.argmin())) if away[0] > _NEAR_DEG else found


def _east_of(longitudes: Array64, west: float) -> Array64:
    """Return how many degrees, 0 to below 360, longitudes lie east of one."""
    east: Array64 = np.round((longitudes - west) % 360.0, 6) % 360.0
    return east


def _refuse_other_grid(cube: "xr.DataArray", grid: Grid, path: Path) -> None:
    """Raise UsageError unless the cube has just the grid's points, in whatever order."""
    latitude, longitude = (np.atleast_1d(cube.coords[c].values) for c in ("latitude", "longitude"))
    with contextlib.suppress(ValueError):
        east = np.sort(_east_of(longitude, grid.west))
        is_same = np.allclose(
            np.sort(latitude)[::-1], grid.latitudes, atol=_NEAR_DEG, rtol=0
        ) and np.allclose(east, grid.longitudes - grid.west, atol=_NEAR_DEG, rtol=0)
        if latitude.ndim == longitude.ndim == 1 and is_same:
            return
    kind = cube.attrs.get("GRIB_gridType", "unknown")
    raise UsageError(
        f"{path}: the field is on a {kind} grid of {' x '.join(map(str, cube.shape[-2:]))} points, "
        f"{latitude.max():g} N {longitude.min():g} E to {latitude.min():g} N "
        f"{longitude.max():g} E; wanted {grid.rows} x {grid.columns} points from {grid.north:g} N "
        f"{grid.west:g} E by {grid.spacing_lat:g} x {grid.spacing_lon:g} degrees"
    )
