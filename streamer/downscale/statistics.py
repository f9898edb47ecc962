"""Statistics of an ensemble, point by point, from draws that come one after the other.

Mean, variance, spread, extremes and probabilities need no draw twice, so memory does not grow
with their number; only a quantile keeps all draws, and only of the channels where one is asked.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from engines.errors import UsageError
from streamer.domain import Array, Statistic
from streamer.downscale.tallies import Extreme, Kept, Moments, Passing, Tally

_NEEDS_VALUE = ("quantile", "above", "below")


class Accumulator:
    """Takes draws of one product, (C, H, W) float32, and answers the statistics it was made for.

    Sums are float64: 8 bytes a point for a mean and 16 with its variance, as much as two and four
    draws. Compensated float32 would be 12 for both, and twice as fast at 6 ms for a draw of a
    million points; but plain sums of float32 in float64 are as good as exact, whatever the order.
    A variance's last bits, and all of unequal weights, do depend on the order of the draws. NaN
    in any draw is NaN in the statistics of that point.
    """

    def __init__(self, wanted: Iterable[tuple[Statistic, int]]) -> None:
        """wanted: statistics, each with the index of its channel in the draws to come."""
        self._tallies: dict[int, dict[tuple[str, float | None], Tally]] = {}
        pairs = list(wanted)
        for statistic, channel in pairs:
            refuse_unfit(statistic)
            known = self._tallies.setdefault(channel, {})
            # A variance brings its mean with it; the two must not sum twice.
            if _key(statistic) not in known:
                known[_key(statistic)] = _tally(statistic, [s for s, c in pairs if c == channel])
        self._shape: tuple[int, ...] | None = None
        self.draws = 0

    @property
    def held_bytes(self) -> int:
        """What is kept between draws."""
        return sum(tally.held_bytes for known in self._tallies.values() for tally in known.values())

    def add(self, draw: Array, weight: float = 1.0) -> None:
        """Count one more draw, (C, H, W), which stays as it is and is not kept hold of.

        weight: of this draw among all, above 0; only their ratios matter. Raises UsageError for
        another weight or shape.
        """
        if not (math.isfinite(weight) and weight > 0.0):
            raise UsageError(f"a draw's weight is {weight}, wanted a number above 0")
        if self._shape is None:
            self._shape = draw.shape
        elif draw.shape != self._shape:
            raise UsageError(f"a draw of shape {draw.shape} came after draws of {self._shape}")
        for channel, known in self._tallies.items():
            values = np.ascontiguousarray(draw[channel], dtype=np.float32).reshape(-1)
            for tally in known.values():
                tally.add(values, weight)
        self.draws += 1

    def result(self, statistic: Statistic, channel: int) -> Array:
        """Return a statistic of a channel over the draws so far, (H, W) float32.

        Variances are unbiased. Probabilities are 0 to 1. Raises UsageError where there are too
        few draws, KeyError where it was not asked for at the start.
        """
        tally = self._tallies[channel][_key(statistic)]
        refuse_unfit(statistic, self.draws)
        assert self._shape is not None
        return tally.result(statistic).reshape(self._shape[1:])


def refuse_unfit(statistic: Statistic, draws: int | None = None) -> None:
    """Raise UsageError for a statistic without the value it needs, or of fewer draws than it needs.

    draws: None where their number is not known yet.
    """
    name, value = statistic.text, statistic.value
    if (value is None) == (statistic.kind in _NEEDS_VALUE):
        raise UsageError(
            f"statistic {statistic.kind} "
            + ("needs a value" if value is None else f"takes no value, found {value:g}")
        )
    if value is not None and not math.isfinite(value):
        raise UsageError(f"statistic {name}: its value must be finite")
    if statistic.kind == "quantile" and not 0.0 <= float(value or 0.0) <= 1.0:
        raise UsageError(f"statistic {name}: a quantile's order is from 0 to 1")
    least = 2 if statistic.kind in ("variance", "spread") else 1
    if draws is not None and draws < least:
        raise UsageError(
            f"statistic {name} needs at least {least} draws, found {draws}: the spread of a "
            "single one is not defined"
            if draws
            else f"statistic {name} was asked before any draw came"
        )


def _key(statistic: Statistic) -> tuple[str, float | None]:
    """Return what statistics have in common that share a tally."""
    match statistic.kind:
        case "mean" | "variance" | "spread":
            return "moments", None
        case "quantile":
            return "kept", None
        case _:
            return statistic.kind, statistic.value


def _tally(statistic: Statistic, together: Sequence[Statistic]) -> Tally:
    match statistic.kind:
        case "mean" | "variance" | "spread":
            return Moments(squares=any(one.kind in ("variance", "spread") for one in together))
        case "quantile":
            return Kept()
        case "minimum":
            return Extreme(np.minimum)
        case "maximum":
            return Extreme(np.maximum)
        case "above":
            return Passing(np.greater, float(statistic.value or 0.0))
        case "below":
            return Passing(np.less, float(statistic.value or 0.0))
