"""The model at work, and those before it until their last steps are done.

A step stays with the model that it began with, so a change of model has no gap: the new one takes
what comes, the old one finishes what it has, and closes.
"""

import logging

from streamer.allocator import give_back_freed_memory
from streamer.begun import Made
from streamer.dispatch import Dispatch
from streamer.domain import Step
from streamer.downscale.engine import Counters
from streamer.downscale.engine_room import Gauge
from streamer.reception import Tenure

log = logging.getLogger(__name__)


class Lines:
    """All steps between complete and published; belongs to the loop's thread."""

    def __init__(self, first: Dispatch) -> None:
        self._current = first
        self._leaving: list[Dispatch] = []
        self._gone: dict[str, Counters] = {}
        #: those that have left, whose engines may be in their last call
        self._closing: list[Dispatch] = []

    @property
    def pending(self) -> int:
        """How many steps are begun and not made."""
        return sum(line.pending for line in self._all)

    @property
    def waiting_bytes(self) -> int:
        """What those steps hold."""
        return sum(line.waiting_bytes for line in self._all)

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """Each engine that serves, or still has steps to finish."""
        return tuple(gauge for line in self._all for gauge in line.gauges)

    @property
    def counters(self) -> dict[str, Counters]:
        """What the engines have done since the start by device, those that left included."""
        done = dict(self._gone)
        for gauge in self.gauges:
            done[gauge.device] = done.get(gauge.device, Counters()) + gauge.counters
        return done

    def begin(self, step: Step, tenure: Tenure) -> None:
        """Send a complete step on its way, with the newest model."""
        self._current.begin(step, tenure)

    def forget(self, tenure: Tenure) -> None:
        """Give up the steps of a partition that is no longer ours."""
        for line in self._all:
            line.forget(tenure)

    def made(self) -> list[Made]:
        """Take the steps that are ready to be published; let models go that have none left."""
        made = [one for line in self._all for one in line.made()]
        for line in [line for line in self._leaving if not line.pending]:
            self._let_go(line)
        return made

    def succeed(self, line: Dispatch) -> None:
        """Give what comes from now on to another model."""
        self._leaving.append(self._current)
        self._current = line

    def tidy(self) -> None:
        """Give the memory of models that have left back to the system; fractions of a second."""
        left = [line for line in self._closing if line.is_alive]
        if len(left) < len(self._closing):
            self._closing = left
            give_back_freed_memory()

    def close(self, timeout_s: float) -> None:
        """Stop all engines after their running calls."""
        for line in self._all:
            line.close(timeout_s)

    @property
    def _all(self) -> tuple[Dispatch, ...]:
        # The oldest first, so that steps are published about in their order.
        return (*self._leaving, self._current)

    def _let_go(self, line: Dispatch) -> None:
        self._leaving.remove(line)
        # A call for a step that was given up may be running: nobody waits for it.
        line.close(0.0)
        for gauge in line.gauges:
            done = self._gone.get(gauge.device, Counters())
            self._gone[gauge.device] = done + gauge.counters
        self._closing.append(line)
        log.info("bundle %.12s has finished its last step and is let go", line.maker.bundle)
