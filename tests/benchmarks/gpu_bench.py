"""What all measurements of a device share: its ceilings, the time left, where results go."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TextIO

import torch

from engines.backends.recording import lacks_memory
from engines.denoiser import Array
from engines.golden import relative_error
from tests.benchmarks.gpu_cases import Case
from tests.benchmarks.gpu_limits import Work
from tests.benchmarks.gpu_timing import Ceilings, Timing

Result = dict[str, Any]


@dataclass(slots=True)
class Bench:
    """One run of the benchmark on one device. deadline: monotonic; what is later is left out."""

    device: torch.device
    limits: Ceilings
    output: TextIO
    deadline: float
    batches: tuple[int, ...]
    results: list[Result] = field(default_factory=list)

    def note(self, what: str, **facts: Any) -> None:
        """Write one result down, at once."""
        self.output.write(json.dumps({"what": what, **facts}, default=float) + "\n")
        self.output.flush()
        self.results.append({"what": what, **facts})

    def found(self, what: str) -> list[Result]:
        """Return the results of one kind."""
        return [result for result in self.results if result["what"] == what]

    def left_s(self) -> float:
        """Return the seconds that are left."""
        return self.deadline - time.monotonic()

    def let_go(self) -> None:
        """Give memory back that nobody needs."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A network that is measured. wanted: what eager float32 answers to its distinct tiles."""

    bench: Bench
    case: Case
    work: Work
    wanted: Array

    def one(
        self,
        way: str,
        precision: str,
        batch: int,
        trial: Callable[[], tuple[Timing, Array | None]],
        calls: int = 1,
    ) -> None:
        """Measure one way with one batch; trial: gives its timing and its answer.

        calls: of the network, in what is timed; figures are those of one call.
        """
        bench, named = self.bench, {"network": self.case.name, "way": way, "precision": precision}
        if bench.left_s() < 0.0:
            bench.note("left out", **named, batch=batch, why="no time was left")
            return
        bench.let_go()
        if bench.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(bench.device)
        try:
            timing, answer = trial()
        # Whatever a compiler says of one way, the others are to be measured.
        except Exception as fault:  # noqa: BLE001
            why = "memory" if lacks_memory(fault) else f"{type(fault).__name__}: {fault}"[:300]
            bench.note("left out", **named, batch=batch, why=why)
            return
        peak = 0
        if bench.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(bench.device)
        error = None
        if answer is not None:
            count = min(batch, len(self.wanted))
            error = relative_error(answer[:count], self.wanted[:count])
        bench.note(
            "way",
            **named,
            batch=batch,
            calls=calls,
            error=error,
            peak_bytes=peak,
            **self._figures(timing, precision, batch, calls),
        )

    def _figures(self, timing: Timing, precision: str, batch: int, calls: int) -> Result:
        ms, limits = timing.median_ms / calls, self.bench.limits
        return {
            "ms": ms,
            "best_ms": timing.best_ms / calls,
            "repeats": timing.repeats,
            "ms_a_tile": ms / batch,
            "tiles_per_s": 1e3 * batch / ms,
            "share_of_flops": self.work.flops * batch / (ms / 1e3) / limits.flops[precision],
            "share_of_floor": self.work.floor_ms(limits, precision) * batch / ms,
        }
