"""Engines and their room for tests: the closed form, with what real runtimes do besides."""

import threading
from collections.abc import Callable

import numpy as np

from engines.denoiser import Array, Denoiser, EngineSpec, GaussianDenoiser
from engines.manifest import Preconditioning
from engines.sampler import Sampler, run, solver
from streamer.downscale.engine_room import EngineRoom, Result
from streamer.downscale.products import physical
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Recipe, Work
from streamer.downscale.workload import Workload
from tests.streamer.downscale.small import bundle_of

LONG_S = 20.0

BUNDLE = bundle_of()
RECIPE = Recipe(
    BUNDLE,
    Layout.cover(BUNDLE.shape, BUNDLE.tile, BUNDLE.overlap, periodic=True),
    BUNDLE.sampler,
)


def work_of(key: str, mark: float = 0.0, draws: int = 2, recipe: Recipe = RECIPE) -> Work:
    """A step whose condition is `mark` everywhere."""
    condition = np.full((3, *BUNDLE.shape), mark, dtype=np.float32)
    return Work(key, recipe, condition, tuple(f"{key}/{i}".encode() for i in range(draws)))


def drawn(key: str, mark: float = 0.0, draws: int = 2) -> Array:
    """What the workload alone gives, without a thread."""
    workload, denoiser, work = Workload(), Strict(), work_of(key, mark, draws)
    workload.add(work)
    while (batch := workload.next_batch()) is not None:
        workload.store(batch, denoiser.denoise(*batch.inputs()))
    residual = workload.finished()[0].residual
    assert residual is not None
    return physical(residual, work.condition, BUNDLE)


class House:
    """An engine room with the bell that its results ring."""

    def __init__(self, *denoisers: Denoiser, reproducible: bool = True) -> None:
        self.bell = threading.Semaphore(0)
        self.room = EngineRoom(denoisers, wake=self.bell.release, reproducible=reproducible)

    def results(self, count: int) -> dict[object, Result]:
        """Wait for so many steps and return them by key."""
        found: dict[object, Result] = {}
        while len(found) < count:
            assert self.bell.acquire(timeout=LONG_S), f"only {set(found)} came back"
            found |= {r.key: r for r in self.room.finished()}
        return found

    def work_off(self, *works: Work) -> dict[object, Result]:
        """Submit everything, start, wait and close."""
        for work in works:
            self.room.submit(work)
        self.room.start()
        found = self.results(len(works))
        assert self.room.close(LONG_S)
        return found


def bytes_of(result: Result) -> bytes:
    """The draws of a step that did not fail."""
    assert result.draws is not None, result.fault
    return result.draws.tobytes()


class Strict(GaussianDenoiser):
    """Takes its sizes only, tells which it was asked for, and fails where told.

    trouble: is told the condition of every call, and raises what a runtime would.
    """

    def __init__(
        self,
        sizes: tuple[int, ...] = (1,),
        device: str = "cpu",
        trouble: Callable[[Array], None] = lambda _: None,
    ) -> None:
        super().__init__(0.2, 0.6)
        self.sizes = sizes
        self.seen: list[int] = []
        self._device = device
        self._trouble = trouble

    @property
    def spec(self) -> EngineSpec:
        return EngineSpec("strict", "f32", self._device, "1", self.sizes[-1], self.sizes)

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        assert len(x) == len(sigma) == len(condition)
        self.seen.append(len(x))
        self._trouble(condition)
        return super().denoise(x, sigma, condition, labels)


class Gated(Strict):
    """Computes only while its gate is open, so that a test knows what is under way."""

    def __init__(
        self,
        sizes: tuple[int, ...] = (1,),
        device: str = "cpu",
        trouble: Callable[[Array], None] = lambda _: None,
    ) -> None:
        super().__init__(sizes, device, trouble)
        self.gate = threading.Event()
        self.began = threading.Event()

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        self.began.set()
        assert self.gate.wait(LONG_S)
        return super().denoise(x, sigma, condition, labels)


class Running(Strict):
    """Offers whole runs as well: a plain loop on the processor, tile by tile.

    runs: how many tiles each of them had.
    """

    def __init__(
        self, sizes: tuple[int, ...] = (1,), trouble: Callable[[Array], None] = lambda _: None
    ) -> None:
        super().__init__(sizes, trouble=trouble)
        self.runs: list[int] = []

    def sample(
        self,
        noise: Array,
        settings: Sampler,
        condition: Array,
        labels: Array | None = None,
    ) -> Array:
        assert noise.shape[1] == len(condition)
        self.runs.append(len(condition))
        self._trouble(condition)
        return np.stack([self._run(noise[:, i], settings) for i in range(len(condition))])

    def _run(self, noise: Array, settings: Sampler) -> Array:
        """Carry one tile its whole way; noise: (M, C, h, w)."""
        nothing = np.zeros((1, 0, *noise.shape[2:]), dtype=np.float32)
        return run(
            solver(settings, lambda level: noise[level].copy(), Preconditioning("edm", 1.0)),
            lambda x, sigma: GaussianDenoiser.denoise(
                self, x[None], np.array([sigma], dtype=np.float32), nothing
            )[0],
        )
