"""Read a folder of fine GRIB as the states that a network learns from, and split them by day.

States are split by the calendar day of their valid time: states of one day resemble each other,
and a split by file would flatter the scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from engines.errors import UsageError
from streamer.domain import Array, Grid, Rejected
from streamer.grib import codes
from streamer.grib.frame import split
from streamer.grib.grids import GridError, oriented, read_grid
from streamer.grib.wants import Limits

#: What ecCodes is told to put where a value is missing: above anything that is measured.
_MISSING = 1e30

#: A file of an archive may hold years; a record of the bus may not.
_WHOLE_FILES = Limits(record_bytes=1 << 62, messages=1 << 62)

#: More faults than this are only counted.
FAULTS_SHOWN = 5


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """A parameter as the archive's messages name it."""

    param_id: int
    name: str
    units: str


@dataclass(frozen=True, slots=True, order=True)
class StateKey:
    """What makes messages one state: when it is valid, from which lead time, of which member."""

    valid_time: datetime
    step: str
    member: int

    def __str__(self) -> str:
        """Name the state in messages."""
        member = f" member {self.member}" if self.member else ""
        return f"{self.valid_time:%Y-%m-%dT%H:%M} (step {self.step}{member})"


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """N complete states of C parameters on one grid, in the order of their valid times.

    fine: (N, C, H, W) float32, north to south, west to east, C in the order of paramIds.
    filled: how many values were missing and taken from the nearest point that had one.
    """

    parameters: tuple[Found, ...]
    grid: Grid
    keys: tuple[StateKey, ...]
    fine: Array
    filled: int = 0

    def days(self) -> tuple[date, ...]:
        """Return the calendar days of the valid times, each once, in order."""
        return tuple(sorted({key.valid_time.date() for key in self.keys}))


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of the states to learn from and of those held back, and the days held back."""

    learn: tuple[int, ...]
    held_back: tuple[int, ...]
    days: tuple[date, ...]


def read_archive(folder: Path, missing_share: float = 0.0) -> Archive:
    """Read every message of the files directly in `folder`.

    missing_share: the largest share of a field's values that may be missing; they are taken from
    the nearest point. Raises UsageError with every fault in one text, files and states named: no
    files, something that is not GRIB, more missing values, mixed grids, a state that lacks a
    parameter which others have or holds one twice, one state only.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder, want one of GRIB files")
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    if not paths:
        raise UsageError(f"{folder} holds no files, want GRIB files")
    faults: list[str] = []
    states: _States = {}
    for path in paths:
        _read_file(path, missing_share, states, faults)
    faults += _disagreements(states)
    if faults:
        more = f"; and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
        raise UsageError(f"{folder}: {'; '.join(faults[:FAULTS_SHOWN])}{more}")
    if len(states) < 2:
        only = ", ".join(str(key) for key in states)
        raise UsageError(f"{folder} holds one state only, {only}, want several days of them")
    keys = tuple(sorted(states))
    parameters = tuple(sorted(states[keys[0]]))
    return Archive(
        parameters=parameters,
        grid=states[keys[0]][parameters[0]].grid,
        keys=keys,
        fine=np.stack([np.stack([states[key][p].values for p in parameters]) for key in keys]),
        filled=sum(message.filled for state in states.values() for message in state.values()),
    )


def cut(archive: Archive, grid: Grid) -> Archive:
    """Return the part of an archive that lies on a grid; raises UsageError if it has no such part.

    The grid's points must be points of the archive's.
    """
    found = archive.grid
    if found == grid:
        return archive
    row = (found.north - grid.north) / found.spacing_lat
    column = (grid.west - found.west) / found.spacing_lon
    top, left = round(row), round(column)
    is_same = np.allclose(
        (grid.spacing_lat, grid.spacing_lon, row, column),
        (found.spacing_lat, found.spacing_lon, top, left),
        rtol=0,
        atol=1e-6,
    )
    rows, columns = slice(top, top + grid.rows), slice(left, left + grid.columns)
    if not is_same or min(top, left) < 0 or rows.stop > found.rows or columns.stop > found.columns:
        raise UsageError(f"the archive is on {found}, wanted one with the points of {grid}")
    return replace(archive, grid=grid, fine=archive.fine[:, :, rows, columns])


def split_by_day(archive: Archive, days: int) -> Split:
    """Hold the last `days` calendar days back; raises UsageError if no day would be left."""
    found = archive.days()
    if not 0 < days < len(found):
        raise UsageError(
            f"the archive holds {len(found)} days ({found[0]} to {found[-1]}), "
            f"want at least 1 to hold back and 1 to learn from, not {days} to hold back"
        )
    held = found[len(found) - days :]
    is_held = [key.valid_time.date() in held for key in archive.keys]
    return Split(
        learn=tuple(i for i, back in enumerate(is_held) if not back),
        held_back=tuple(i for i, back in enumerate(is_held) if back),
        days=held,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Message:
    source: str
    grid: Grid
    values: Array
    filled: int


_States = dict[StateKey, dict[Found, _Message]]


def fill_gaps(values: Array, *, is_periodic: bool) -> Array:
    """Return (H, W) with every NaN replaced by the nearest value, counted in points of the grid."""
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    columns = values.shape[1]
    # On a globe the nearest point may lie beyond the first or the last column.
    around = (0, columns, 2 * columns) if is_periodic else (0,)
    there = np.tile(gaps, (1, len(around)))
    _, (row, column) = distance_transform_edt(there, return_indices=True)
    middle = slice(columns, 2 * columns) if is_periodic else slice(None)
    found: Array = values[row[:, middle], column[:, middle] % columns]
    return found


def _read_file(path: Path, share: float, states: _States, faults: list[str]) -> None:
    """Add a file's messages to `states`, and what is wrong with it to `faults`."""
    for message in split(path.read_bytes(), _WHOLE_FILES):
        if isinstance(message, Rejected):
            faults.append(f"{path.name}: {message.text}")
            continue
        try:
            with codes.opened(message) as handle:
                found, key, read = _read_message(handle, path.name, share)
        except (codes.CodesError, GridError, UsageError) as error:
            faults.append(f"{path.name}: {error}")
            continue
        state = states.setdefault(key, {})
        if found in state:
            faults.append(f"{path.name} and {state[found].source} both hold {found.name} of {key}")
        state[found] = read


def _read_message(
    handle: codes.Handle, source: str, share: float
) -> tuple[Found, StateKey, _Message]:
    found = Found(handle.integer("paramId"), handle.text("shortName"), handle.text("units"))
    where = read_grid(handle)
    if where.regular is None:
        raise UsageError(f"{found.name} is on a grid of type {where.kind}, want regular_ll")
    handle.set("missingValue", _MISSING)
    values = oriented(handle.values(), handle).astype(np.float32)
    values[values == np.float32(_MISSING)] = np.nan
    missing = int(np.count_nonzero(np.isnan(values)))
    if missing > share * values.size or missing == values.size:
        raise UsageError(
            f"{found.name} has {missing} of {values.size} values missing "
            f"({missing / values.size:.2%}), want {f'at most {share:.2%}' if share else 'none'}"
        )
    values = fill_gaps(values, is_periodic=where.regular.is_periodic)
    return found, _state_key(handle), _Message(source, where.regular, values, missing)


def _state_key(handle: codes.Handle) -> StateKey:
    text = f"{handle.integer('validityDate'):08d}{handle.integer('validityTime'):04d}"
    return StateKey(
        valid_time=datetime.strptime(text, "%Y%m%d%H%M").replace(tzinfo=UTC),
        step=handle.text("stepRange"),
        member=handle.integer("number") if handle.has("number") else 0,
    )


def _disagreements(states: Mapping[StateKey, Mapping[Found, _Message]]) -> list[str]:
    """Say which states lack parameters, and which messages are on another grid than most."""
    faults: list[str] = []
    every = {found for state in states.values() for found in state}
    grids = [message.grid for state in states.values() for message in state.values()]
    usual = max(set(grids), key=grids.count) if grids else None
    for key, state in sorted(states.items()):
        lacking = ", ".join(found.name for found in sorted(every.difference(state)))
        if lacking:
            sources = ", ".join(sorted({message.source for message in state.values()}))
            faults.append(f"the state {key} in {sources} lacks {lacking}, which others have")
        faults += _strays(state, usual)
    return faults


def _strays(state: Mapping[Found, _Message], usual: Grid | None) -> Sequence[str]:
    return [
        f"{message.source}: {found.name} is on {message.grid}, most are on {usual}"
        for found, message in sorted(state.items())
        if message.grid != usual
    ]
