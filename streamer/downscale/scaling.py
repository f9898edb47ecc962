"""Conserves an amount that is never negative, such as rain, by factors."""

import numpy as np

from streamer.domain import Array
from streamer.downscale.boxes import Boxes, Values

#: A box that overlaps no other needs one round; of rain on IPSL-AID's boxes, which overlap by
#: half, so many leave about a hundredth of the amount that was wrong.
_ROUNDS = 20
#: A mean difference that is this part of the mean amount is no reason to scale again.
_AMOUNT = 1e-6
#: Where a box has less than this part of what it should, scaling would make single points of it.
_LOST = 1e-3


def scale(field: Array, wanted: Values, boxes: Boxes) -> bool:
    """Scale each box's points by what it should hold over what it holds, in place.

    field: (H, W), nowhere negative. wanted: the mean of each box. Returns whether any was wrong.
    Where the coarse field is nought the fine one becomes so. A box that holds next to nothing of
    what it should gets the coarse amount first. Where boxes overlap, ratios are spread over the
    points again and again, as Richardson and Lucy do (Richardson 1972,
    https://doi.org/10.1364/JOSA.62.000055; Lucy 1974, https://doi.org/10.1086/111605): what is dry
    stays dry, and each round leaves less. Where they do not, one round is exact: Harder et al.
    2023, section 3.2 (https://arxiv.org/abs/2208.05424).
    """
    wanted = np.maximum(wanted, 0.0)
    if _is_near(boxes.means(field), wanted):
        return False
    x = _with_what_is_lost(field.astype(np.float64), wanted, boxes)
    for _ in range(_ROUNDS):
        found = boxes.means(x)
        if _is_near(found, wanted):
            break
        ratio = np.divide(wanted, found, out=np.ones_like(found), where=found > 0.0)
        # Points beyond the last whole box have no ratio, and stay.
        x *= 1.0 + boxes.spread(ratio - 1.0)
    field[...] = x
    return True


def _with_what_is_lost(x: Values, wanted: Values, boxes: Boxes) -> Values:
    """Return the field dry where it must be, and wet where it was not though it must be."""
    is_dry = boxes.spread((wanted <= 0.0).astype(np.float64)) > 0.0
    x[is_dry] = 0.0
    is_lost = boxes.means(x) < _LOST * wanted
    if is_lost.any():
        x += boxes.spread(np.where(is_lost, wanted, 0.0))
        x[is_dry] = 0.0
    return x


def _is_near(found: Values, wanted: Values) -> bool:
    apart = float(np.abs(found - wanted).mean())
    return apart <= _AMOUNT * float(np.abs(wanted).mean())
