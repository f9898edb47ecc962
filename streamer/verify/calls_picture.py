"""Draws what fewer network calls cost in skill: CRPS against calls, and against seconds."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE, _DPI = (10.0, 4.6), 110
#: What one line of the footer holds at that width.
_FOOTER_LETTERS = 150
#: One colour and one form a family, so that grey tells them apart, too.
_LOOKS = (("#33638d", "o"), ("#b3400a", "s"), ("#4c7a34", "^"), ("#6a5a8c", "D"))
#: What the profiles `standard` and `fast` may lose, in percent.
_LIMITS_PERCENT = {"standard": 0.5, "fast": 2.0}
#: Losses are far apart and gains are possible: linear up to here, logarithmic beyond, percent.
_LINEAR_PERCENT = 1.0
#: Where the axes are marked, if they reach so far: calls or seconds, and percent.
_COST_TICKS = tuple(m * 10.0**e for e in range(-6, 4) for m in (1, 2, 3, 5))
_CHANGE_TICKS = (-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True, slots=True)
class Mark:
    """One sampler of the picture.

    family: those of one are joined by a line. change: of the CRPS against the reference, a
    fraction, with its interval where days allow one. seconds: a draw of one tile, where timed.
    label: stands beside the mark; empty for none.
    """

    family: str
    calls: int
    change: float
    interval: tuple[float, float] | None = None
    seconds: float | None = None
    label: str = ""


def save_calls(marks: Sequence[Mark], title: str, where: str, path: Path) -> None:
    """Draw the change of CRPS of each sampler against its cost, as PNG."""
    # Matplotlib takes a second to import, and only pictures need it.
    from matplotlib.figure import Figure  # noqa: PLC0415

    is_timed = any(mark.seconds is not None for mark in marks)
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots(1, 2 if is_timed else 1, squeeze=False, sharey=True)[0]
    _draw(axes[0], [(mark, float(mark.calls)) for mark in marks])
    axes[0].set_xlabel("network calls a tile and draw")
    axes[0].set_ylabel("CRPS against the reference, % (lower is better)")
    if is_timed:
        _draw(axes[1], [(mark, mark.seconds) for mark in marks if mark.seconds is not None])
        axes[1].set_xlabel("seconds a tile and draw")
    axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.supxlabel(textwrap.fill(where, _FOOTER_LETTERS), fontsize=8, color="#444444")
    figure.savefig(path, format="png")


def _draw(axis: "Axes", placed: Sequence[tuple[Mark, float]]) -> None:
    """Draw marks at their costs, family by family."""
    families = dict.fromkeys(mark.family for mark, _ in placed)
    for family, (colour, form) in zip(families, _LOOKS * len(families), strict=False):
        own = sorted(((cost, mark) for mark, cost in placed if mark.family == family), key=_cost)
        changes = [100.0 * mark.change for _, mark in own]
        below = [100.0 * (mark.change - (mark.interval or (mark.change,))[0]) for _, mark in own]
        above = [100.0 * ((mark.interval or (mark.change,))[-1] - mark.change) for _, mark in own]
        axis.errorbar(
            [cost for cost, _ in own], changes, yerr=(below, above),
            color=colour, marker=form, markersize=5, linewidth=1.0, capsize=2, label=family,
        )  # fmt: skip
    for mark, cost in placed:
        axis.annotate(
            mark.label, (cost, 100.0 * mark.change), xytext=(6, 6),
            textcoords="offset points", fontsize=8,
        )  # fmt: skip
    axis.axhline(0.0, color="#888888", linewidth=0.8)
    for name, limit in _LIMITS_PERCENT.items():
        axis.axhline(limit, color="#888888", linewidth=0.8, linestyle=":")
        axis.annotate(
            f"limit of {name}", (1.0, limit), xycoords=("axes fraction", "data"),
            ha="right", va="bottom", fontsize=7, color="#666666",
        )  # fmt: skip
    axis.spines[["top", "right"]].set_visible(False)
    _scale(axis)


def _scale(axis: "Axes") -> None:
    """Lay logarithmic axes with round numbers; symmetric about no change for the scores."""
    axis.set_xscale("log")
    axis.set_yscale("symlog", linthresh=_LINEAR_PERCENT)
    for one, ticks, written in (
        (axis.xaxis, _COST_TICKS, "{x:g}"),
        (axis.yaxis, _CHANGE_TICKS, "{x:+g}"),
    ):
        low, high = sorted(one.get_view_interval())
        one.set_ticks([tick for tick in ticks if low <= tick <= high])
        one.set_ticks([], minor=True)
        one.set_major_formatter(written)


def _cost(one: tuple[float, Mark]) -> float:
    return one[0]
