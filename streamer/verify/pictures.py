"""Draws what downscaling did to a step: one picture, the only door to matplotlib.

The colour maps keep their order for every kind of colour vision and in grey.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = NDArray[np.floating[Any]]

#: How the maps look: sizes in inches, colour maps by what they show.
_SIZE, _DPI = (15.0, 11.9), 110
_VALUES_MAP, _SPREAD_MAP = "viridis", "magma"
_WARNING = "#b3400a"
#: What one line of the footer holds at that width.
_FOOTER_LETTERS = 220


@dataclass(frozen=True, slots=True, eq=False)
class StepPicture:
    """What is drawn of one quantity of one step.

    coarse: (h, w) on coarse_grid. interpolated: (H, W) on grid. draws: (D, H, W).
    truth, land: (H, W) where known; land is the share of land, coasts are drawn at a half.
    warning: stands over everything that was not measured, such as synthetic weather.
    """

    title: str
    quantity: str
    units: str
    coarse: Values
    coarse_grid: Grid
    interpolated: Values
    draws: Values
    grid: Grid
    truth: Values | None = None
    land: Values | None = None
    warning: str = ""
    footer: str = ""


def save_step(picture: StepPicture, path: Path) -> None:
    """Draw the coarse field, the interpolated one, a draw, mean and spread, and the truth, as PNG.

    Without a truth the sixth map is another draw, if there is one.
    """
    # Matplotlib takes a second to import, and only demo and verify draw.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots(3, 2, sharex=True, sharey=True)
    top = _top([picture.coarse, picture.draws, *_known(picture.truth)])
    for axis, (name, values, grid) in zip(axes.flat, _maps(picture), strict=True):
        if values is None:
            axis.set_axis_off()
            continue
        is_spread = name.startswith("Spread")
        colours = _SPREAD_MAP if is_spread else _VALUES_MAP
        highest = _top([values], 0.99) if is_spread else top
        image = _draw_map(axis, values, grid, colours, highest)
        axis.set_title(name, fontsize=11, loc="left")
        _draw_coasts(axis, picture)
        if picture.warning:
            _label(axis, picture.warning)
        what = f"spread of {picture.quantity}" if is_spread else picture.quantity
        bar = figure.colorbar(image, ax=axis, shrink=0.85, pad=0.01, extend="max", aspect=28)
        bar.set_label(f"{what} ({picture.units})", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    _head(figure, picture)
    figure.savefig(path)


def _maps(picture: StepPicture) -> list[tuple[str, Values | None, Grid]]:
    """Return name, values and grid of each of the six maps; no values: the map stays empty."""
    draws, grid, coarse = picture.draws, picture.grid, picture.coarse_grid
    count = len(draws)
    last: tuple[str, Values | None] = ("Truth", picture.truth)
    if picture.truth is None:
        last = f"Draw 2 of {count}", draws[1] if count > 1 else None
    spread = draws.std(axis=0, ddof=1) if count > 1 else None
    spacing, fine = f"{coarse.spacing_lat:g}°", f"{grid.spacing_lat:g}°"
    return [
        (f"Coarse input, {spacing}", picture.coarse, coarse),
        (f"Interpolated to {fine}, without the model", picture.interpolated, grid),
        (f"Draw 1 of {count}, {fine}", draws[0], grid),
        (*last, grid),
        (f"Mean of {count} draws", draws.mean(axis=0), grid),
        (f"Spread: standard deviation of {count} draws", spread, grid),
    ]


def _draw_map(axis: "Axes", values: Values, grid: Grid, colours: str, top: float) -> Any:
    shown, extent = _centred(values, grid)
    image = axis.imshow(
        shown,
        extent=extent,
        cmap=colours,
        vmin=0.0,
        vmax=top,
        interpolation="nearest",
        aspect="equal",
    )
    west, east, south, north = extent
    axis.set_xlim(max(west, -180.0), min(east, 180.0))
    axis.set_ylim(max(south, -90.0), min(north, 90.0))
    if grid.is_periodic:
        axis.set_xticks(range(-180, 181, 60))
        axis.set_yticks(range(-90, 91, 30))
    axis.xaxis.set_major_formatter(lambda x, _: _degrees(x, "W", "E"))
    axis.yaxis.set_major_formatter(lambda y, _: _degrees(y, "S", "N"))
    axis.tick_params(labelsize=7, length=2)
    return image


def _draw_coasts(axis: "Axes", picture: StepPicture) -> None:
    if picture.land is None:
        return
    land, (west, east, south, north) = _centred(picture.land, picture.grid)
    rows, columns = land.shape
    half_lon, half_lat = picture.grid.spacing_lon / 2, picture.grid.spacing_lat / 2
    x = np.linspace(west + half_lon, east - half_lon, columns)
    y = np.linspace(north - half_lat, south + half_lat, rows)
    axis.contour(x, y, land, levels=[0.5], colors="white", linewidths=0.7, alpha=0.9)


def _centred(values: Values, grid: Grid) -> tuple[Values, tuple[float, float, float, float]]:
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


def _top(fields: list[Values], share: float = 0.999) -> float:
    """Return where colours end: a round number that all but a small share of points keep below."""
    highest = max(float(np.quantile(values, share)) for values in fields)
    step = 5.0 if highest > 10 else 1.0 if highest > 2 else 0.2
    return max(step, float(np.ceil(highest / step) * step))


def _head(figure: "Figure", picture: StepPicture) -> None:
    figure.suptitle(picture.title, fontsize=14)
    if picture.footer:
        lines = textwrap.wrap(picture.footer, _FOOTER_LETTERS)
        figure.supxlabel("\n".join(lines), fontsize=8, color="#444444")


def _label(axis: "Axes", text: str) -> None:
    axis.text(
        0.008,
        0.03,
        text,
        transform=axis.transAxes,
        fontsize=8,
        fontweight="bold",
        color="white",
        bbox={"facecolor": _WARNING, "edgecolor": "none", "pad": 2.5},
    )


def _degrees(value: float, below: str, above: str) -> str:
    if value in (0, -180, 180):
        return f"{abs(value):g}°"
    return f"{abs(value):g}°{below if value < 0 else above}"


def _known(values: Values | None) -> list[Values]:
    return [] if values is None else [values]
