"""Find states that are known on a bundle's fine grid in files of GRIB, and read some of them.

Headers are read first: an archive may hold far more than is wanted or fits into memory.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from engines.errors import UsageError
from streamer.archive import StateKey
from streamer.domain import Array, Grid, Rejected
from streamer.grib import grids, intervals
from streamer.grib.codes import CodesError, Handle, opened
from streamer.grib.frame import split
from streamer.grib.identity import has_all, step_key
from streamer.grib.manifest import GribManifest, Identity, Parameter
from streamer.grib.wants import Limits
from streamer.verify.matching import window

#: What ecCodes is told to put where a value is missing: above anything that is measured.
_MISSING = 1e36


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a parameter of a state lies, how old the forecast was, in minutes, and its factor.

    factor: from the message's values to the bundle's units, an hour's where they gather.
    """

    minutes: int
    path: Path
    message: int
    factor: float


@dataclass(frozen=True, slots=True, eq=False)
class TruthStates:
    """States of all of a bundle's parameters, in the order of their valid times."""

    manifest: GribManifest
    names: tuple[str, ...]
    places: Mapping[StateKey, Mapping[str, Place]]

    @property
    def keys(self) -> tuple[StateKey, ...]:
        """The states that are there."""
        return tuple(self.places)

    def days(self) -> tuple[date, ...]:
        """Return the calendar days of the valid times, each once, in order."""
        return tuple(sorted({key.valid_time.date() for key in self.places}))

    def on(self, days: Iterable[date], most: int) -> tuple[StateKey, ...]:
        """Return the states of some days, at most so many, spread evenly over them."""
        wanted = set(days)
        keys = [key for key in self.places if key.valid_time.date() in wanted]
        if len(keys) <= most:
            return tuple(keys)
        middles = (np.arange(most) + 0.5) * len(keys) / most
        return tuple(keys[int(i)] for i in middles)

    def read(self, keys: Sequence[StateKey]) -> Array:
        """Return (N, C, H, W) float32 in the bundle's units.

        Raises UsageError for values that are missing or not finite, naming file and message.
        """
        values = np.empty((len(keys), len(self.names), *self.manifest.grid.shape), np.float32)
        wanted: dict[Path, list[tuple[Place, int, int]]] = defaultdict(list)
        for state, key in enumerate(keys):
            for channel, name in enumerate(self.names):
                place = self.places[key][name]
                wanted[place.path].append((place, state, channel))
        for path, places in wanted.items():
            messages = split(path.read_bytes(), Limits())
            for place, state, channel in places:
                message = messages[place.message]
                assert isinstance(message, bytes)
                parameter = self.manifest.parameter(self.names[channel])
                values[state, channel] = _values(message, place, parameter, self.manifest.grid)
        return values


def find_truth(paths: Sequence[Path], manifest: GribManifest, names: Sequence[str]) -> TruthStates:
    """Look through files for states of all parameters; of two for one time the younger wins.

    What is no GRIB, or another parameter, is passed by. Accumulations become amounts an hour.
    Raises UsageError for a wanted parameter on another grid, for one that no file holds, and
    where no state has all of them.
    """
    found: dict[tuple[object, int], dict[str, tuple[Place, StateKey]]] = defaultdict(dict)
    for path in paths:
        for index, message in enumerate(split(path.read_bytes(), Limits())):
            if isinstance(message, Rejected):
                continue
            known = _header(message, path, index, manifest)
            if known is None:
                continue
            name, place, key = known
            state = found[key.valid_time, key.member]
            if name not in state or place < state[name][0]:
                state[name] = (place, key)
    seen = {name for state in found.values() for name in state}
    lacking = [name for name in names if name not in seen]
    if lacking:
        raise UsageError(f"the {len(paths)} files of truth hold no {', '.join(lacking)}")
    whole = [state for state in found.values() if all(name in state for name in names)]
    if not whole:
        raise UsageError(f"at no time do the files of truth hold all of {', '.join(names)}")
    # A state is named after its first parameter's message, as an archive names it.
    places = {
        state[names[0]][1]: {name: place for name, (place, _) in state.items()} for state in whole
    }
    return TruthStates(manifest, tuple(names), dict(sorted(places.items())))


def _header(
    message: bytes, path: Path, index: int, manifest: GribManifest
) -> tuple[str, Place, StateKey] | None:
    """Return the parameter of a message, where it lies and which state it is of; None: unwanted."""
    try:
        with opened(message) as handle:
            matched = _match(handle, manifest)
            if matched is None:
                return None
            parameter, identity = matched
            words = handle.text("stepRange")
            hours = 1.0
            if parameter.accumulated:
                hours = intervals.read_interval(handle).hours
            _refuse_other_grid(handle, manifest.grid)
            key = step_key(handle, "-", "")
    except (CodesError, ValueError, grids.GridError, UsageError) as error:
        raise UsageError(f"{path}, message {index + 1}: {error}") from error
    except intervals.NoInterval:
        # An amount since its own start is no amount.
        return None
    place = Place(key.minutes, path, index, identity.factor / hours)
    return parameter.name, place, StateKey(key.valid_time, words, key.run.member)


def _match(handle: Handle, manifest: GribManifest) -> tuple[Parameter, Identity] | None:
    param_id = handle.integer("paramId")
    return next(
        (
            (parameter, identity)
            for parameter in manifest.parameters
            for identity in parameter.identities
            if identity.param_id == param_id and has_all(handle, identity.keys)
        ),
        None,
    )


def _refuse_other_grid(handle: Handle, wanted: Grid) -> None:
    found = grids.read_grid(handle)
    if found.regular is None or window(found.regular, wanted) is None:
        raise UsageError(
            f"{handle.text('shortName')} is on {found.words}; wanted the bundle's fine grid, "
            f"{wanted.rows}x{wanted.columns} points, {grids.reach(wanted)}"
        )


def _values(message: bytes, place: Place, parameter: Parameter, grid: Grid) -> Array:
    with opened(message) as handle:
        found = grids.read_grid(handle).regular
        assert found is not None
        handle.set("missingValue", _MISSING)
        values = grids.oriented(handle.values(), handle)
    absent = values == _MISSING
    if absent.any():
        if parameter.fill_missing is None:
            raise UsageError(
                f"{place.path}, message {place.message + 1}: {parameter.name} has "
                f"{int(absent.sum())} of {values.size} values missing, wanted none"
            )
        values[absent] = parameter.fill_missing / place.factor
    if not np.isfinite(values).all():
        raise UsageError(
            f"{place.path}, message {place.message + 1}: {parameter.name} has values that are "
            "not finite"
        )
    taken = window(found, grid)
    assert taken is not None  # other grids were refused when the headers were read
    return np.asarray(values[np.ix_(*taken)] * place.factor, dtype=np.float32)
