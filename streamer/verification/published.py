"""What was published: the draws of every parameter and step, found in a catalogue of files."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from streamer.domain import Grid, Statistic
from streamer.downscale.derived import DERIVED, derive
from streamer.verification.catalogue import Entry, Moment
from streamer.verify.told import SCORED

Array64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """All draws of one parameter of a step on one grid, of all input members together.

    draws: by parameter; its own, or those that it is derived from.
    """

    name: str
    moment: Moment
    grid: Grid
    draws: Mapping[str, tuple[Entry, ...]]

    @property
    def count(self) -> int:
        """How many draws there are."""
        return min(map(len, self.draws.values()))

    @property
    def units(self) -> str:
        """The units of its values."""
        return DERIVED[self.name].units if self.name not in self.draws else self._first.units

    @property
    def _first(self) -> Entry:
        return next(iter(self.draws.values()))[0]

    def values(self) -> Array64:
        """Decode: (D, H, W)."""
        found = from_inputs(self._stacked, self.name)
        assert found is not None
        return found

    def _stacked(self, name: str) -> Array64 | None:
        entries = self.draws.get(name)
        return None if entries is None else np.stack([entry.values() for entry in entries])


@dataclass(frozen=True, slots=True)
class Summary:
    """A statistic of one parameter's ensemble, of a step on a grid."""

    name: str
    statistic: Statistic
    moment: Moment
    grid: Grid
    entry: Entry

    @property
    def units(self) -> str:
        """The units of the parameter, which those of a probability do not tell."""
        return self.entry.units

    def values(self) -> Array64:
        """Decode: (H, W), a probability as 0 to 1."""
        return self.entry.values()


def summaries(forecasts: Sequence[Entry]) -> Iterator[Summary]:
    """Yield the statistics that can be held to a truth; UsageError for two of one step."""
    found: dict[tuple[str, Statistic, Moment, Grid], Entry] = {}
    for entry in forecasts:
        if entry.statistic is None or entry.statistic.kind not in SCORED:
            continue
        grid = _regular(entry)
        other = found.setdefault((entry.name, entry.statistic, entry.moment, grid), entry)
        if other is not entry:
            raise UsageError(_twice(entry, other, f"the {entry.statistic.text}"))
    for (name, statistic, moment, grid), entry in found.items():
        yield Summary(name, statistic, moment, grid, entry)


def ensembles(forecasts: Sequence[Entry]) -> Iterator[Ensemble]:
    """Yield the draws of each parameter, step and grid together, and of what derives from them.

    Raises UsageError for a field on a grid that is not regular, and for two of one number.
    """
    found: dict[tuple[str, Moment, Grid], dict[int, Entry]] = defaultdict(dict)
    for entry in forecasts:
        if entry.statistic is not None:
            continue
        members = found[entry.name, entry.moment, _regular(entry)]
        other = members.setdefault(entry.member, entry)
        if other is not entry:
            raise UsageError(_twice(entry, other, f"draw {entry.member}"))
    steps: dict[tuple[Moment, Grid], dict[str, tuple[Entry, ...]]] = defaultdict(dict)
    for (name, moment, grid), members in found.items():
        steps[moment, grid][name] = tuple(members[number] for number in sorted(members))
    for (moment, grid), draws in steps.items():
        for name, inputs in _named(draws):
            yield Ensemble(name, moment, grid, {one: draws[one] for one in inputs})


def from_inputs(read: Callable[[str], Array64 | None], name: str) -> Array64 | None:
    """Return what can be read of a parameter, or derive it from what it is made of; else None."""
    own = read(name)
    if own is not None or name not in DERIVED:
        return own
    names = DERIVED[name].inputs
    inputs = [one for one in map(read, names) if one is not None]
    if len(inputs) < len(names):
        return None
    channels = np.stack(inputs, axis=-3).astype(np.float32)
    return derive([name], names, channels)[..., 0, :, :].astype(np.float64)


def _regular(entry: Entry) -> Grid:
    if entry.grid is None:
        raise UsageError(f"{entry.path}: {entry.name} is on {entry.where}, wanted regular_ll")
    return entry.grid


def _twice(entry: Entry, other: Entry, what: str) -> str:
    moment = entry.moment
    return (
        f"{entry.path} and {other.path} both hold {what} of {entry.name}, "
        f"{moment.reference_time:%Y-%m-%d %H:%M} +{moment.minutes / 60:g} h; "
        "wanted one product at a time"
    )


def _named(draws: Mapping[str, tuple[Entry, ...]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what can be verified of a step, and from which parameters' draws it comes.

    Directions go round, so that none of the scores means anything of them.
    """
    for name in draws:
        if name not in DERIVED or not DERIVED[name].is_angle:
            yield name, (name,)
    for name, derived in DERIVED.items():
        if name in draws or derived.is_angle or not set(derived.inputs) <= draws.keys():
            continue
        numbers = [[entry.member for entry in draws[one]] for one in derived.inputs]
        if numbers[0] == numbers[1]:
            yield name, derived.inputs
