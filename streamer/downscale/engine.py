"""One engine at work: answers batches, knows what fits into its memory, and counts.

It belongs to the thread that runs it; what it has counted may be read from any other.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from engines.batches import Batching, batching, common_batching
from engines.denoiser import Denoiser, Sampling
from streamer.domain import Array
from streamer.downscale.paths import Batch


@dataclass(frozen=True, slots=True)
class Counters:
    """What an engine has done so far.

    calls: of the network. tiles, places: served, and paid for; tiles / places fills a batch.
    shortages: calls that did not fit in memory.
    """

    calls: int = 0
    tiles: int = 0
    places: int = 0
    busy_s: float = 0.0
    shortages: int = 0

    def __add__(self, other: "Counters") -> "Counters":
        """Return what two engines have done together."""
        return Counters(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Counters") -> "Counters":
        """Return what was done since `other`."""
        return Counters(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Sizes:
    """The sizes of call of all engines of a room; falls when one runs out of memory, for good.

    Where bytes must not depend on the company they must not depend on the engine either, so all
    of them share one size then.
    """

    def __init__(self, denoisers: Sequence[Denoiser], *, reproducible: bool) -> None:
        """Start with all that the engines can do; UsageError when they must share and cannot."""
        specs = [denoiser.spec for denoiser in denoisers]
        self.reproducible = reproducible
        self._lock = threading.Lock()
        if reproducible:
            self._of = [common_batching(specs, reproducible=True)] * len(specs)
        else:
            self._of = [batching(spec, reproducible=False) for spec in specs]

    def of(self, engine: int) -> Batching:
        """Return what an engine may be asked for now."""
        return self._of[engine]

    def shrink(self, engine: int, size: int) -> bool:
        """Forbid calls of `size` to an engine; False when it has no smaller one.

        No news is True, too: another engine may have run out of memory at the same moment.
        """
        with self._lock:
            if self._of[engine].limit < size:
                return True
            left = self._of[engine].halved(size)
            if left is None:
                return False
            shrunk = range(len(self._of)) if self.reproducible else [engine]
            for i in shrunk:
                self._of[i] = left
            return True


class Engine:
    """A denoiser with its number in the room."""

    def __init__(
        self,
        number: int,
        denoiser: Denoiser,
        sizes: Sizes,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.number = number
        self.denoiser = denoiser
        self.counters = Counters()
        #: what ended it; None while it is sound
        self.death: BaseException | None = None
        self._sizes = sizes
        self._clock = clock

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.denoiser.spec.device

    @property
    def batching(self) -> Batching:
        """How many tiles a call takes now."""
        return self._sizes.of(self.number)

    def answer(self, batch: Batch, size: int) -> tuple[Array, float]:
        """Return the answers of a call of `size` tiles, and the seconds inside the denoiser.

        Raises EngineError and MemoryError, and whatever a runtime may raise besides.
        """
        if batch.is_whole:
            assert isinstance(self.denoiser, Sampling)
            run = batch.whole_inputs(size)
            began = self._clock()
            answers = self.denoiser.sample(*run)
        else:
            inputs = batch.inputs(size)
            began = self._clock()
            answers = self.denoiser.denoise(*inputs)
        seconds = self._clock() - began
        self.counters += Counters(
            calls=batch.calls,
            tiles=batch.calls * len(batch.jobs),
            places=batch.calls * size,
            busy_s=seconds,
        )
        return answers, seconds

    def is_sound(self, batch: Batch) -> bool:
        """Whether the engine still answers a question that nothing can be wrong with.

        batch: one whose call failed; the question has its shapes and harmless numbers. So a job
        that no engine could compute is told from an engine that computes nothing any more.
        """
        try:
            answer = self.denoiser.denoise(*batch.question())
            return bool(np.isfinite(answer).all())
        except Exception:  # noqa: BLE001 - any of them is the answer: no
            return False

    def ran_short(self, size: int) -> bool:
        """Note that a call of `size` did not fit in memory; False when no smaller one is left."""
        self.counters += Counters(shortages=1)
        return self._sizes.shrink(self.number, size)
