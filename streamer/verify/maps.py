"""Draws fields on the Earth: whole globes from 180 W, windows of them, and coasts on both.

The colour maps keep their order for every kind of colour vision and in grey.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = NDArray[np.floating[Any]]

#: Colours by what a map shows: values from zero on, spread, and differences of either sign.
VALUES_MAP, SPREAD_MAP, DIFFERENCE_MAP = "viridis", "magma", "RdBu_r"


@dataclass(frozen=True, slots=True)
class Box:
    """A window of the Earth in degrees, edges included; west is -180 to 180, east above it."""

    north: float
    west: float
    south: float
    east: float

    def grid(self, grid: Grid) -> Grid:
        """Return the part of a grid that lies within; ValueError if nothing does."""
        rows, columns, longitudes = self._taken(grid)
        return Grid(
            north=float(grid.latitudes[rows[0]]),
            west=float(longitudes[0]),
            spacing_lat=grid.spacing_lat,
            spacing_lon=grid.spacing_lon,
            rows=len(rows),
            columns=len(columns),
        )

    def cut(self, values: Values, grid: Grid) -> Values:
        """Return what of (..., H, W) on a grid lies within, west to east over the date line too."""
        rows, columns, _ = self._taken(grid)
        return values[..., rows, :][..., columns]

    def _taken(self, grid: Grid) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Return the rows and the columns within, and the columns' longitudes, rising."""
        inside = (grid.latitudes <= self.north) & (grid.latitudes >= self.south)
        rows = np.flatnonzero(inside)
        east = np.round((grid.longitudes - self.west) % 360.0, 9)
        order = np.argsort(east, kind="stable")
        columns = order[east[order] <= self.east - self.west]
        if not (len(rows) and len(columns)):
            raise ValueError(f"no point of {grid} lies within {self}")
        return rows, columns, self.west + east[columns]


def draw_map(
    axis: "Axes", values: Values, grid: Grid, colours: str, ends: tuple[float, float]
) -> Any:
    """Draw (H, W) on its grid; returns what a colour bar is made from. ends: of the colours."""
    shown, extent = centred(values, grid)
    image = axis.imshow(
        shown,
        extent=extent,
        cmap=colours,
        vmin=ends[0],
        vmax=ends[1],
        interpolation="nearest",
        aspect="equal",
    )
    west, east, south, north = extent
    axis.set_xlim(max(west, -180.0) if grid.is_periodic else west, _eastern(east, grid))
    axis.set_ylim(max(south, -90.0), min(north, 90.0))
    if grid.is_periodic:
        axis.set_xticks(range(-180, 181, 60))
        axis.set_yticks(range(-90, 91, 30))
    axis.xaxis.set_major_formatter(lambda x, _: _degrees((x + 180.0) % 360.0 - 180.0, "W", "E"))
    axis.yaxis.set_major_formatter(lambda y, _: _degrees(y, "S", "N"))
    axis.tick_params(labelsize=7, length=2)
    return image


def draw_coasts(axis: "Axes", land: Values | None, grid: Grid, colour: str = "white") -> None:
    """Draw the line where the share of land, (H, W), is a half; nothing where it is not known."""
    if land is None or not (land.min() < 0.5 < land.max()):
        return
    turned, (west, east, south, north) = centred(land, grid)
    rows, columns = turned.shape
    half_lon, half_lat = grid.spacing_lon / 2, grid.spacing_lat / 2
    x = np.linspace(west + half_lon, east - half_lon, columns)
    y = np.linspace(north - half_lat, south + half_lat, rows)
    axis.contour(x, y, turned, levels=[0.5], colors=colour, linewidths=0.7, alpha=0.9)


def centred(values: Values, grid: Grid) -> tuple[Values, tuple[float, float, float, float]]:
    """Return values turned so that a global map runs from 180 W, and where they reach.

    A first column is repeated at the end, so that the map has no gap. West, east, south, north.
    """
    west = grid.west
    if grid.is_periodic:
        turn = int(np.ceil((180.0 + west) / grid.spacing_lon - 1e-9)) % grid.columns
        turn = grid.columns - turn
        values = np.roll(values, -turn, axis=1)
        values = np.concatenate([values, values[:, :1]], axis=1)
        west = (west + turn * grid.spacing_lon + 180.0) % 360.0 - 180.0
    half_lon, half_lat = grid.spacing_lon / 2, grid.spacing_lat / 2
    east = west + (values.shape[1] - 1) * grid.spacing_lon
    south = grid.north - (grid.rows - 1) * grid.spacing_lat
    return values, (west - half_lon, east + half_lon, south - half_lat, grid.north + half_lat)


def highest(fields: Sequence[Values], share: float = 0.999) -> float:
    """Return where colours end: a round number that all but a small share of points keep below."""
    found = max(float(np.quantile(values, share)) for values in fields)
    step = 5.0 if found > 10 else 1.0 if found > 2 else 0.2
    return max(step, float(np.ceil(found / step) * step))


def _eastern(east: float, grid: Grid) -> float:
    return min(east, 180.0) if grid.is_periodic else east


def _degrees(value: float, below: str, above: str) -> str:
    if value in (0, -180, 180):
        return f"{abs(value):g}°"
    return f"{abs(value):g}°{below if value < 0 else above}"
