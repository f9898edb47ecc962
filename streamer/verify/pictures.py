"""Draws what downscaling did to a step: one picture of six maps."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.domain import Grid
from streamer.verify.maps import SPREAD_MAP, VALUES_MAP, Values, draw_coasts, draw_map, highest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Sizes in inches.
_SIZE, _DPI = (15.0, 11.9), 110
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
    top = highest([picture.coarse, picture.draws, *_known(picture.truth)])
    for axis, (name, values, grid) in zip(axes.flat, _maps(picture), strict=True):
        if values is None:
            axis.set_axis_off()
            continue
        is_spread = name.startswith("Spread")
        colours = SPREAD_MAP if is_spread else VALUES_MAP
        ends = 0.0, highest([values], 0.99) if is_spread else top
        image = draw_map(axis, values, grid, colours, ends)
        axis.set_title(name, fontsize=11, loc="left")
        draw_coasts(axis, picture.land, picture.grid)
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


def _known(values: Values | None) -> list[Values]:
    return [] if values is None else [values]
