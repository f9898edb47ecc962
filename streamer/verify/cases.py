"""Draws one case looked at closely: maps of a window, and the strongest value by time, as PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np

from streamer.domain import Grid
from streamer.verify.charts import COLOURS, DPI, GREY
from streamer.verify.maps import (
    DIFFERENCE_MAP,
    SPREAD_MAP,
    VALUES_MAP,
    Values,
    centred,
    draw_coasts,
    draw_map,
    highest,
)

#: What a map shows; maps of one kind share their colours.
Kind = Literal["value", "spread", "difference"]

#: Inches: of a map and its labels, above and below all maps, of a colour bar.
_WIDTH, _HEAD, _BAR, _MAP_DPI = 2.7, 0.6, 0.8, 90


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """One map. values: (h, w) on grid."""

    name: str
    values: Values
    grid: Grid
    kind: Kind = "value"
    units: str = "m/s"


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Maps in rows of `columns`. land: (H, W), the share of land on its grid, where known."""

    title: str
    maps: Sequence[Map]
    columns: int
    land: Values | None = None
    land_grid: Grid | None = None
    footer: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Strongest:
    """The strongest value of a window by time: (T,), of draws (T, D)."""

    title: str
    units: str
    times: Sequence[datetime]
    truth: Values
    coarse: Values
    mean: Values
    draws: Values
    footer: str = ""


def save_maps(page: Page, path: Path) -> None:
    """Draw the maps of a page, with one colour bar for each kind."""
    # Matplotlib takes a second to import, and only who looks at results draws.
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = -(-len(page.maps) // page.columns)
    first = page.maps[0].grid
    tall = first.rows * first.spacing_lat / (first.columns * first.spacing_lon)
    kinds = len({one.kind for one in page.maps})
    size = (_WIDTH * page.columns + _BAR * kinds, rows * (_WIDTH * tall + 0.25) + _HEAD)
    figure = Figure(figsize=size, dpi=_MAP_DPI, layout="compressed")
    axes = figure.subplots(rows, page.columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(page.maps) :]:
        axis.set_axis_off()
    drawn = {}
    for axis, one in zip(axes.flat, page.maps, strict=False):
        colours = {"value": VALUES_MAP, "spread": SPREAD_MAP}.get(one.kind, DIFFERENCE_MAP)
        ends = _ends([other.values for other in page.maps if other.kind == one.kind], one.kind)
        image = draw_map(axis, one.values, one.grid, colours, ends)
        if page.land is not None and page.land_grid is not None:
            line = "black" if one.kind == "difference" else "white"
            draw_coasts(axis, page.land, page.land_grid, line)
        axis.set_title(one.name, fontsize=8, loc="left")
        drawn[one.kind] = image, one.units if one.kind == "value" else f"{one.kind}, {one.units}"
    # A coarse grid's boxes reach beyond the window, and the axes are shared.
    _, (west, east, south, north) = centred(page.maps[0].values, first)
    axes[0, 0].set(xlim=(west, east), ylim=(south, north))
    for image, units in drawn.values():
        bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, aspect=40, extend="max")
        bar.set_label(units, fontsize=8)
        bar.ax.tick_params(labelsize=7)
    figure.suptitle(page.title, fontsize=10)
    figure.supxlabel(page.footer, fontsize=7, color="#444444")
    # Maps keep their shape, so that how high they come is known only once they are drawn.
    figure.savefig(path, format="png", bbox_inches="tight")


def save_strongest(found: Strongest, path: Path) -> None:
    """Draw the strongest value in a window by time: each draw, their mean, coarse and truth."""
    # Matplotlib takes a second to import, and only who looks at results draws.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8.0, 4.0), dpi=DPI, layout="constrained")
    axis = figure.subplots()
    times = np.array([time.replace(tzinfo=None) for time in found.times], dtype="datetime64[m]")
    axis.plot(times, found.draws, ".", color=GREY, markersize=4)
    lines = (
        ("truth", found.truth, "black"),
        ("interpolated coarse field", found.coarse, COLOURS[1]),
        ("mean of the draws, point by point", found.mean, COLOURS[2]),
        ("mean of the draws' own strongest", found.draws.mean(axis=1), COLOURS[0]),
    )
    for name, values, colour in lines:
        axis.plot(times, values, "o-", color=colour, markersize=3, label=name)
    axis.plot([], [], ".", color=GREY, label=f"each of {found.draws.shape[1]} draws")
    axis.set_ylabel(found.units)
    axis.set_ylim(bottom=0.0)
    axis.set_title(found.title, fontsize=10, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, frameon=False, ncols=2)
    figure.supxlabel(found.footer, fontsize=7, color="#444444")
    figure.savefig(path, format="png")


def _ends(values: Sequence[Values], kind: Kind) -> tuple[float, float]:
    if kind == "difference":
        top = highest([np.abs(one) for one in values], 0.995)
        return -top, top
    return 0.0, highest(values, 1.0)
