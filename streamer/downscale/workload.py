"""One queue for the tiles and draws of many steps: what is computed next, and what came of it.

Jobs are ordered by urgency, then by their step's age, then draw by draw, so that few are half
done at a time. Jobs of different steps, members and levels may share a call. No thread of its
own, no clock; several engines may take from it and give back at the same time.
"""

import heapq
import logging
import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from engines.sampler import Sampler
from streamer.domain import Array
from streamer.downscale.paths import Batch, Job, OpenStep, Path, Rank
from streamer.downscale.products import physical
from streamer.downscale.tiles import stitch
from streamer.downscale.work import Finished, Work

log = logging.getLogger(__name__)

#: Which tiles are carried their whole way in one go: none, those that fill a batch, or all that
#: are not fused at every level. Whole ways and single calls differ in the last bits, so `full`
#: lets a tile's bytes depend on its company.
Whole = Literal["never", "full", "always"]


@dataclass(frozen=True, slots=True)
class _Lane:
    """Jobs that may share a call; fresh ones that may go their whole way name their sampler."""

    company: Hashable
    settings: Sampler | None


_Queue = list[tuple[Rank, Job]]
#: The lane of jobs that are tried alone.
_SUSPECTS = _Lane(None, None)


@dataclass(slots=True)
class Workload:
    """The queue, safe for several threads; a batch belongs to whoever took it until it is back.

    The lock is held only to look things up: noise, solvers and blending run outside.
    """

    whole: Whole = "never"
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _steps: dict[Hashable, OpenStep] = field(default_factory=dict)
    _lanes: dict[_Lane, _Queue] = field(default_factory=dict)
    _finished: list[Finished] = field(default_factory=list)
    _age: int = 0  #: how many steps were added so far

    def __len__(self) -> int:
        """How many steps are not finished."""
        return len(self._steps)

    @property
    def has_jobs(self) -> bool:
        """Whether a batch may be taken now; what others are computing does not count."""
        with self._lock:
            return any(_purge(queue) for queue in self._lanes.values())

    def add(self, work: Work) -> None:
        """Queue a job for each wanted tile of each draw. ValueError for a key that is queued."""
        with self._lock:
            if work.key in self._steps:
                raise ValueError(f"{work.key}: is queued already")
            step = self._steps[work.key] = OpenStep.of(work, self._age)
            self._age += 1
            for path in step.paths():
                self._push(path)

    def cancel(self, key: Hashable) -> None:
        """Forget a step and its jobs, also those in a batch now; unknown keys are no fault."""
        with self._lock:
            step = self._steps.pop(key, None)
            if step is not None:
                step.is_ended = True

    def next_batch(self, limit: int = 1) -> Batch | None:
        """Take the next jobs, at most `limit` that may share a call; None when there are none.

        Each batch goes back by `store`, `fail` or `put_back`.
        """
        with self._lock:
            waiting = {lane: queue for lane, queue in self._lanes.items() if _purge(queue)}
            if not waiting:
                return None
            lane = min(waiting, key=lambda lane: waiting[lane][0][0])
            if lane == _SUSPECTS:
                (job,) = _pop(waiting[lane], 1)
                return Batch((job,), self.whole == "always" and not job.path.is_fused)
            jobs = _pop(waiting[lane], limit)
            if lane.settings is not None and (self.whole == "always" or len(jobs) == limit):
                return Batch(tuple(jobs), is_whole=True)
            for queue in self._company(lane, limit):
                jobs += _pop(queue, limit - len(jobs))
            return Batch(tuple(jobs))

    def store(self, batch: Batch, answers: Array, seconds: float = 0.0) -> None:
        """Hand the engine's answers, (B, C, h, w), to the batch's jobs; padding is ignored."""
        share = seconds / len(batch.jobs)
        for job, answer in zip(batch.jobs, answers, strict=False):
            if not self._count(job, batch.calls, share):
                continue
            # A sum is finite only if all its parts are.
            if not np.isfinite(answer.sum()):
                self._end(job.step, f"{job.place}: the network gave numbers that are not finite")
            elif batch.is_whole:
                self._keep(job.path, answer)
            elif job.path.take(job.tile, answer):
                self._advance(job.path)

    def fail(self, batch: Batch, fault: str) -> None:
        """Take a batch back whose call failed: a lone job ends its step, others are tried alone."""
        if len(batch.jobs) == 1:
            self._end(batch.jobs[0].step, f"{batch.jobs[0].place}: {fault}")
            return
        with self._lock:
            for job in batch.jobs:
                job.is_suspect = True
                self._push_job(job)

    def put_back(self, batch: Batch) -> None:
        """Take a batch back that was not computed, and not for any fault of its jobs."""
        with self._lock:
            for job in batch.jobs:
                self._push_job(job)

    def finished(self) -> list[Finished]:
        """Take what has finished since the last time."""
        with self._lock:
            taken, self._finished = self._finished, []
        return taken

    def _count(self, job: Job, calls: int, seconds: float) -> bool:
        """Count what a job cost; False where nobody waits for it any more."""
        with self._lock:
            job.step.calls += calls
            job.step.seconds += seconds
            return not job.step.is_ended

    def _advance(self, path: Path) -> None:
        residual = path.advance()
        if residual is not None:
            self._keep(path, residual)
            return
        with self._lock:
            self._push(path)

    def _keep(self, path: Path, residual: Array) -> None:
        """Keep what a path led to, blend a draw that has all tiles, end a step that has all."""
        step, work = path.step, path.step.work
        if not path.is_fused:
            with self._lock:
                tiles = step.tiles[path.draw]
                tiles[path.tiles[0]] = residual
                if len(tiles) < len(work.tiles):
                    return
                step.tiles[path.draw] = {}
            given = [tiles[i] for i in work.tiles]
            out = self._room_for(path, len(residual))
            residual = stitch(given, work.recipe.layout, out, work.tiles)
        elif work.on_draw is None:
            self._room_for(path, len(residual))[...] = residual
        if work.on_draw is not None and not self._hand_over(path, residual):
            return
        with self._lock:
            step.draws_left -= 1
            is_over = step.draws_left == 0
        if is_over:
            self._end(step)

    def _room_for(self, path: Path, channels: int) -> Array:
        """Return where a draw is written: a place among its step's, or one of its own."""
        step, shape = path.step, path.step.work.recipe.layout.shape
        if step.work.on_draw is not None:
            return np.empty((channels, *shape), dtype=np.float32)
        with self._lock:
            if step.residual is None:
                step.residual = np.empty((len(step.work.draws), channels, *shape), dtype=np.float32)
            place: Array = step.residual[path.draw]
            return place

    def _hand_over(self, path: Path, residual: Array) -> bool:
        """Give a draw, (C, H, W), to whoever takes its step's draws; False where that failed."""
        work = path.step.work
        assert work.on_draw is not None
        draw = physical(residual[None], work.condition, work.recipe.bundle)[0]
        try:
            with path.step.handing:
                if not path.step.is_ended:
                    work.on_draw(path.draw, draw)
        except Exception as error:
            # A mistake of whoever takes draws costs the step, not the engine that hands it over.
            log.exception("a draw could not be taken")
            self._end(path.step, f"draw {path.draw}: {str(error) or type(error).__name__}")
            return False
        return True

    def _end(self, step: OpenStep, fault: str = "") -> None:
        with self._lock:
            if step.is_ended:
                return
            step.is_ended = True
            del self._steps[step.work.key]
            residual = None if fault else step.residual
            self._finished.append(Finished(step.work, residual, step.calls, step.seconds, fault))

    # What follows is called with the lock held.

    def _push(self, path: Path) -> None:
        for tile in path.tiles:
            self._push_job(Job(path, tile))

    def _push_job(self, job: Job) -> None:
        path, lane = job.path, _SUSPECTS
        if not job.is_suspect:
            may_go_whole = self.whole != "never" and path.is_fresh and not path.is_fused
            settings = path.step.work.recipe.settings if may_go_whole else None
            lane = _Lane(path.step.company, settings)
        heapq.heappush(self._lanes.setdefault(lane, []), (job.rank, job))

    def _company(self, lane: _Lane, limit: int) -> Iterator[_Queue]:
        """Yield other lanes whose jobs may join a call for single answers, begun ones first.

        Fresh jobs that fill a call of their own are left to it: their whole way costs less.
        """
        others = [other for other in self._lanes if other.company == lane.company]
        for other in sorted(others, key=lambda lane: lane.settings is not None):
            queue = self._lanes[other]
            goes_whole = self.whole == "always" or len(queue) >= limit
            if other != lane and not (other.settings is not None and goes_whole):
                yield queue


def _purge(queue: _Queue) -> bool:
    """Drop first jobs whose steps have ended; return whether one is left that is wanted."""
    while queue and queue[0][1].step.is_ended:
        heapq.heappop(queue)
    return bool(queue)


def _pop(queue: _Queue, limit: int) -> list[Job]:
    """Take the next jobs that are wanted."""
    jobs: list[Job] = []
    while len(jobs) < limit and _purge(queue):
        jobs.append(heapq.heappop(queue)[1])
    return jobs
