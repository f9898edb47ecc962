"""How values become bits: the packing that the config chooses, and the rounding error it costs.

A packed value is `reference + n * step` with `n` of `bits` bits, `step` a power of two, so no
value moves by more than half a step. The step follows from the field's own range, or the bits
follow from the largest error that the config allows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from engines.errors import UsageError

#: Beyond these the error is smaller than that of the float32 values themselves.
MOST_BITS = 24
#: Below it ecCodes' tables of powers of two end, and with them the finest packing.
SMALLEST_STEP = 2.0**-120


_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Packing:
    """The config's `output.packing`.

    type: `grid_simple` is read by every GRIB reader; `grid_ccsds` is smaller and needs libaec.
    bits: a value. 16 keeps winds to 0.001 m/s, a thousandth of a good forecast's error, and is
      packed six times faster than 13, since whole bytes need no shifting.
    precision: by parameter the largest rounding error allowed, in the message's units; the bits
      then follow from each field's range.
    """

    type: Literal["grid_simple", "grid_ccsds"] = "grid_simple"
    bits: int = 16
    precision: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MOST_BITS:
            raise UsageError(f"packing.bits is {self.bits}, wanted 1 to {MOST_BITS}")
        for name, error in self.precision.items():
            if not (math.isfinite(error) and error > 0):
                raise UsageError(f"packing.precision of {name} is {error}, wanted more than 0")

    def bits_for(self, parameter: str, low: float, high: float) -> int:
        """Return the bits a value of a field from `low` to `high` takes; may pass MOST_BITS."""
        if parameter not in self.precision:
            return self.bits
        step = 2.0 ** math.floor(math.log2(2 * self.precision[parameter]))
        return max(1, math.ceil(math.log2((high - low) / step + 2)))


AS_USUAL = Packing()


def rounding_error(low: float, high: float, bits: int) -> float:
    """Return how far packing with `bits` may move a value of a field from `low` to `high`.

    Half a step, and what float32 rounds: GRIB keeps the reference value in 32 bits, and so do
    the readers that compare.
    """
    # ecCodes writes a reference value below the smallest normal number as zero.
    grain = max(float(np.spacing(np.float32(max(abs(low), abs(high))))), _SMALLEST_NORMAL)
    reach = high - low
    if reach == 0:
        return 2 * grain
    step = 2.0 ** math.ceil(math.log2((reach + grain) / (2**bits - 1)))
    return max(step, SMALLEST_STEP) / 2 + 2 * grain
