"""Clocks and ceilings of a device."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

#: A measurement ends after so many seconds, but not before so many repeats, or above so many.
ENOUGH_S, LEAST, MOST = 0.2, 3, 30


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one call: the best and the middle of several."""

    best_ms: float
    median_ms: float
    repeats: int


def timed(work: Callable[[], object], device: torch.device, warm_ups: int = 2) -> Timing:
    """Return how long `work` takes on the device, by its own clock, from first to last kernel."""
    for _ in range(warm_ups):
        work()
    found: list[float] = []
    wait(device)
    started = time.perf_counter()
    while len(found) < LEAST or (time.perf_counter() - started < ENOUGH_S and len(found) < MOST):
        found.append(_once(work, device))
    return Timing(min(found), statistics.median(found), len(found))


def timed_on_host(work: Callable[[], object], device: torch.device) -> Timing:
    """Return how long `work` takes by the host's clock, copies to and fro included."""
    once_on_host(work, device)
    found: list[float] = []
    while len(found) < LEAST or (sum(found) < 1e3 * ENOUGH_S and len(found) < MOST):
        found.append(once_on_host(work, device))
    return Timing(min(found), statistics.median(found), len(found))


def once_on_host(work: Callable[[], object], device: torch.device) -> float:
    """Return the milliseconds of one `work`, without a warm-up."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return 1e3 * (time.perf_counter() - started)


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _once(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - started)
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    before.record()
    work()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after))


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the device can do at most: FLOP/s of a large matrix product by precision, bytes/s."""

    flops: dict[str, float]
    bandwidth: float


def ceilings(device: torch.device, side: int, copied_bytes: int) -> Ceilings:
    """Measure both on random numbers, which heat as real ones do."""
    flops = {}
    for name, dtype in (
        ("f32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)
    ):  # fmt: skip
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        product = torch.empty_like(a)
        best = timed(partial(torch.mm, a, b, out=product), device).best_ms
        flops[name] = 2.0 * side**3 / (best / 1e3)
        del a, b, product
    source = torch.randn(copied_bytes // 4, device=device)
    target = torch.empty_like(source)
    best = timed(lambda: target.copy_(source), device).best_ms
    return Ceilings(flops, 2.0 * copied_bytes / (best / 1e3))
