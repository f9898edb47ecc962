"""The pictures of a verification report: errors by lead time, ranks, spectra, variograms, maps."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from streamer.verify.charts import COLOURS, GREY, finish, lay_out, save_ranks, save_reliability
from streamer.verify.maps import DIFFERENCE_MAP, SPREAD_MAP, Values, draw_map
from streamer.verify.variogram import lags
from streamer.verify.verified import SHARES, Verified

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: How each field looks, the same in every picture, and what it is called.
LOOKS = {
    "truth": ("black", "truth"),
    "draws": (COLOURS[0], "single draws"),
    "mean": (COLOURS[2], "mean of the draws"),
    "baseline": (COLOURS[1], "interpolated coarse field"),
}
#: Maps show no further than this share of the points; what is beyond has the end's colour.
_MOST = 0.995
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SPECTRA_A_ROW, _MAPS_A_ROW = 3, 2


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture and how to read it. png: its bytes."""

    title: str
    caption: str
    png: bytes


def in_words(units: str) -> str:
    """Return ecCodes' units as people write them: `m s**-1` is `m s⁻¹`."""
    return re.sub(r"\*\*(-?\d+)", lambda found: found[1].translate(_RAISED), units)


def charts(one: Verified) -> Iterator[Chart]:
    """Draw everything that was found of one parameter, the plainest first."""
    yield _chart("Errors by lead time", _LEAD, lambda file: _save_leads(one, file))
    if one.ranks is not None:
        found = {one.name: one.ranks}
        yield _chart("Rank histogram", _RANKS, lambda file: save_ranks(found, "", file))
    if one.reliability:
        units = in_words(one.units)
        yield _chart(
            "Reliability",
            _RELIABILITY,
            lambda file: save_reliability(one.reliability, units, "", file),
        )
    yield _chart("Spectra", _SPECTRA, lambda file: _save_spectra(one, file))
    yield _chart("Variograms", _VARIOGRAMS, lambda file: _save_variograms(one, file))
    yield _chart("Distribution and quantiles", _VALUES, lambda file: _save_values(one, file))
    yield _chart("Where", _MAPS, lambda file: _save_maps(one, file))


_LEAD = (
    "The CRPS of the draws is what the mean absolute error is of the interpolated field: lower is "
    "better, and the distance between the two is the gain. Spread (with the factor (D + 1) / D) "
    "should be as large as the error of the mean."
)
_RANKS = (
    "How often the truth lies above so many of the draws. Flat: the truth could be one of them. "
    "High at both ends: too little spread; in the middle: too much; at one end: a bias."
)
_RELIABILITY = (
    "Of the places where a share of the draws exceeds the threshold, the share where the truth "
    "does. An honest ensemble of few draws follows the orange line, not the diagonal."
)
_SPECTRA = (
    "Power over the truth's, by wavelength from west to east. 1: as much structure of that size "
    "as there is. The interpolated field and the mean must fall off; single draws should not."
)
_VARIOGRAMS = (
    "Half the mean square difference of points that lie so far apart. Below the truth's: too "
    "smooth; above it: too rough."
)
_VALUES = (
    "Left, quantiles against the truth's, from the 0.1st to the 99.9th percentile: on the line "
    "values are as frequent as they are. Right, the quantile score, lower is better."
)
_MAPS = (
    "Means over all states: error of the mean, CRPS, and CRPS less the interpolated field's "
    "absolute error, blue where the draws are better. Of few states maps are mostly weather."
)


def _chart(title: str, caption: str, save: Callable[[BinaryIO], None]) -> Chart:
    file = BytesIO()
    save(file)
    return Chart(title, caption, file.getvalue())


def _save_leads(one: Verified, file: BinaryIO) -> None:
    figure, axes = lay_out(1, 2)
    hours = [minutes / 60 for minutes in sorted(one.by_lead)]
    scores = [one.by_lead[minutes] for minutes in sorted(one.by_lead)]
    left, right = axes[0]
    _line(left, hours, [found.error for found in scores], "draws", "CRPS of the draws")
    _line(right, hours, [found.mean.rmse for found in scores], "mean", "RMSE of the mean")
    beside = [found.baseline for found in scores]
    known = [found for found in beside if found is not None]
    if len(known) == len(hours):
        label = LOOKS["baseline"][1]
        _line(left, hours, [found.mae for found in known], "baseline", f"MAE, {label}")
        _line(right, hours, [found.rmse for found in known], "baseline", f"RMSE, {label}")
    factor = ((one.draws + 1) / one.draws) ** 0.5
    spread = [factor * found.spread for found in scores if found.spread is not None]
    if spread:
        _line(right, hours, spread, "draws", "spread of the draws")
    for axis in axes[0]:
        axis.set_ylim(bottom=0.0)
        axis.set_xlabel("lead time, hours")
        axis.set_ylabel(in_words(one.units))
        axis.legend(fontsize=7, frameon=False)
    finish(figure, "", file)


def _save_spectra(one: Verified, file: BinaryIO) -> None:
    figure, axes = _some(len(one.spectra), _SPECTRA_A_ROW)
    told = [spectrum.plain(one.grid) for spectrum in one.spectra]
    lengths = [km for plain in told for km in plain["wavelength_km"]]
    for axis, spectrum, plain in zip(axes, one.spectra, told, strict=True):
        for name in spectrum.power:
            if name != "truth":
                _line(axis, plain["wavelength_km"], plain[f"{name}_over_truth"], name)
        axis.axhline(1.0, color=GREY, linewidth=1, linestyle="--")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylim(0.02, 5.0)
        # Short waves right, as readers of spectra expect; the axes of a column are shared.
        axis.set_xlim(1.1 * max(lengths), min(lengths) / 1.1)
        axis.set_title(spectrum.belt.name, fontsize=9)
        axis.set_xlabel("wavelength, km")
    axes[0].set_ylabel("power over the truth's")
    axes[0].legend(fontsize=7, frameon=False, loc="lower left")
    finish(figure, "", file)


def _save_variograms(one: Verified, file: BinaryIO) -> None:
    found = lags(one.grid)
    count, spacing = len(found.east), (one.grid.spacing_lon, one.grid.spacing_lat)
    figure, axes = lay_out(1, 2)
    directions = (
        ("west to east", np.array(found.east) * spacing[0], slice(count)),
        ("north to south", np.array(found.south) * spacing[1], slice(count, None)),
    )
    for axis, (title, degrees, part) in zip(axes[0], directions, strict=True):
        for name, values in one.variograms.items():
            _line(axis, degrees, values[part], name)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xticks(degrees, [f"{one:g}" for one in degrees])
        axis.set_xticks([], minor=True)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("distance, degrees")
        axis.set_ylabel(f"({in_words(one.units)})²")
        axis.legend(fontsize=7, frameon=False)
    finish(figure, "", file)


def _save_values(one: Verified, file: BinaryIO) -> None:
    figure, axes = lay_out(1, 2)
    left, right = axes[0]
    truth = one.quantiles["truth"]
    left.plot(truth, truth, color=GREY, linewidth=1, linestyle="--")
    for name, values in one.quantiles.items():
        if name != "truth":
            _line(left, truth, values, name)
    left.set_xlabel(f"quantiles of the truth, {in_words(one.units)}")
    left.set_ylabel(f"the same quantiles, {in_words(one.units)}")
    left.set_title(f"{SHARES[0]:.1%} to {SHARES[-1]:.1%}", fontsize=9)
    for name, values in one.quantile_scores.items():
        _line(right, one.orders, values, name)
    right.set_ylim(bottom=0.0)
    right.set_xlabel("order of the quantile")
    right.set_ylabel(f"quantile score, {in_words(one.units)}")
    for axis in axes[0]:
        axis.legend(fontsize=7, frameon=False)
    finish(figure, "", file)


def _save_maps(one: Verified, file: BinaryIO) -> None:
    shown: list[tuple[str, Values, str]] = [
        ("error of the mean", one.maps.bias, DIFFERENCE_MAP),
        ("CRPS", one.maps.crps, SPREAD_MAP),
    ]
    if one.maps.missed is not None:
        better = one.maps.crps - one.maps.missed
        shown.append(("CRPS less the interpolated field's |error|", better, DIFFERENCE_MAP))
    figure, axes = _some(len(shown), _MAPS_A_ROW)
    for axis, (title, values, colours) in zip(axes, shown, strict=True):
        top = float(np.quantile(np.abs(values), _MOST)) or 1.0
        low = -top if colours == DIFFERENCE_MAP else 0.0
        image = draw_map(axis, values, one.grid, colours, (low, top))
        axis.set_title(title, fontsize=9)
        bar = figure.colorbar(image, ax=axis, orientation="horizontal", shrink=0.9, extend="both")
        bar.set_label(in_words(one.units), fontsize=8)
        bar.ax.tick_params(labelsize=7)
    # Maps keep their shape, so that how high they come is known only once they are drawn.
    figure.set_layout_engine("compressed")
    figure.savefig(file, format="png", bbox_inches="tight")


def _some(count: int, in_a_row: int) -> "tuple[Figure, list[Axes]]":
    """Return a figure of `count` panels, the rest of its last row left empty."""
    columns = min(count, in_a_row)
    figure, axes = lay_out(-(-count // columns), columns)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    # Each panel keeps its own scale, its ticks and its labels.
    for axis in axes.flat[:count]:
        axis.xaxis.set_tick_params(labelbottom=True)
    return figure, list(axes.flat[:count])


def _line(
    axis: "Axes", x: Sequence[float] | Values, y: Sequence[float] | Values, name: str,
    label: str | None = None,
) -> None:  # fmt: skip
    colour, usual = LOOKS[name]
    axis.plot(x, y, "o-", color=colour, markersize=3, linewidth=1.2, label=label or usual)
