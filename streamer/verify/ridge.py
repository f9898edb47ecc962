"""A ridge regression for every point of the grid: what an ensemble's mean has to beat.

Each point has its own regression, from the interpolated coarse fields of all parameters at the
point and around it to what they miss there. One penalty serves all points; it is the one that
does best on the days held back, which flatters the regression there and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamer.domain import Array
from streamer.verify.spectra import Array64

#: Fine states and their twins, (N, C, H, W) each, in the parameters' units.
States = tuple[Array, Array]

#: Penalties that are tried, in units of a predictor's variance times the number of states.
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
#: Every such row takes part in choosing the penalty, and of it every such column.
CHOOSES = (13, 5)
#: A predictor's deviation at a point is at least this share of the mean one.
CALM = 0.2
#: Rows of points that are solved at a time, which bounds the memory.
ROWS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """A fitted regression; predictors: (rows, columns) off the point. penalty: as chosen.

    periodic: whether columns go all the way round.
    mean, scale: (P, H, W) of the predictors. slopes: (C, P, H, W). missed: (C, H, W), the mean.
    """

    offsets: tuple[tuple[int, int], ...]
    penalty: float
    mean: Array64
    scale: Array64
    slopes: Array64
    missed: Array64
    periodic: bool = True

    def predict(self, twin: Array) -> Array:
        """Return the best guess of the fine fields, (N, C, H, W), from their twins."""
        found = np.empty_like(twin)
        for rows in _stretches(twin.shape[2]):
            seen = predictors(twin, self.offsets, rows, periodic=self.periodic)
            seen -= self.mean[:, rows]
            slopes = self.slopes[:, :, rows] / self.scale[:, rows]
            correction = np.einsum("nphw,cphw->nchw", seen, slopes) + self.missed[:, rows]
            found[:, :, rows] = twin[:, :, rows] + correction
        return found


def fit_ridge(learn: States, held_back: States, reach: int, *, periodic: bool = True) -> Ridge:
    """Fit a regression for each point from fine states and their twins, (N, C, H, W) each.

    reach: how many points off, up, down, left and right, predictors lie besides the point's own;
    half the coarse grid's spacing is a good choice. Rows stop at the edges, and so do columns
    that are not periodic.
    """
    fine, twin = learn
    offsets = tuple((reach * i, reach * j) for i in (-1, 0, 1) for j in (-1, 0, 1))
    penalty = _choose(learn, held_back, offsets, periodic=periodic)
    (channels, rows, columns), count = fine.shape[1:], len(offsets) * twin.shape[1]
    mean, scale = np.empty((count, rows, columns)), np.empty((count, rows, columns))
    slopes, missed = np.empty((channels, count, rows, columns)), np.empty(fine.shape[1:])
    for part in _stretches(rows):
        seen = predictors(twin, offsets, part, periodic=periodic)
        mean[:, part], scale[:, part] = seen.mean(axis=0), _scale(seen)
        target = fine[:, :, part].astype(np.float64) - twin[:, :, part]
        missed[:, part] = target.mean(axis=0)
        x = _points((seen - mean[:, part]) / scale[:, part])
        found = _solve(x, _points(target - missed[:, part]), penalty)
        slopes[:, :, part] = found.transpose(2, 1, 0).reshape(channels, count, -1, columns)
    return Ridge(offsets, penalty, mean, scale, slopes, missed, periodic)


def predictors(
    twin: Array, offsets: Sequence[tuple[int, int]], rows: slice, *, periodic: bool = True
) -> Array64:
    """Return (N, P, h, W) for some rows: each parameter's twin, read some points off each point."""
    every, columns = np.arange(twin.shape[2]), np.arange(twin.shape[3])
    parts = []
    for down, across in offsets:
        taken = np.clip(every[rows] + down, 0, len(every) - 1)
        beside = columns + across
        beside = beside % len(columns) if periodic else np.clip(beside, 0, len(columns) - 1)
        parts.append(twin[:, :, taken][..., beside])
    return np.concatenate(parts, axis=1).astype(np.float64)


def _choose(
    learn: States, held_back: States, offsets: Sequence[tuple[int, int]], *, periodic: bool
) -> float:
    """Return the penalty with the least error on states that were held back, on some points."""
    rows, columns = slice(0, None, CHOOSES[0]), slice(0, None, CHOOSES[1])
    seen, left = (
        predictors(twin, offsets, rows, periodic=periodic)[..., columns]
        for _, twin in (learn, held_back)
    )
    target, wanted = (
        (fine[:, :, rows].astype(np.float64) - twin[:, :, rows])[..., columns]
        for fine, twin in (learn, held_back)
    )
    mean, scale = seen.mean(axis=0), _scale(seen)
    x, out = _points((seen - mean) / scale), _points((left - mean) / scale)
    y, missed = _points(target - target.mean(axis=0)), _points(wanted - target.mean(axis=0))

    def error(penalty: float) -> float:
        return float(np.square(missed - out @ _solve(x, y, penalty)).sum())

    return min(PENALTIES, key=error)


def _scale(seen: Array64) -> Array64:
    """Return (P, h, W): deviations, none far below their mean, where few states would mislead."""
    deviation = seen.std(axis=0)
    found: Array64 = np.maximum(deviation, CALM * deviation.mean() + 1e-12)
    return found


def _stretches(rows: int) -> list[slice]:
    return [slice(top, min(top + ROWS, rows)) for top in range(0, rows, ROWS)]


def _solve(x: Array64, y: Array64, penalty: float) -> Array64:
    """Return (points, P, C): the slopes of each point's regression of y on x."""
    states, count = x.shape[1:]
    turned = x.transpose(0, 2, 1)
    normal = turned @ x + penalty * states * np.eye(count)
    return np.asarray(np.linalg.solve(normal, turned @ y), dtype=np.float64)


def _points(fields: Array64) -> Array64:
    """Return (H W, N, C) of (N, C, H, W): each point's own table of states."""
    states, channels = fields.shape[:2]
    return np.ascontiguousarray(fields.reshape(states, channels, -1).transpose(2, 0, 1))
