"""The draws of one step on their way into its products, one by one as they come.

Each is made to obey what the bundle demands, and counted in its product. A product that publishes
statistics alone keeps no draw: each is counted and let go. Draws are counted in the order of the
product's ensemble whatever order they come in, so that its bytes are the same; one that comes
early waits for those before it.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from streamer.demands import Constraints
from streamer.domain import Array, Statistic
from streamer.downscale import derived, regions
from streamer.downscale.boxes import Boxes
from streamer.downscale.constraints import Change, Coarse, constrain
from streamer.downscale.statistics import Accumulator
from streamer.products.plan import Drawn, Making
from streamer.products.quality import Quality


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """What all ensembles of one product have in common.

    channels: what draws consist of. constraints: what they must obey. boxes: those of its part
    of the grid, where any parameter is conserved.
    """

    making: Making
    channels: tuple[str, ...]
    constraints: Constraints = Constraints()
    boxes: Boxes | None = None


class Ensemble:
    """The draws of one product of one step. Safe for several threads.

    absent: channels that do not exist at this step. members: how many draw, each as often as the
    product says. quality: what is told of it, in the end.
    """

    def __init__(self, pattern: Pattern, absent: Collection[str], members: int = 1) -> None:
        self._pattern = pattern
        self.making = making = pattern.making
        self.channels = pattern.channels
        self.quality = Quality(self.channels)
        #: what is published of this step; what is made of an absent parameter is not
        self.parameters = tuple(
            name for name in making.parameters if not set(self.inputs(name)) & set(absent)
        )
        # Of what does not exist yet nothing is demanded.
        self._constraints = pattern.constraints.among(
            [name for name in self.channels if name not in absent]
        )
        #: how many forecasts it consists of, all members and draws together
        self.size = members * len(making.draws)
        self._places = {drawn: place for place, drawn in enumerate(making.draws)}
        self._early: dict[int, Array] = {}
        self._kept: list[Array] = []
        self._drawn = [i for i, name in enumerate(self.parameters) if None in making.told[name]]
        self._statistics = Accumulator(
            (one, i)
            for i, name in enumerate(self.parameters)
            for one in making.told[name]
            if one is not None
        )
        self._next = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """What it keeps of the draws so far."""
        with self._lock:
            arrays = sum(one.nbytes for one in (*self._kept, *self._early.values()))
            return arrays + self._statistics.held_bytes

    def take(self, drawn: Drawn, values: Array, coarse: Array | None, member: int = 0) -> None:
        """Take a draw on the whole grid, (C, H, W), and leave it as it is; others are no fault.

        coarse: (C, h, w), the member's coarse fields, where any parameter is conserved. member:
        the place of the one that it was drawn for, from 0.
        """
        if drawn not in self._places or not self.parameters:
            return
        place = member * len(self.making.draws) + self._places[drawn]
        cut = self._obedient(values, place, coarse)
        made = derived.derive(self.parameters, self.channels, cut)
        with self._lock:
            self._early[place] = made
            while self._next in self._early:
                self._count(self._early.pop(self._next), self._next)
                self._next += 1

    def inputs(self, parameter: str) -> tuple[str, ...]:
        """Return the channels that a parameter is made of: itself, unless it is derived."""
        is_own = parameter in self.channels
        return (parameter,) if is_own else derived.DERIVED[parameter].inputs

    def draws(self, parameter: str, member: int | None = None) -> Array:
        """Return the draws of a parameter whose draws are published, (D, h, w).

        member: the place of one, to have its draws alone.
        """
        at, many = self._drawn.index(self.parameters.index(parameter)), len(self.making.draws)
        kept = self._kept if member is None else self._kept[member * many : (member + 1) * many]
        return np.stack([one[at] for one in kept])

    def statistic(self, statistic: Statistic, parameter: str) -> Array:
        """Return a statistic of a parameter, (h, w)."""
        return self._statistics.result(statistic, self.parameters.index(parameter))

    def _obedient(self, values: Array, place: int, coarse: Array | None) -> Array:
        """Return the product's part of a draw, which obeys the bundle, and note its quality."""
        cut = regions.cropped(values, self.making.window)
        changes: Sequence[Change] = ()
        if self._constraints == Constraints():
            # A region that is a view would keep the whole globe.
            cut = cut if cut.size == values.size else cut.copy()
        else:
            boxes = self._pattern.boxes
            given = None if coarse is None or boxes is None else Coarse(coarse, boxes)
            # Other products look at the same draw.
            cut = cut.copy()
            changes = constrain(cut, self.channels, self._constraints, given)
        self.quality.look(place, cut, changes)
        return cut

    def _count(self, made: Array, place: int) -> None:
        if self._drawn:
            is_all = len(self._drawn) == len(made)
            self._kept.append(made if is_all else made[self._drawn])
        weights = self.making.weights
        self._statistics.add(made, 1.0 if weights is None else weights[place % len(weights)])
