"""Draws what ranks, classes and probabilities tell of an ensemble, as PNG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from streamer.verify.conditional import Class
from streamer.verify.ranks import RankHistogram
from streamer.verify.reliability import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours that differ in brightness too; sizes in inches.
COLOURS = ("#33638d", "#c8781e", "#4b8b4b", "#8b3a62")
GREY = "#888888"
PANEL, DPI = (4.6, 3.6), 100
#: Classes of probability that cover less of the surface are not drawn.
SEEN = 1e-6

Interval = tuple[float, float] | None
#: Where a picture goes: a file, or what stands for one.
Target = Path | BinaryIO


@dataclass(frozen=True, slots=True, eq=False)
class ClassPanel:
    """Classes by what sorts them. name: of the axis, with its unit. lines: classes by quantity."""

    name: str
    lines: Mapping[str, Sequence[Class]]


def save_ranks(found: Mapping[str, RankHistogram], footer: str, path: Target) -> None:
    """Draw a rank histogram by quantity, 1 where a rank is as frequent as it ought to be."""
    figure, axes = lay_out(1, len(found))
    for axis, (name, one) in zip(axes.flat, found.items(), strict=True):
        ranks = len(one.shares)
        axis.bar(range(ranks), one.shares * ranks, width=0.9, color=COLOURS[0])
        scaled = [_times(within, ranks) for within in one.intervals]
        _whiskers(axis, range(ranks), scaled, "#222222")
        axis.axhline(1.0, color=GREY, linewidth=1, linestyle="--")
        axis.set_title(f"{name}\ntruth outside all draws: {one.outside:.2f} x", fontsize=9)
        axis.set_xlabel(f"how many of {ranks - 1} draws lie below the truth")
        axis.set_ylabel("frequency over that of a flat histogram")
    finish(figure, footer, path)


def save_classes(panels: Sequence[ClassPanel], units: str, footer: str, path: Target) -> None:
    """Draw error and spread by class above, their ratio with its interval below."""
    figure, axes = lay_out(2, len(panels))
    for (above, below), panel in zip(axes.T, panels, strict=True):
        for colour, (name, classes) in zip(COLOURS, panel.lines.items(), strict=False):
            x = [one.mean for one in classes]
            rmse, spread = [one.rmse for one in classes], [one.spread for one in classes]
            above.plot(x, rmse, "o-", color=colour, markersize=3, label=f"{name}, error")
            above.plot(x, spread, "--", color=colour, label=f"{name}, spread")
            ratios = [one.ratio for one in classes]
            below.plot(x, ratios, "o-", color=colour, markersize=3, label=name)
            _whiskers(below, x, [one.interval for one in classes], colour)
        below.axhline(1.0, color=GREY, linewidth=1, linestyle="--")
        below.set_ylim(0.5, 1.5)
        above.set_ylim(bottom=0.0)
        above.set_ylabel(units)
        below.set_ylabel("spread over error")
        below.set_xlabel(panel.name)
        above.legend(fontsize=7, frameon=False)
    finish(figure, footer, path)


def save_reliability(found: Sequence[Reliability], units: str, footer: str, path: Target) -> None:
    """Draw how often each probability came true, and how often it was forecast, by threshold."""
    figure, axes = lay_out(2, len(found), heights=(3, 1))
    for (above, below), one in zip(axes.T, found, strict=True):
        there = one.weights > SEEN
        p, frequencies = one.probabilities, one.frequencies
        within = [interval for interval, seen in zip(one.intervals, there, strict=True) if seen]
        above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="kept exactly")
        above.plot(*one.honest, color=COLOURS[1], linewidth=1, label="were the truth a draw")
        above.plot(
            p[there], frequencies[there], "o-", color=COLOURS[0], markersize=4, label="found"
        )
        _whiskers(above, p[there].tolist(), within, COLOURS[0])
        share = f"{one.observed:.2%} of the surface"
        above.set_title(f"above {one.threshold:g} {units}, as is {share}", fontsize=9)
        above.set_ylabel("share of it where the truth exceeds")
        above.set_ylim(-0.02, 1.02)
        above.legend(fontsize=7, frameon=False)
        below.bar(p, one.weights, width=0.7 / len(p), color=COLOURS[0])
        below.set_yscale("log")
        below.set_ylabel("share of surface")
        below.set_xlabel("share of the draws that exceed")
    finish(figure, footer, path)


def lay_out(rows: int, columns: int, heights: Sequence[float] | None = None) -> tuple[Any, Any]:
    """Return a figure and its axes, (rows, columns)."""
    # Matplotlib takes a second to import, and only who looks at results draws.
    from matplotlib.figure import Figure  # noqa: PLC0415

    size = (PANEL[0] * columns, PANEL[1] * (1.0 + 0.6 * (rows - 1)) + 0.3)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(
        rows, columns, squeeze=False, sharex="col", gridspec_kw={"height_ratios": heights}
    )
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.xaxis.label.set_fontsize(8)
        axis.yaxis.label.set_fontsize(8)
    return figure, axes


def _whiskers(axis: "Axes", x: Sequence[float], within: Sequence[Interval], colour: str) -> None:
    """Draw intervals as lines, where there are any."""
    known = [(at, one) for at, one in zip(x, within, strict=True) if one is not None]
    axis.vlines(
        [at for at, _ in known],
        [one[0] for _, one in known],
        [one[1] for _, one in known],
        color=colour,
        linewidth=0.8,
        alpha=0.7,
    )


def _times(within: Interval, factor: float) -> Interval:
    return None if within is None else (within[0] * factor, within[1] * factor)


def finish(figure: "Figure", footer: str, path: Target) -> None:
    """Write a figure as PNG, its footer below."""
    figure.supxlabel(footer, fontsize=7, color="#444444")
    figure.savefig(path, format="png")
