"""Makes draws obey what the bundle demands: bounds, relations, and the mean of every box.

In this order. Bounds and relations hold to the last bit in what comes out. Conservation is
exact to rounding where they leave room for it: where they move a field again afterwards the two
take turns, and what lacks in the end is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamer.demands import Conservation, Constraints
from streamer.domain import Array
from streamer.downscale.boxes import Boxes, Values
from streamer.downscale.scaling import scale

#: How often conservation and the other two take turns at most.
_TURNS = 25
#: Half a unit in the last place of float32, as a share of the values, is what storing may move.
_ROUNDING = 2.0**-23
#: Where bounds take back most of what is added, three times as much is tried and no more: with
#: ten times as much, boxes that overlap drive each other up.
_LEAST_ANSWER = 0.3


@dataclass(frozen=True, slots=True)
class Change:
    """What a constraint changed of one parameter of a draw.

    share: of the points. size: their mean absolute change, in the parameter's units; 0 where
    none changed. remainder: of conservation, the mean absolute difference of box means that is
    left, in the same units.
    """

    constraint: Literal["bounds", "relation", "conservation"]
    parameter: str
    share: float
    size: float
    remainder: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """What conservation compares with. fields: (C, h, w), the step's coarse fields, whole."""

    fields: Array
    boxes: Boxes


def constrain(
    values: Array,
    channels: Sequence[str],
    constraints: Constraints,
    coarse: Coarse | None = None,
) -> tuple[Change, ...]:
    """Make one draw, (C, H, W) float32, obey the constraints, in place; return what changed.

    values: a window's points or the whole grid's, all of them numbers. coarse: of that window;
    None leaves conservation out. A field that obeys all comes out as it came in, to the last bit.
    """
    changes = _clip(values, channels, constraints)
    kept = constraints.conservation if coarse is not None else ()
    if not kept:
        return tuple(changes)
    assert coarse is not None
    before = {one.parameter: values[channels.index(one.parameter)].copy() for one in kept}
    keepers = [_Keeper(one, channels.index(one.parameter), coarse) for one in kept]
    for _ in range(_TURNS):
        # All of them, each turn: a list, where `any` of a generator would stop at the first.
        moved = [keeper.keep(values) for keeper in keepers]
        if not any(moved):
            break
        if not any(change.share for change in _clip(values, channels, constraints)):
            break
    for keeper in keepers:
        name, after = keeper.demand.parameter, values[keeper.channel]
        lacks = keeper.lacks(after)
        left = float(np.abs(lacks).mean()) if lacks.size else 0.0
        changes.append(_change("conservation", name, before[name], after, left))
    return tuple(changes)


class _Keeper:
    """Conserves one parameter of one draw, turn by turn."""

    def __init__(self, demand: Conservation, channel: int, coarse: Coarse) -> None:
        self.demand = demand
        self.channel = channel
        self._boxes = coarse.boxes
        self._wanted = coarse.boxes.wanted(coarse.fields[channel])
        #: what boxes lacked, and what was asked for, the turn before
        self._before: tuple[Values, Values] | None = None

    def lacks(self, field: Array) -> Values:
        """Return what each box's mean should have more."""
        return self._wanted - self._boxes.means(field)

    def keep(self, values: Array) -> bool:
        """Give the boxes the means that they should have; return whether they lacked any."""
        field = values[self.channel]
        if not self._wanted.size:
            return False
        if self.demand.way == "multiplicative":
            return scale(field, self._wanted, self._boxes)
        lacks = self.lacks(field)
        if (np.abs(lacks) <= _ROUNDING * self._boxes.means(np.abs(field))).all():
            return False
        asked = lacks if self._before is None else _more(lacks, *self._before)
        self._before = lacks, asked
        # Of all fields with these means this is the nearest one, in squares of changes by area.
        # Where boxes do not overlap each point gets what its box lacks: Harder et al. 2023,
        # section 3.2 (https://arxiv.org/abs/2208.05424).
        field[...] = field + self._boxes.spread(self._boxes.solved(asked))
        return True


def _more(lacks: Values, before: Values, asked: Values) -> Values:
    """Return what to ask for where bounds took back a part of what was asked the turn before."""
    if np.abs(lacks).sum() > np.abs(before).sum():
        return lacks
    came = np.divide(before - lacks, asked, out=np.ones_like(asked), where=asked != 0.0)
    more: Values = lacks / np.clip(came, _LEAST_ANSWER, 1.0)
    return more


def _clip(values: Array, channels: Sequence[str], constraints: Constraints) -> list[Change]:
    """Bring values within bounds, then below what they must be below."""
    changes = []
    for bounds in constraints.bounds:
        field = values[channels.index(bounds.parameter)]
        clipped = np.clip(field, np.float32(bounds.low), np.float32(bounds.high))
        changes.append(_change("bounds", bounds.parameter, field, clipped))
        if changes[-1].share:
            field[...] = clipped
    for one in constraints.relations:
        field = values[channels.index(one.below)]
        lowered = np.minimum(field, values[channels.index(one.above)])
        changes.append(_change("relation", one.below, field, lowered))
        if changes[-1].share:
            field[...] = lowered
    return changes


def _change(
    constraint: Literal["bounds", "relation", "conservation"],
    parameter: str,
    before: Array,
    after: Array,
    remainder: float = 0.0,
) -> Change:
    moved = np.abs(after - before)
    count = int(np.count_nonzero(moved))
    size = float(moved.sum(dtype=np.float64)) / max(count, 1)
    return Change(constraint, parameter, count / before.size, size, remainder)
