"""The words of the house as values: grids, keys, fields, steps, and why a message is refused."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: Stands for a run's member where its members are pooled into one ensemble, and its word in keys.
ALL_MEMBERS: Final = -1
_ALL: Final = "all"


@dataclass(frozen=True)
class Grid:
    """A regular latitude-longitude grid; rows run north to south, columns west to east.

    north, west: the first point, degrees. spacing_lat, spacing_lon: degrees, positive.
    """

    north: float
    west: float
    spacing_lat: float
    spacing_lon: float
    rows: int
    columns: int

    @cached_property
    def latitudes(self) -> NDArray[np.float64]:
        """(rows,) degrees, falling."""
        return np.round(self.north - self.spacing_lat * np.arange(self.rows), 9)

    @cached_property
    def longitudes(self) -> NDArray[np.float64]:
        """(columns,) degrees, rising from `west`, not wrapped."""
        return np.round(self.west + self.spacing_lon * np.arange(self.columns), 9)

    @property
    def is_periodic(self) -> bool:
        """Whether the columns go all the way round."""
        return abs(self.columns * self.spacing_lon - 360.0) < 1e-6

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns), the shape of a field's values."""
        return self.rows, self.columns

    def part(self, rows: tuple[int, int], columns: tuple[int, int]) -> "Grid":
        """Return the grid of the points [start, stop) of rows and columns; it begins below 360 E.

        Where the columns go all the way round, the last one asked for may lie past them.
        """
        west = float(self.longitudes[columns[0]])
        return Grid(
            north=float(self.latitudes[rows[0]]),
            west=round(west - 360.0, 9) if west >= 360.0 else west,
            spacing_lat=self.spacing_lat,
            spacing_lon=self.spacing_lon,
            rows=rows[1] - rows[0],
            columns=columns[1] - columns[0],
        )


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where a message came from: a record, and the message's index in it."""

    topic: str
    partition: int
    offset: int
    message: int = 0


@dataclass(frozen=True, slots=True, order=True)
class RunKey:
    """A forecast of one source issued at one reference time, one member of it.

    What the GRIB does not know is "-"; no `number` is member 0, and ALL_MEMBERS all of a pool.
    `again` is the name given to a repeat on purpose, "" for the first time.
    """

    centre: str
    source: str
    expver: str
    reference_time: datetime
    member: int
    again: str = ""

    @property
    def text(self) -> str:
        """The record key: centre/source/expver/YYYYMMDDHHMM/member."""
        time = self.reference_time.astimezone(UTC).strftime("%Y%m%d%H%M")
        return f"{self.centre}/{self.source}/{self.expver}/{time}/{self.member_text}"

    @property
    def member_text(self) -> str:
        """The member as keys, headers and names of files have it: its number, or `all`."""
        return _ALL if self.is_pooled else str(self.member)

    @property
    def is_pooled(self) -> bool:
        """Whether it stands for all members of a pool."""
        return self.member == ALL_MEMBERS


def member_of(text: str) -> int:
    """Read a member as `RunKey.member_text` writes it; ValueError for anything else."""
    return ALL_MEMBERS if text == _ALL else int(text)


@dataclass(frozen=True, slots=True, order=True)
class StepKey:
    """One lead time of a run: what is assembled, downscaled and published as a whole."""

    run: RunKey
    minutes: int

    @property
    def text(self) -> str:
        """The record key: the run's, a slash and the step (`6`, or `30m` below an hour's grain)."""
        return f"{self.run.text}/{step_text(self.minutes)}"

    @property
    def pooled(self) -> "StepKey":
        """The step of all members."""
        return replace(self, run=replace(self.run, member=ALL_MEMBERS))

    @property
    def hours(self) -> float:
        """Lead time in hours."""
        return self.minutes / 60

    @property
    def valid_time(self) -> datetime:
        """When the forecast is for: reference time and lead time together."""
        return self.run.reference_time + timedelta(minutes=self.minutes)


def step_text(minutes: int) -> str:
    """Name a lead time as keys do: whole hours as a number, anything else in minutes with an m."""
    return f"{minutes // 60}" if minutes % 60 == 0 else f"{minutes}m"


@dataclass(frozen=True, slots=True, order=True)
class Statistic:
    """What is told of an ensemble, point by point, in place of its members.

    kind: `mean`, `variance`, `spread` (the standard deviation), `minimum`, `maximum`; `quantile`
    with its order, 0 to 1; `above` and `below`, the probability of passing a threshold, with the
    threshold in the parameter's units. value: None for a kind that needs none.
    """

    kind: Literal["mean", "variance", "spread", "minimum", "maximum", "quantile", "above", "below"]
    value: float | None = None

    @property
    def text(self) -> str:
        """Its name in keys, ids and records: `mean`, `quantile-0.9`, `above-17.2`."""
        return self.kind if self.value is None else f"{self.kind}-{self.value:g}"


class Reason(StrEnum):
    """Why a message is dead-lettered; the closed list that metrics and headers use."""

    EMPTY = "empty"
    NOT_GRIB = "not_grib"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"
    WORKER_DIED = "worker_died"
    WORKER_HUNG = "worker_hung"
    UNSUPPORTED_GRID = "unsupported_grid"
    COARSER_THAN_BUNDLE = "coarser_than_bundle"
    OUTSIDE_AREA = "outside_area"
    GRID_RELATIVE_WIND = "grid_relative_wind"
    MISSING_VALUES = "missing_values"
    OUT_OF_RANGE = "out_of_range"
    GRID_MISMATCH = "grid_mismatch"
    SPLIT = "split"
    NOT_ACCUMULATED = "not_accumulated"


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """What an accumulation covers: lead times in minutes, `start` before `end`."""

    start: int
    end: int

    @property
    def hours(self) -> float:
        """How long it is."""
        return (self.end - self.start) / 60

    @property
    def text(self) -> str:
        """The interval in words: `+3 to +6 h`."""
        return f"+{self.start / 60:g} to +{self.end / 60:g} h"


#: A field's place in a step: whose it is, a member, and its parameter.
Slot = tuple[int, str]


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A decoded message that the bundle wants, already on the bundle's grids.

    coarse: (h, w) float32, after the bundle's coarse operator, in the bundle's units.
    interpolated: (H, W) float32, `coarse` on the fine grid.
    crossed: what this component of a grid-relative wind adds to its partner on the fine grid,
      (H, W); None for every other field. `crossed_coarse`: the same, (h, w).
    grid: the input grid in words, equal for fields that may join one step.
    message: the encoded GRIB message; the template of what is made from it.
    factor: took the message's units to the bundle's.
    interval: what an accumulation covers; None for a parameter that is true at a point in time.
      Its values are amounts until `intake.accumulation` makes rates of them.
    rounding: how far packing may have moved a value of an accumulation, in the bundle's units.
    """

    key: StepKey
    parameter: str
    grid: str
    coarse: Array
    interpolated: Array
    message: bytes
    digest: bytes
    crossed: Array | None = None
    crossed_coarse: Array | None = None
    factor: float = 1.0
    interval: Interval | None = None
    rounding: float = 0.0

    @property
    def slot(self) -> Slot:
        """Its place among the fields of its step."""
        return self.key.run.member, self.parameter

    @property
    def size_bytes(self) -> int:
        """What the field holds in memory."""
        return self.coarse.nbytes + self.interpolated.nbytes + len(self.message)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that cannot be used: dead-lettered with `reason` and `text`."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A sound message that nobody asked for: counted, not dead-lettered.

    why: `source` (no source matches), `member` (not of the source's pool), `parameter` (not in the
    bundle), `step`, `old`.
    """

    why: str


Decoded = Field | Rejected | Unwanted


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """All fields of one step, in the bundle's order, ready to be downscaled.

    A pooled step has those of one member after another; its members are what is downscaled.
    A parameter that does not exist yet at this lead time has no field: a rate, which is 0 then.
    origins: of its fields, then of those before.
    before: accumulations of the run's step before this one, as far as they are needed to know
      what fell since. since: that step's lead time in minutes; None for a run's first.
    """

    key: StepKey
    fields: tuple[Field, ...]
    origins: tuple[Origin, ...]
    newest_record_time: datetime
    completed_at: datetime
    before: tuple[Field, ...] = ()
    since: int | None = None

    @property
    def members(self) -> tuple["Step", ...]:
        """The step of each member alone, in the order of their fields: itself, unless pooled."""
        if not self.key.run.is_pooled:
            return (self,)
        keys = dict.fromkeys(field.key for field in self.fields)
        return tuple(
            replace(
                self,
                key=key,
                fields=tuple(field for field in self.fields if field.key == key),
                before=tuple(f for f in self.before if f.key.run == key.run),
            )
            for key in keys
        )

    @property
    def size_bytes(self) -> int:
        """What the step holds in memory."""
        return sum(field.size_bytes for field in (*self.fields, *self.before))
