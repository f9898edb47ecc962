"""One queue for the tiles and draws of many steps: what is computed next, and what came of it.

A job is one tile of one draw; it owns a sampler, which asks for one denoiser call after another.
Jobs are ordered by urgency, then by their step's age, then draw by draw, so that few are half
done at a time. Jobs of different steps, members and levels may share a call. No thread, no clock.
"""

import heapq
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from engines.noise import Window, keyed
from engines.sampler import Solver, solver
from streamer.domain import Array
from streamer.downscale.tiles import cut, stitch
from streamer.downscale.work import Finished, Work


@dataclass(slots=True, eq=False)
class _Open:
    """A step that has jobs left."""

    work: Work
    conditions: list[Array]
    tiles: list[dict[int, Array]]  #: by draw: finished tiles by their index
    residual: Array | None = None
    draws_left: int = 0
    calls: int = 0
    seconds: float = 0.0
    is_ended: bool = False


@dataclass(slots=True, eq=False)
class _Job:
    step: _Open
    rank: tuple[float, int, int, int]  #: urgency, age, draw, tile; the lowest goes first
    solver: Solver | None = None
    x: Array | None = None
    sigma: float = 0.0
    #: A batch with this job in it failed, so it is tried alone, to find out whose fault it was.
    is_suspect: bool = False

    @property
    def group(self) -> tuple[object, ...]:
        """Jobs with the same may share a call."""
        work = self.step.work
        return work.recipe.bundle.digest, self.step.conditions[0].shape, work.labels is None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Jobs that share a denoiser call."""

    jobs: tuple[_Job, ...]

    def inputs(self, bucket: int = 1) -> tuple[Array, Array, Array, Array | None]:
        """Return x, sigma, condition and labels for `Denoiser.denoise`.

        bucket: repeats the last job up to so many, since bytes may depend on the size of a call.
        """
        jobs = [*self.jobs, *[self.jobs[-1]] * (bucket - len(self.jobs))]
        labels = [job.step.work.labels for job in jobs if job.step.work.labels is not None]
        return (
            _stack([job.x for job in jobs if job.x is not None]),
            np.array([job.sigma for job in jobs], dtype=np.float32),
            _stack([job.step.conditions[job.rank[3]] for job in jobs]),
            _stack(labels) if labels else None,
        )


@dataclass(slots=True)
class Workload:
    """The queue. One owner: whoever runs the engine."""

    _steps: dict[Hashable, _Open] = field(default_factory=dict)
    _queue: list[tuple[tuple[float, int, int, int], _Job]] = field(default_factory=list)
    _finished: list[Finished] = field(default_factory=list)
    _age: int = 0  #: how many steps were added so far

    def __len__(self) -> int:
        """How many steps are not finished."""
        return len(self._steps)

    def add(self, work: Work) -> None:
        """Queue one job for each tile and draw. Raises ValueError for a key that is queued."""
        if work.key in self._steps:
            raise ValueError(f"{work.key}: is queued already")
        layout = work.recipe.layout
        step = _Open(
            work,
            cut(work.condition, layout),
            tiles=[{} for _ in work.draws],
            draws_left=len(work.draws),
        )
        self._steps[work.key] = step
        for draw, tile in itertools.product(range(len(work.draws)), range(len(step.conditions))):
            self._push(_Job(step, (-work.urgency, self._age, draw, tile)))
        self._age += 1

    def cancel(self, key: Hashable) -> None:
        """Forget a step and its jobs, also those in a batch now; unknown keys are no fault."""
        step = self._steps.pop(key, None)
        if step is not None:
            step.is_ended = True

    def next_batch(self, limit: int = 1) -> Batch | None:
        """Take the next jobs, at most `limit` that may share a call; None when there are none.

        Each batch goes back by `store` or `fail`.
        """
        first = self._pop()
        if first is None:
            return None
        jobs = [first]
        passed: list[_Job] = []
        while len(jobs) < limit and not first.is_suspect and (job := self._pop()) is not None:
            fits = job.group == first.group and not job.is_suspect
            (jobs if fits else passed).append(job)
        for job in passed:
            self._push(job)
        for job in jobs:
            _ask_first(job)
        return Batch(tuple(jobs))

    def store(self, batch: Batch, denoised: Array, seconds: float = 0.0) -> None:
        """Hand the denoiser's answer, (B, C, h, w), to the batch's jobs; padding is ignored."""
        for job, answer in zip(batch.jobs, denoised, strict=False):
            if job.step.is_ended:
                continue
            job.step.calls += 1
            job.step.seconds += seconds / len(batch.jobs)
            # A sum is finite only if all its parts are.
            if not np.isfinite(answer.sum()):
                self._end(job.step, f"{_place(job)}: the network gave numbers that are not finite")
            else:
                self._advance(job, answer)

    def fail(self, batch: Batch, fault: str) -> None:
        """Take a batch back whose call failed: a lone job ends its step, others are tried alone."""
        for job in batch.jobs:
            if len(batch.jobs) > 1:
                job.is_suspect = True
                self._push(job)
            elif not job.step.is_ended:
                self._end(job.step, f"{_place(job)}: {fault}")

    def finished(self) -> list[Finished]:
        """Take what has finished since the last time."""
        taken, self._finished = self._finished, []
        return taken

    def _advance(self, job: _Job, answer: Array) -> None:
        assert job.solver is not None
        job.is_suspect = False
        try:
            job.x, job.sigma = job.solver.send(answer)
            self._push(job)
        except StopIteration as end:
            self._keep(job, end.value)

    def _keep(self, job: _Job, residual: Array) -> None:
        """Keep a finished tile, blend a draw that has all of its own, end a step that has all."""
        step, (_, _, draw, tile) = job.step, job.rank
        step.tiles[draw][tile] = residual
        if len(step.tiles[draw]) < len(step.conditions):
            return
        layout = step.work.recipe.layout
        if step.residual is None:
            shape = (len(step.work.draws), len(residual), *layout.shape)
            step.residual = np.empty(shape, dtype=np.float32)
        tiles = [step.tiles[draw][i] for i in range(len(step.conditions))]
        stitch(tiles, layout, out=step.residual[draw])
        step.tiles[draw] = {}
        step.draws_left -= 1
        if step.draws_left == 0:
            self._end(step)

    def _end(self, step: _Open, fault: str = "") -> None:
        step.is_ended = True
        del self._steps[step.work.key]
        residual = None if fault else step.residual
        self._finished.append(Finished(step.work, residual, step.calls, step.seconds, fault))

    def _push(self, job: _Job) -> None:
        heapq.heappush(self._queue, (job.rank, job))

    def _pop(self) -> _Job | None:
        while self._queue:
            _, job = heapq.heappop(self._queue)
            if not job.step.is_ended:
                return job
        return None


def _ask_first(job: _Job) -> None:
    """Start a job's sampler, so that noise exists only for tiles that are being computed."""
    if job.solver is not None:
        return
    recipe, (_, _, draw, index) = job.step.work.recipe, job.rank
    tile = recipe.layout.tiles[index]
    window = Window(
        rows=(tile.row, tile.row + tile.height),
        columns=(tile.column, tile.column + tile.width),
        width=recipe.layout.columns.length,
    )
    noise = keyed(job.step.work.draws[draw], len(recipe.bundle.channels), window)
    job.solver = solver(recipe.settings, noise)
    job.x, job.sigma = next(job.solver)


def _stack(arrays: Sequence[Array]) -> Array:
    """Join along a new first axis; one alone is only looked at, not copied."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _place(job: _Job) -> str:
    _, _, draw, tile = job.rank
    return f"draw {draw}, tile {tile}"
