"""Lists which fields files of GRIB hold, by their headers, and reads single ones when wanted.

Forecasts, analyses and coarse input alike: whatever a field is, it lies at a valid time, and an
amount that gathers also since a time. An archive may be far larger than memory.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from streamer.domain import Grid, Rejected, Statistic
from streamer.grib import grids, intervals
from streamer.grib.codes import CodesError, Handle, opened
from streamer.grib.frame import split
from streamer.grib.identity import has_all, step_key
from streamer.grib.manifest import GribManifest
from streamer.grib.param_target import PARAM_TARGETS
from streamer.grib.wants import Limits

Array64 = NDArray[np.float64]

log = logging.getLogger(__name__)

#: What ecCodes is told to put where a value is missing: above anything that is measured.
_MISSING = 1e36
#: A file of an archive may hold years; a record of the bus may not.
_WHOLE_FILES = Limits(record_bytes=1 << 62, messages=1 << 62)
#: Code tables 4.7 and 4.9: what is told of an ensemble.
_Kind = Literal["mean", "spread", "minimum", "maximum", "variance"]
_DERIVED: Mapping[int, _Kind] = {
    0: "mean",
    1: "mean",
    4: "spread",
    8: "minimum",
    9: "maximum",
    10: "variance",
}
_PROBABILITIES: Mapping[int, tuple[Literal["above", "below"], str]] = {
    0: ("below", "lowerLimit"),
    1: ("above", "upperLimit"),
    3: ("above", "lowerLimit"),
    4: ("below", "upperLimit"),
}
#: Probabilities are published in percent.
_PERCENT = 0.01
#: Vertical levels that a parameter's own name tells, as in 2t and 10u.
_PLAIN_LEVELS = ("surface", "meanSea", "entireAtmosphere", "heightAboveGround", "unknown")


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """When a forecast was issued and what it is for, lead times in minutes.

    begins: since when it gathers; equal to `minutes` where it is true at one time.
    """

    reference_time: datetime
    minutes: int
    begins: int

    @property
    def valid_time(self) -> datetime:
        """When it is true, or when it ends."""
        return self.reference_time + timedelta(minutes=self.minutes)

    @property
    def duration(self) -> int:
        """How long it gathers, in minutes."""
        return self.minutes - self.begins


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a file, not yet decoded.

    factor: takes its values to `units`. grid: None if it is no regular one, see `where`.
    fill_missing: what stands for missing values, in `units`; None where none may be missing.
    per_hour: whether an amount was made an amount an hour. held: its message, where `path` is
    only the name of where it came from.
    """

    name: str
    units: str
    moment: Moment
    member: int
    statistic: Statistic | None
    grid: Grid | None
    where: str
    path: Path
    index: int
    factor: float = 1.0
    fill_missing: float | None = None
    per_hour: bool = False
    held: bytes | None = None

    @property
    def message(self) -> bytes:
        """Read its message again, or take it out of the hand."""
        if self.held is not None:
            return self.held
        found = _pieces(self.path)[self.index]
        assert isinstance(found, bytes)
        return found

    def values(self) -> Array64:
        """Decode: (H, W) in `units`, north to south and west to east, on its own grid.

        Raises UsageError for a grid that is not regular, and for missing values.
        """
        if self.grid is None:
            raise UsageError(f"{self.path}: {self.name} is on {self.where}, wanted regular_ll")
        with opened(self.message) as handle:
            handle.set("missingValue", _MISSING)
            values = grids.oriented(handle.values(), handle)
        absent = values == _MISSING
        if self.fill_missing is not None:
            values[absent] = self.fill_missing / self.factor
            absent[...] = False
        missing = int(np.count_nonzero(absent | ~np.isfinite(values)))
        if missing:
            raise UsageError(
                f"{self.path}: {self.name} of {self.moment.valid_time:%Y-%m-%d %H:%M} has {missing}"
                " missing values, wanted none"
            )
        return values * self.factor


def catalogue(paths: Sequence[Path], manifest: GribManifest | None = None) -> tuple[Entry, ...]:
    """List every field of the files, in their order.

    manifest: names its parameters as the bundle does, in its units, accumulations as amounts an
    hour; other fields go by ecCodes' names. What is no GRIB is passed by with a warning.
    """
    return tuple(entry for path in paths for entry in _listed(_pieces(path), path, manifest))


def entries_of(value: bytes, where: str, manifest: GribManifest | None = None) -> tuple[Entry, ...]:
    """List every field of a record's value, which they keep; where: what errors call it."""
    found = _listed(split(value, Limits()), Path(where), manifest, is_held=True)
    return tuple(found)


def _listed(
    pieces: Sequence[bytes | Rejected],
    path: Path,
    manifest: GribManifest | None,
    *,
    is_held: bool = False,
) -> list[Entry]:
    found: list[Entry] = []
    broken = []
    for index, piece in enumerate(pieces):
        if isinstance(piece, Rejected):
            broken.append(piece.text)
            continue
        try:
            with opened(piece) as handle:
                entry = _entry(handle, path, index, manifest)
        except (CodesError, ValueError, grids.GridError) as error:
            broken.append(f"message {index + 1}: {error}")
            continue
        found.append(replace(entry, held=piece) if is_held else entry)
    if broken:
        more = f"; and {len(broken) - 1} more" if len(broken) > 1 else ""
        log.warning("passed by in %s: %s%s", path, broken[0], more)
    return found


def _pieces(path: Path) -> list[bytes | Rejected]:
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=3)
def _read(path: Path, _written_ns: int, _size: int) -> list[bytes | Rejected]:
    """Read a file as it was written then; the last few are kept, as fields lie side by side."""
    return split(path.read_bytes(), _WHOLE_FILES)


def _entry(handle: Handle, path: Path, index: int, manifest: GribManifest | None) -> Entry:
    name, units, factor = _name(handle, manifest)
    channels = manifest.parameters if manifest else ()
    known = next((one for one in channels if one.name == name), None)
    is_rate = known is not None and known.accumulated
    begins, factor = _begins(handle, factor, is_rate=is_rate)
    key = step_key(handle, "-", "")
    minutes = key.minutes
    kind = handle.text("gridType")
    where = grids.read_grid(handle) if kind in grids.DIRECT + grids.VIA_REGULAR else None
    statistic = _statistic(handle, factor)
    is_share = statistic is not None and statistic.kind in ("above", "below")
    return Entry(
        name=name,
        units=f"{units} h**-1" if is_rate else units,
        moment=Moment(key.run.reference_time, minutes, minutes if begins is None else begins),
        member=key.run.member,
        statistic=statistic,
        grid=where.regular if where else None,
        where=where.words if where else f"a grid of type {kind}",
        path=path,
        index=index,
        factor=_PERCENT if is_share else factor,
        fill_missing=known.fill_missing if known else None,
        per_hour=is_rate,
    )


def _name(handle: Handle, manifest: GribManifest | None) -> tuple[str, str, float]:
    param_id = handle.integer("paramId")
    for parameter in manifest.parameters if manifest else ():
        for identity in parameter.identities:
            if identity.param_id == param_id and has_all(handle, identity.keys):
                return parameter.name, parameter.units, identity.factor
    name = handle.text("shortName") if param_id else _unnamed(handle)
    name = f"param{param_id}" if name == "unknown" else name
    level = handle.text("typeOfLevel")
    is_plain = level in _PLAIN_LEVELS and not (level == _PLAIN_LEVELS[3] and name.isalpha())
    placed = name if is_plain else f"{name}@{handle.text('level')}"
    return placed, handle.text("units"), 1.0


def _unnamed(handle: Handle) -> str:
    """Name a parameter that we publish and that ecCodes has no name for."""
    wmo = tuple(map(handle.integer, ("discipline", "parameterCategory", "parameterNumber")))
    for name, target in PARAM_TARGETS.items():
        if wmo == (target.discipline, target.category, target.number):
            return name
    return "unknown"


def _begins(handle: Handle, factor: float, *, is_rate: bool) -> tuple[int | None, float]:
    """Return since when a field gathers, in minutes, None for a point in time; and its factor."""
    if is_rate:
        try:
            interval = intervals.read_interval(handle)
        except intervals.NoInterval as error:
            raise ValueError(str(error)) from error
        return interval.start, factor / interval.hours
    if handle.text("stepType") == "instant":
        return None, factor
    handle.set("stepUnits", "m")
    return handle.integer("startStep"), factor


def _statistic(handle: Handle, factor: float) -> Statistic | None:
    """Return what a field tells of an ensemble; None for a field that is a forecast itself.

    Raises ValueError for a statistic that is none of ours.
    """
    if handle.has("derivedForecast"):
        kind = _DERIVED.get(handle.integer("derivedForecast"))
        if kind is None:
            raise ValueError(f"derivedForecast is {handle.text('derivedForecast')}, not known")
        return Statistic(kind)
    if handle.has("percentileValue"):
        return Statistic("quantile", handle.integer("percentileValue") / 100)
    if handle.has("probabilityType"):
        found = _PROBABILITIES.get(handle.integer("probabilityType"))
        if found is None:
            raise ValueError(f"probabilityType is {handle.text('probabilityType')}, not known")
        passing, limit = found
        # Rates come from amounts, whose limits are kept to nine digits.
        return Statistic(passing, float(f"{handle.number(limit) * factor:.9g}"))
    return None
