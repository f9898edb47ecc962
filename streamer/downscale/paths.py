"""What one solver carries from noise to a clean residual, and the calls that serve many at once.

A path is one tile of one draw, which is blended with its neighbours at its end; or, where tiles
are blended at every level, a whole draw, whose tiles are answered one by one and go on together.
A job is one tile of a path that waits for its answer.
"""

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from engines.batches import padded
from engines.noise import Window, keyed
from engines.sampler import Noise, Sampler, Solver, calls, noises, solver
from streamer.domain import Array
from streamer.downscale.tiles import Layout, Tile, cut, stitch
from streamer.downscale.work import Work

#: Urgency, age of the step, draw, tile; the lowest goes first.
Rank = tuple[float, int, int, int]


@dataclass(slots=True, eq=False)
class OpenStep:
    """A step that has jobs left. What changes is guarded by the workload that it lies in."""

    work: Work
    age: int
    conditions: list[Array]
    tiles: list[dict[int, Array]]  #: by draw: finished tiles by their index
    draws_left: int
    residual: Array | None = None
    calls: int = 0
    seconds: float = 0.0
    is_ended: bool = False
    #: Held while a draw is handed over, so that its taker gets them one by one.
    handing: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, work: Work, age: int) -> "OpenStep":
        """Cut the step's condition into tiles."""
        conditions = cut(work.condition, work.recipe.layout)
        return cls(work, age, conditions, [{} for _ in work.draws], len(work.draws))

    @property
    def company(self) -> Hashable:
        """Steps with the same may share a call."""
        work = self.work
        bundle = work.recipe.bundle
        network = bundle.digest, bundle.network_name
        return network, self.conditions[0].shape, work.labels is None

    def paths(self) -> "list[Path]":
        """Return what has to be carried: every draw, or every wanted tile of every draw."""
        every = self.work.tiles
        is_fused = self.work.recipe.fusion == "level"
        together = [every] if is_fused else [(tile,) for tile in every]
        return [Path(self, draw, tiles) for draw in range(len(self.tiles)) for tiles in together]


@dataclass(slots=True, eq=False)
class Path:
    """A solver with the tiles that it carries; made when its first tile is asked for.

    Several threads may answer the tiles of one path, so the parts that they share are locked.
    """

    step: OpenStep
    draw: int
    tiles: tuple[int, ...]
    _solver: Solver | None = None
    _asked: dict[int, Array] = field(default_factory=dict)
    _answers: dict[int, Array] = field(default_factory=dict)
    _sigma: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_fused(self) -> bool:
        """Whether all tiles of the draw go on together."""
        return self.step.work.recipe.fusion == "level"

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was computed of it yet."""
        return self._solver is None

    def noise(self) -> Noise:
        """Return the noise of the path's place, by the index of its level."""
        recipe = self.step.work.recipe
        layout = recipe.layout
        place = Tile(0, 0, *layout.shape) if self.is_fused else layout.tiles[self.tiles[0]]
        key = self.step.work.draws[self.draw]
        if layout.has_own_noise and not self.is_fused:
            key += b" block %d" % self.tiles[0]
        return keyed(key, len(recipe.bundle.channels), _window(place, layout))

    def ask(self, tile: int) -> tuple[Array, float]:
        """Return a tile's x, (C, h, w), and its noise level, which wait for an answer.

        Noise is made here, so that it exists only for what is being computed.
        """
        with self._lock:
            if self._solver is None:
                recipe = self.step.work.recipe
                around = recipe.bundle.preconditioning
                solving = solver(recipe.settings, self.noise(), around)
                self._hold(next(solving))
                self._solver = solving
            return self._asked[tile], self._sigma

    def take(self, tile: int, answer: Array) -> bool:
        """Keep a tile's answer, (C, h, w); return whether it is the last that was waited for."""
        with self._lock:
            self._answers[tile] = answer
            return len(self._answers) == len(self.tiles)

    def advance(self) -> Array | None:
        """Go on with all answers; return the residual at the end of the way, None before it.

        The residual is (C, h, w) for a tile and (C, H, W) for a draw.
        """
        assert self._solver is not None
        answers = [self._answers[tile] for tile in self.tiles]
        self._answers = {}
        # In the layout's order whatever came first, so that the sum's bytes are the same.
        answer = stitch(answers, self.step.work.recipe.layout) if self.is_fused else answers[0]
        try:
            self._hold(self._solver.send(answer))
        except StopIteration as end:
            return np.asarray(end.value, dtype=np.float32)
        return None

    def _hold(self, asked: tuple[Array, float]) -> None:
        x, self._sigma = asked
        parts = cut(x, self.step.work.recipe.layout) if self.is_fused else [x]
        self._asked = dict(zip(self.tiles, parts, strict=True))


@dataclass(slots=True, eq=False)
class Job:
    """One tile of a path."""

    path: Path
    tile: int
    #: A batch with this job in it failed, so it is tried alone, to find out whose fault it was.
    is_suspect: bool = False

    @property
    def step(self) -> OpenStep:
        """Whose job it is."""
        return self.path.step

    @property
    def rank(self) -> Rank:
        """When its turn is."""
        return -self.step.work.urgency, self.step.age, self.path.draw, self.tile

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"draw {self.path.draw}, tile {self.tile}"


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Jobs that share a call: one answer of the denoiser, or their whole way at once."""

    jobs: tuple[Job, ...]
    is_whole: bool = False

    @property
    def calls(self) -> int:
        """How many answers of the network each job gets."""
        recipe = self.jobs[0].step.work.recipe
        return calls(recipe.settings, recipe.bundle.preconditioning.kind) if self.is_whole else 1

    def inputs(self, bucket: int = 1) -> tuple[Array, Array, Array, Array | None]:
        """Return x, sigma, condition and labels for `Denoiser.denoise`.

        bucket: tiles in the call; the last job is repeated up to so many.
        """
        asked = padded([job.path.ask(job.tile) for job in self.jobs], bucket)
        sigma = np.array([sigma for _, sigma in asked], dtype=np.float32)
        return _stack([x for x, _ in asked]), sigma, *self._told(bucket)

    def whole_inputs(self, bucket: int = 1) -> tuple[Array, Sampler, Array, Array | None]:
        """Return noise, settings, condition and labels for `Sampling.sample`."""
        settings = self.jobs[0].step.work.recipe.settings
        makers = [job.path.noise() for job in self.jobs]
        noise = [
            _stack(padded([make(index) for make in makers], bucket))
            for index in range(noises(settings))
        ]
        return _stack(noise), settings, *self._told(bucket)

    def question(self) -> tuple[Array, Array, Array, Array | None]:
        """Return inputs of the same shapes that nothing can be wrong with, for one tile."""
        step = self.jobs[0].step
        condition = np.zeros_like(step.conditions[0])[None]
        channels = len(step.work.recipe.bundle.channels)
        x = np.zeros((1, channels, *condition.shape[2:]), dtype=np.float32)
        labels = step.work.labels
        told = None if labels is None else np.zeros_like(labels)[None]
        return x, np.ones(1, dtype=np.float32), condition, told

    def _told(self, bucket: int) -> tuple[Array, Array | None]:
        """Return the tiles' condition and labels."""
        jobs = padded(self.jobs, bucket)
        labels = [job.step.work.labels for job in jobs if job.step.work.labels is not None]
        return (
            _stack([job.step.conditions[job.tile] for job in jobs]),
            _stack(labels) if labels else None,
        )


def _window(tile: Tile, layout: Layout) -> Window:
    return Window(
        rows=(tile.row, tile.row + tile.height),
        columns=(tile.column, tile.column + tile.width),
        width=layout.columns.length,
    )


def _stack(arrays: Sequence[Array]) -> Array:
    """Join along a new first axis; one alone is only looked at, not copied."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)
