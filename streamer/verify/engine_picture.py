"""Draws how fast a bundle runs on each engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Sizes in inches; the same blue for all, since the names tell them apart.
_WIDTH, _HEAD, _BAR, _DPI = 9.0, 1.4, 0.42, 110
_COLOUR = "#33638d"


@dataclass(frozen=True, slots=True)
class EngineBar:
    """One engine of the picture. ratio: to eager PyTorch, where that ran. error: relative."""

    name: str
    tiles_per_s: float
    ratio: float | None
    error: float


def save_engines(bars: Sequence[EngineBar], title: str, where: str, path: Path) -> None:
    """Draw tiles a second of each engine, with its ratio and its error, as PNG."""
    # Matplotlib takes a second to import, and only pictures need it.
    from matplotlib.figure import Figure  # noqa: PLC0415

    size = (_WIDTH, _HEAD + _BAR * len(bars))
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axis = figure.subplots()
    drawn = axis.barh([bar.name for bar in bars], [b.tiles_per_s for b in bars], color=_COLOUR)
    axis.bar_label(drawn, [_label(bar) for bar in bars], padding=4, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0.0, 1.45 * max(bar.tiles_per_s for bar in bars))
    axis.set_xlabel("tiles a second at the best batch, higher is better")
    axis.set_title(title, loc="left", fontsize=11)
    axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(where, fontsize=8, color="#444444")
    figure.savefig(path, format="png")


def _label(bar: EngineBar) -> str:
    ratio = "" if bar.ratio is None else f", {bar.ratio:.2f} x eager"
    return f"{bar.tiles_per_s:.3g}{ratio}, error {bar.error:.0e}"
