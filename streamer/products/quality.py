"""What a step's record tells of a product's draws: how far they went, what constraints changed."""

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from streamer.domain import Array
from streamer.downscale.constraints import Change

Ranges = Mapping[str, tuple[float, float]]


class Quality:
    """The extent of each channel over all draws, and the changes of each; for any thread."""

    def __init__(self, channels: Sequence[str]) -> None:
        self._channels = tuple(channels)
        self._least = np.full(len(self._channels), np.inf)
        self._most = np.full(len(self._channels), -np.inf)
        self._changes: dict[int, Sequence[Change]] = {}
        self._points = 0
        self._lock = threading.Lock()

    def look(self, place: int, values: Array, changes: Sequence[Change] = ()) -> None:
        """Look at the draw at a place in its ensemble, (C, H, W), after the constraints."""
        least, most = values.min(axis=(1, 2)), values.max(axis=(1, 2))
        with self._lock:
            self._changes[place] = changes
            self._points = values[0].size
            # These two keep what is not a number.
            self._least = np.minimum(self._least, least)
            self._most = np.maximum(self._most, most)

    def outside(self, ranges: Ranges, parameters: Collection[str]) -> Mapping[str, str]:
        """Return one sentence for each of the parameters that leaves its range, by its name.

        ranges: lowest and highest sound value; a parameter without one is not judged.
        """
        with self._lock:
            extents = self._least, self._most
        found = {}
        for name, least, most in zip(self._channels, *extents, strict=True):
            if name not in ranges or name not in parameters:
                continue
            low, high = ranges[name]
            # Written so that a value that is not a number fails too.
            if not (low <= least and most <= high):
                found[name] = f"{name} is {least:g} to {most:g}, wanted {low:g} to {high:g}"
        return found

    def changed(self) -> list[dict[str, Any]]:
        """Return what each constraint changed, over all draws, in their order.

        share: of the points. size: their mean absolute change. remainder: what conservation left.
        A constraint that changed nothing is left out.
        """
        with self._lock:
            draws = [self._changes[place] for place in sorted(self._changes)]
        told = []
        for same in zip(*draws, strict=True):
            share = float(np.mean([one.share for one in same]))
            moved = float(np.mean([one.share * one.size for one in same]))
            remainder = float(np.mean([one.remainder for one in same]))
            if share > 0.0 or remainder > 0.0:
                told.append(
                    {
                        "constraint": same[0].constraint,
                        "parameter": same[0].parameter,
                        "share": share,
                        "size": moved / share if share else 0.0,
                        "remainder": remainder,
                    }
                )
        return told

    @property
    def points(self) -> int:
        """How many points of all draws were looked at."""
        with self._lock:
            return self._points * len(self._changes)
