"""A step between complete and published: what is under way for it, and what came of it."""

import dataclasses
import logging
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from engines.errors import DownscaledError
from streamer.bus.record import Outgoing
from streamer.domain import Step
from streamer.downscale.engine_room import Result
from streamer.products.ensemble import Ensemble
from streamer.products.printer import Pair
from streamer.reception import Tenure
from streamer.records import FieldEntry, Plain

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Maker:
    """Who made a step's fields, as its record tells: the bundle's digest, engine, sampler."""

    bundle: str
    engine: str
    sampler: Plain


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What came of a step: its records, or the fault that made it fail."""

    step: Step
    tenure: Tenure
    maker: Maker
    entries: tuple[FieldEntry, ...] = ()
    records: tuple[Outgoing, ...] = ()
    calls: int = 0
    seconds: float = 0.0
    quality: Plain = dataclasses.field(default_factory=dict)
    fault: str = ""


@dataclass(slots=True, eq=False)
class Begun:
    """A step on its way, member by member where it is pooled; each draws so many strands.

    conditioning: one task a member, as far as they have begun. results: of their strands, as they
    end. settling: one task a draw, while the engines work. parts: one task a parameter of a
    product, once they are done.
    """

    step: Step
    tenure: Tenure
    members: tuple[Step, ...]
    ensembles: tuple[Ensemble, ...]
    strands: int
    conditioning: list[Future[None]] = dataclasses.field(default_factory=list)
    results: list[Result] = dataclasses.field(default_factory=list)
    settling: list[Future[None]] = dataclasses.field(default_factory=list)
    quality: Plain = dataclasses.field(default_factory=dict)
    parts: list[Future[list[Pair]]] | None = None

    @property
    def fault(self) -> str:
        """Why it fails, as far as is known; "" where nothing is wrong."""
        tasks = (task for task in (*self.conditioning, *self.settling) if task.done())
        faults = [result.fault for result in self.results if result.fault]
        return next(iter([*faults, *(told for one in tasks if (told := failure(one)))]), "")

    @property
    def under_way(self) -> int:
        """Return how many members have begun of which not all strands have ended."""
        failed = sum(task.done() and failure(task) != "" for task in self.conditioning)
        return len(self.conditioning) - failed - len(self.results) // self.strands

    @property
    def is_drawn(self) -> bool:
        """Whether all draws are in their products, or will never be."""
        if self.under_way or not all(task.done() for task in self.conditioning):
            return False
        is_last = len(self.conditioning) == len(self.members) or self.fault != ""
        return is_last and all(task.done() for task in self.settling)

    @property
    def is_done(self) -> bool:
        """Whether all that could be made of it is made."""
        return self.parts is not None and all(part.done() for part in self.parts)


def failure(task: Future[Any]) -> str:
    """Return why a task failed, "" if it did not.

    Even a fault of ours fails only the step: a restart would meet it again, and again.
    """
    error = task.exception()
    if error is None:
        return ""
    if isinstance(error, DownscaledError):
        return str(error)
    log.error("a fault of ours", exc_info=error)
    return f"{type(error).__name__}: {error}"
