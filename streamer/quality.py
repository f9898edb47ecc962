"""What a step's record tells of its draws: how far they went, and whether that can be true."""

import threading
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from streamer.domain import Array


class Extent:
    """The lowest and highest value of each parameter over all draws of a step; for any thread."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def look(self, values: Array, channels: Sequence[str]) -> None:
        """Look at one draw, (C, H, W); points that are NaN were not computed."""
        for values_of, name in zip(values, channels, strict=True):
            low, high = (
                float(np.fmin.reduce(values_of, None)),
                float(np.fmax.reduce(values_of, None)),
            )
            with self._lock:
                known = self._found.get(name, (low, high))
                self._found[name] = min(low, known[0]), max(high, known[1])

    def outside(
        self, ranges: Mapping[str, tuple[float, float]], parameters: Collection[str]
    ) -> tuple[str, ...]:
        """Return one sentence for each of the parameters that leaves its range, in their order.

        ranges: lowest and highest sound value; a parameter without one is not judged.
        """
        found = []
        for name, (least, most) in self._found.items():
            if name not in ranges or name not in parameters:
                continue
            low, high = ranges[name]
            # Written so that a value that is not a number fails too.
            if not (low <= least and most <= high):
                found.append(f"{name} is {least:g} to {most:g}, wanted {low:g} to {high:g}")
        return tuple(found)
