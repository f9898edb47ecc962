"""The process in which an engine is tried: `python -m engines.trial`, with a request on its input.

Whatever happens to it happens to nobody else. Its exit status tells how it went, the last line on
its standard error tells why not, and a proof in the engine's folder tells what was shown.
"""

import importlib
import json
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from engines.backends.cuda_driver import Gpu
from engines.bundle import DENOISER, Bundle, open_manifest
from engines.cache import EngineKey, key_of
from engines.choice import EngineChoice
from engines.denoiser import Array, Denoiser
from engines.errors import DownscaledError, OutOfMemory, UsageError
from engines.golden import Golden, bound_of, check, read_golden
from engines.proof import Proof, write_proof

#: Opens a bundle on a backend, in this process, unproven: a function of a module, found by name.
Opener = Callable[[Bundle, EngineChoice], Denoiser]

#: A call is timed until this much time is spent, and this often at most; the best one counts.
_TIMING_S = 2.0
_TIMES = 5


@dataclass(frozen=True, slots=True)
class Request:
    """What to try. folder: the engine's own, for what it compiles and for the proof."""

    bundle: Path
    choice: EngineChoice
    key: EngineKey
    folder: Path
    opener: str
    limit_s: float
    network: str = DENOISER

    def to_json(self) -> str:
        """Return it as text for another process."""
        plain = asdict(self) | {"bundle": str(self.bundle), "folder": str(self.folder)}
        plain["choice"] = {k: v for k, v in asdict(self.choice).items() if k != "cache"}
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Return the request that another process wrote."""
        plain: Mapping[str, Any] = json.loads(text)
        folder = Path(plain["folder"])
        return cls(
            bundle=Path(plain["bundle"]),
            choice=EngineChoice(**plain["choice"], cache=folder),
            key=key_of(plain["key"]),
            folder=folder,
            opener=plain["opener"],
            limit_s=plain["limit_s"],
            network=plain["network"],
        )


def name_of(opener: Opener) -> str:
    """Return the name by which another process finds a function of a module."""
    return f"{opener.__module__}:{opener.__qualname__}"


def named(name: str) -> Opener:
    """Return the function of a module that has this name."""
    module, _, function = name.partition(":")
    found: Opener = getattr(importlib.import_module(module), function)
    return found


def tried(request: Request, now: Callable[[], datetime]) -> Proof:
    """Open the engine, hold it against its golden vectors, and time it.

    Raises BundleError, and EngineError naming tensor, noise level, error and bound.
    """
    bundle = open_manifest(request.bundle).of(request.network)
    golden = read_golden(bundle)
    device = request.choice.device or "cpu"
    # The context itself counts for nobody: whoever runs on the GPU has one.
    gpu = None if device == "cpu" else Gpu(int(device.partition(":")[2] or 0))
    held_before = gpu.used_bytes() if gpu else 0
    began = time.perf_counter()
    denoiser = named(request.opener)(bundle, request.choice)
    opened_s = time.perf_counter() - began
    error = check(denoiser, golden, str(bundle.golden_path))
    seconds = seconds_a_call(denoiser, golden)
    return Proof(
        key=request.key,
        bundle=bundle.name,
        proven_at=now().isoformat(timespec="seconds"),
        cases=len(golden.sigma),
        error=error,
        bound=bound_of(golden, denoiser.spec.precision),
        seconds=seconds,
        opened_s=opened_s,
        # Linux counts it in KiB.
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
        device_bytes=gpu.used_bytes() - held_before if gpu else 0,
    )


def seconds_a_call(denoiser: Denoiser, golden: Golden) -> Mapping[int, float]:
    """Return the best time of a call for each of the engine's buckets that its memory holds."""
    seconds: dict[int, float] = {}
    for tiles in denoiser.spec.buckets:
        try:
            seconds[tiles] = _best_call(denoiser, golden, tiles)
        except OutOfMemory:
            break
    return seconds


def _best_call(denoiser: Denoiser, golden: Golden, tiles: int) -> float:
    which = np.arange(tiles) % len(golden.sigma)
    x, sigma, condition = golden.x[which], golden.sigma[which], golden.condition[which]
    labels: Array | None = None if golden.labels is None else golden.labels[which]
    # A first call of a size may allocate, compile or record.
    denoiser.denoise(x, sigma, condition, labels)
    best, spent = float("inf"), 0.0
    for _ in range(_TIMES):
        began = time.perf_counter()
        denoiser.denoise(x, sigma, condition, labels)
        took = time.perf_counter() - began
        best, spent = min(best, took), spent + took
        if spent > _TIMING_S:
            break
    return best


def main() -> int:
    """Try what standard input asks for; 0: proven, 1: it failed, 2: it cannot be asked for."""
    request = Request.from_json(sys.stdin.read())
    # Ends this process even inside foreign code, and even where nobody is left to wait for it.
    signal.alarm(max(1, round(request.limit_s)))
    try:
        proof = tried(request, lambda: datetime.now(UTC))
    except DownscaledError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UsageError) else 1
    write_proof(request.folder, proof)
    return 0


if __name__ == "__main__":
    sys.exit(main())
