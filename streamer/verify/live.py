"""Scores while the service runs: published draws wait for the analysis of their valid time.

Analyses arrive hours later, or earlier where a forecast is late, so either waits for the other,
in bounded bytes. Draws are thinned to some ten thousand points, strewn evenly over the grid:
neighbours err alike, so a gauge loses little by it, and a parameter's 60 steps of 8 draws wait in
35 MB whatever the grid. `downscaled verify` scores every point. Pure: time arrives as an argument.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np

from streamer.domain import Array, Grid
from streamer.verify.matching import Indices, window
from streamer.verify.scores import area_weights
from streamer.verify.sums import PointScores, Sums, sums

_HOUR_S = 3600
#: A parameter and a valid time.
_When = tuple[str, datetime]


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How much live verification may hold, and how far back its scores reach."""

    #: bytes of draws and analyses that wait for each other; the oldest valid time is let go first
    waiting_bytes: int = 256 << 20
    #: points of a field that are scored at most
    points: int = 16_384
    #: scores are those of what was matched in so many hours, counted in whole hours; an analysis
    #: is held as long for draws that are late
    window_h: float = 24.0
    #: draws wait so many hours after their valid time; reanalyses come five days later
    patience_h: float = 168.0

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be scored."""
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: found {getattr(self, name)}, wanted more than 0")


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """Draws of one parameter of a step as they were published.

    key: whose they are; the same key again replaces them. draws: (D, H, W), baseline: (H, W), the
    interpolated coarse field where it is known, both in one unit on the grid.
    """

    key: Hashable
    parameter: str
    valid_time: datetime
    grid: Grid
    draws: Array
    baseline: Array | None = None


@dataclass(slots=True)
class LiveCounts:
    """Draws of a step that were scored, that left unscored, and that no analysis reached over."""

    matched: int = 0
    let_go: int = 0
    unfit: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """Thinned draws, (D, R, K), and baseline, (R, K), at the points that `_places` gives."""

    grid: Grid
    points: int
    draws: Array
    baseline: Array | None

    @property
    def size_bytes(self) -> int:
        """What its values occupy."""
        return self.draws.nbytes + (0 if self.baseline is None else self.baseline.nbytes)

    def scored(self, truth: Array) -> Sums:
        """Hold them to the truth on their whole grid."""
        rows, columns = _places(self.grid, self.points)
        weights = area_weights(self.grid.latitudes)[rows[:, 0]]
        return sums(self.draws, truth[rows, columns], self.baseline, weights / weights.sum())


@dataclass(frozen=True, slots=True, eq=False)
class _Analysis:
    grid: Grid
    values: Array
    came: datetime


class LiveScores:
    """Matches draws with analyses by parameter and valid time, and keeps the last day's sums.

    Draws are scored once, against the first analysis that has their points; an analysis serves
    all draws that come while it is held.
    """

    def __init__(self, settings: LiveSettings = LiveSettings()) -> None:
        self._settings = settings
        self.counts = LiveCounts()
        self.waiting_bytes = 0
        self._draws: dict[_When, dict[Hashable, _Waiting]] = {}
        self._analyses: dict[_When, _Analysis] = {}
        #: By hour since 1970, parameter, draws and whether there is a baseline.
        self._sums: dict[tuple[int, str, int, bool], Sums] = {}

    def publish(self, found: Published, now: datetime) -> None:
        """Take draws; they are scored at once if their analysis is there, else they wait.

        ValueError for draws or a baseline of other shapes than the grid's.
        """
        beside = found.grid.shape if found.baseline is None else found.baseline.shape
        if found.draws.shape[1:] != found.grid.shape or beside != found.grid.shape:
            raise ValueError(
                f"draws {found.draws.shape} and a baseline {beside} on a grid {found.grid.shape}"
            )
        when = found.parameter, found.valid_time
        self._take_back(when, found.key)
        waiting = _thinned(found, self._settings.points)
        self._draws.setdefault(when, {})[found.key] = waiting
        self.waiting_bytes += waiting.size_bytes
        self._match(when, [found.key], now)
        self._keep_bounds(now)

    def analyse(
        self, parameter: str, valid_time: datetime, grid: Grid, values: Array, now: datetime
    ) -> None:
        """Take an analysis, (H, W) on a grid that has the draws' points, in the draws' units."""
        if values.shape != grid.shape:
            raise ValueError(f"the analysis has shape {values.shape}, its grid {grid.shape}")
        when = parameter, valid_time
        self._forget(when)
        self._analyses[when] = _Analysis(grid, np.array(values, dtype=np.float32), now)
        self.waiting_bytes += self._analyses[when].values.nbytes
        self._match(when, list(self._draws.get(when, {})), now)
        self._keep_bounds(now)

    def scores(self, now: datetime) -> Mapping[str, PointScores]:
        """Return each parameter's scores of what was matched within the window before `now`.

        Numbers of draws do not mix: those count that were matched last, and most of these.
        """
        self._keep_bounds(now)
        newest: dict[str, tuple[int, int, int, bool]] = {}
        total: dict[tuple[str, int, bool], Sums] = {}
        for (hour, parameter, draws, beside), one in self._sums.items():
            kind = parameter, draws, beside
            total[kind] = total[kind] + one if kind in total else one
            rank = hour, one.states, draws, beside
            newest[parameter] = max(newest.get(parameter, rank), rank)
        return {
            parameter: total[parameter, draws, beside].scores()
            for parameter, (_, _, draws, beside) in sorted(newest.items())
        }

    def _match(self, when: _When, keys: Sequence[Hashable], now: datetime) -> None:
        """Score draws if their analysis is there; those whose points it lacks go on waiting."""
        analysis = self._analyses.get(when)
        if analysis is None:
            return
        for key in keys:
            one = self._draws[when][key]
            found = window(analysis.grid, one.grid)
            if found is None:
                self.counts.unfit += 1
                continue
            self._take_back(when, key)
            scored = one.scored(analysis.values[np.ix_(*found)])
            group = _hour(now), when[0], scored.draws, scored.baseline is not None
            self._sums[group] = self._sums[group] + scored if group in self._sums else scored
            self.counts.matched += 1

    def _keep_bounds(self, now: datetime) -> None:
        """Let go what is too old, then the oldest valid times until the rest fits."""
        oldest = _hour(now - timedelta(hours=self._settings.window_h))
        for group in [group for group in self._sums if group[0] <= oldest]:
            del self._sums[group]
        held = timedelta(hours=self._settings.window_h)
        for when in [when for when, one in self._analyses.items() if now - one.came > held]:
            self._forget(when)
        patience = timedelta(hours=self._settings.patience_h)
        for when in [when for when in self._draws if now - when[1] > patience]:
            self._let_go(when)
        while self.waiting_bytes > self._settings.waiting_bytes:
            when = min({*self._draws, *self._analyses}, key=lambda one: (one[1], one[0]))
            self._let_go(when)
            self._forget(when)

    def _let_go(self, when: _When) -> None:
        for key in list(self._draws.get(when, {})):
            self._take_back(when, key)
            self.counts.let_go += 1

    def _take_back(self, when: _When, key: Hashable) -> None:
        waiting = self._draws.get(when, {})
        if key in waiting:
            self.waiting_bytes -= waiting.pop(key).size_bytes
        if not waiting:
            self._draws.pop(when, None)

    def _forget(self, when: _When) -> None:
        if when in self._analyses:
            self.waiting_bytes -= self._analyses.pop(when).values.nbytes


def _thinned(found: Published, points: int) -> _Waiting:
    """Keep `points` points at most."""
    rows, columns = _places(found.grid, points)
    beside = found.baseline
    return _Waiting(
        found.grid,
        points,
        np.array(found.draws[:, rows, columns], dtype=np.float32),
        None if beside is None else np.array(beside[rows, columns], dtype=np.float32),
    )


@lru_cache(maxsize=16)
def _places(grid: Grid, points: int) -> tuple[Indices, Indices]:
    """Return rows, (R, 1), and columns, (R, K), of the points that are scored: all, if so few.

    One row of each band of `stride` rows, one column of as many, by lots that never change:
    regular steps would meet the coarse grid's boxes always at the same place, and interpolated
    fields err most between its points (measured 2 % of the gain at steps of 2 in boxes of 4).
    """
    stride = 1
    while math.prod(math.ceil(n / stride) for n in grid.shape) > points:
        stride += 1
    lots = np.random.default_rng(0)
    rows = np.arange(0, grid.rows, stride)
    rows = rows + lots.integers(0, np.minimum(stride, grid.rows - rows))
    columns = np.tile(np.arange(0, grid.columns, stride), (len(rows), 1))
    columns = columns + lots.integers(0, np.minimum(stride, grid.columns - columns))
    return rows[:, None], columns


def _hour(time: datetime) -> int:
    return int(time.timestamp() // _HOUR_S)
