"""The ways to run a network on a device, each timed for every size of batch."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.backends import device_heun
from engines.backends.device_heun import preconditioned
from engines.backends.recording import Recorded
from engines.backends.torch import TorchDenoiser, TorchSettings
from engines.backends.torch_network import DTYPES, prepared
from engines.denoiser import Array
from engines.precondition import sigma_range
from engines.sampler import calls, levels
from tests.benchmarks.gpu_bench import Bench, Subject
from tests.benchmarks.gpu_cases import DISTINCT, Case
from tests.benchmarks.gpu_limits import work
from tests.benchmarks.gpu_timing import Timing, once_on_host, timed, timed_on_host, wait

#: Float32 of a wide network is measured up to this batch, and whole runs of it up to that one.
COSTLY_F32, COSTLY_RUN = 4, 16
#: What `torch.compile` is tried with, since each size takes it a while, the longest while,
#: and seconds to leave.
COMPILED, LONGEST_S, SPARE_S = 16, 100.0, 15.0
PROFILED = 8

Trial = tuple[Timing, Array | None]


def measure(bench: Bench, case: Case) -> None:
    """Measure every way but the compiled ones."""
    subject = Subject(bench, case, work(case, bench.device), _wanted(bench, case))
    bench.note("work", network=case.name, flops=subject.work.flops)
    for precision in ("f32", "fp16", "bf16"):
        _eager(subject, "eager", precision, plain)
        _eager(subject, "eager, channels last", precision, prepared)
    if bench.device.type == "cuda":
        for precision in ("f32", "fp16", "bf16"):
            _graph(subject, "graph", precision, prepared(case.make(), *_how(subject, precision)))
            _run_graph(subject, precision)
    for precision in ("f32", "fp16"):
        _from_host(subject, precision)


def plain(network: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """Return the network as anyone would have it: rows first, norms in half precision too."""
    network = network.eval().requires_grad_(requires_grad=False).to(device)
    if dtype != torch.float32:
        for name, module in network.named_modules():
            if not name.startswith("map_") and list(module.parameters(recurse=False)):
                module.to(dtype)
            for key, buffer in module.named_buffers(recurse=False):
                if not name.startswith("map_"):
                    setattr(module, key, buffer.to(dtype))
    return network


def _wanted(bench: Bench, case: Case) -> Array:
    """Return what eager float32 answers, tile by tile."""
    network = plain(case.make(), torch.float32, bench.device)
    denoise = preconditioned(network, torch.float32, case.around.kind)
    tensors = case.tensors(min(DISTINCT, max(bench.batches)), bench.device)
    with torch.no_grad():
        parts = [
            denoise(*_four([t[i : i + 1] for t in tensors])).cpu().numpy()
            for i in range(len(tensors[0]))
        ]
    return np.concatenate(parts)


def _eager(
    subject: Subject,
    way: str,
    precision: str,
    make: Callable[[nn.Module, torch.dtype, torch.device], nn.Module],
) -> None:
    case, device, dtype = subject.case, subject.bench.device, DTYPES[precision]
    denoise = preconditioned(make(case.make(), dtype, device), dtype, case.around.kind)

    def trial(batch: int) -> Trial:
        tensors = _four(case.tensors(batch, device))
        with torch.no_grad():
            answer = denoise(*tensors)[:DISTINCT].cpu().numpy()
            return timed(lambda: denoise(*tensors), device), answer

    for batch in _sizes(subject, precision):
        subject.one(way, precision, batch, partial(trial, batch))


def _how(subject: Subject, precision: str) -> tuple[torch.dtype, torch.device]:
    return DTYPES[precision], subject.bench.device


def _graph(
    subject: Subject,
    way: str,
    precision: str,
    network: Callable[..., Tensor],
    batches: Iterable[int] | None = None,
) -> None:
    """Time the replay of a recorded call."""
    case, (dtype, device) = subject.case, _how(subject, precision)
    denoise = preconditioned(network, dtype, case.around.kind)

    def call(x: Tensor, factors: Tensor, condition: Tensor, *labels: Tensor) -> Tensor:
        return denoise(x, factors, condition, *(labels or (None,)))

    for batch in batches or _sizes(subject, precision):
        arrays = [tensor.numpy() for tensor in case.tensors(batch, torch.device("cpu"))]
        subject.one(way, precision, batch, partial(_recorded, call, arrays, device))


def _run_graph(subject: Subject, precision: str) -> None:
    """Time the replay of a whole run of the sampler, as `sample` has it."""
    case, device, dtype = subject.case, subject.bench.device, DTYPES[precision]
    network = prepared(case.make(), dtype, device)
    denoise = preconditioned(network, dtype, case.around.kind)
    schedule = levels(case.sampler, sigma_range(case.around.kind))
    fixed = [schedule[:1].astype(np.float32)]
    fixed += [device_heun.table(case.sampler, schedule, case.around)]

    def run(noise: Tensor, condition: Tensor, *rest: Tensor) -> Tensor:
        *labels, start, way = rest

        def at_level(x: Tensor, factors: Tensor) -> Tensor:
            return denoise(x, factors, condition, *(labels or (None,)))

        return device_heun.heun(at_level, noise[None], start, way)

    many = calls(case.sampler, case.around.kind)
    for batch in _sizes(subject, precision):
        if not case.costly or batch <= (2 if precision == "f32" else COSTLY_RUN):
            x, _, condition, labels = case.arrays(batch)
            arrays = [x, condition] + ([] if labels is None else [labels]) + fixed
            trial = partial(_recorded, run, arrays, device, is_denoised=False)
            subject.one(f"graph of {many} calls", precision, batch, trial, many)


def _recorded(
    function: Callable[..., Tensor],
    arrays: list[Array],
    device: torch.device,
    *,
    is_denoised: bool = True,
) -> Trial:
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    graph = Recorded(function, arrays, stream, torch.cuda.graph_pool_handle())
    answer = graph(arrays)
    with torch.cuda.stream(stream):
        return timed(graph.replay, device), answer if is_denoised else None


def _from_host(subject: Subject, precision: str) -> None:
    """Time what a caller with arrays on the host sees, copies to and fro included."""
    case, device = subject.case, subject.bench.device
    many = calls(case.sampler, case.around.kind)
    for batch in _sizes(subject, precision):
        if case.costly and batch > (2 if precision == "f32" else COSTLY_RUN):
            continue
        settings = TorchSettings(precision, str(device), (batch,))
        engine = TorchDenoiser(case.make(), case.shape, case.around, settings)
        x, sigma, condition, labels = case.arrays(batch)
        denoise = partial(engine.denoise, x, sigma, condition, labels)
        sample = partial(engine.sample, x[None], case.sampler, condition, labels)

        def trial(work: Callable[[], Array]) -> Trial:
            return timed_on_host(work, device), None

        subject.one("denoise from the host", precision, batch, partial(trial, denoise))
        subject.one("sample from the host", precision, batch, partial(trial, sample), many)


def measure_compiled(bench: Bench, case: Case) -> None:
    """Measure `torch.compile`, within the time that is left, eager and recorded."""
    batch, limit_s = COMPILED, min(LONGEST_S, bench.left_s() - SPARE_S)
    named = {"network": case.name, "way": "compiled", "precision": "fp16", "batch": batch}
    if limit_s < 5.0:
        bench.note("left out", **named, why="no time was left")
        return
    subject = Subject(bench, case, work(case, bench.device), _wanted(bench, case))
    network = prepared(case.make(), torch.float16, bench.device)
    compiled = torch.compile(network, dynamic=False)
    denoise = preconditioned(compiled, torch.float16, case.around.kind)
    tensors = _four(case.tensors(batch, bench.device))
    try:
        with _no_longer_than(limit_s), torch.no_grad():
            ms = once_on_host(lambda: denoise(*tensors), bench.device)
    except (TimeoutError, RuntimeError) as error:
        why = f"compiling ended after at most {limit_s:.0f} s: {type(error).__name__}: {error}"
        bench.note("left out", **named, why=why[:400])
        return
    bench.note("compiled", **named, seconds=ms / 1e3)

    def trial() -> Trial:
        with torch.no_grad():
            answer = denoise(*tensors)[:DISTINCT].cpu().numpy()
            return timed(lambda: denoise(*tensors), bench.device), answer

    subject.one("compiled", "fp16", batch, trial)
    if bench.device.type == "cuda":
        _graph(subject, "compiled, graph", "fp16", compiled, [batch])


def profile(bench: Bench, case: Case, folder: Path) -> None:
    """Write which kernels take the time of a call in fp16."""
    network = prepared(case.make(), torch.float16, bench.device)
    denoise = preconditioned(network, torch.float16, case.around.kind)
    tensors = _four(case.tensors(min(PROFILED, max(bench.batches)), bench.device))
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.no_grad():
        denoise(*tensors)
        with torch.profiler.profile(activities=activities) as profiler:
            denoise(*tensors)
            wait(bench.device)
    table = profiler.key_averages().table(
        sort_by="self_device_time_total", row_limit=25, max_name_column_width=90
    )
    (folder / f"profile-{case.name}.txt").write_text(table, encoding="utf-8")


def _sizes(subject: Subject, precision: str) -> Iterator[int]:
    for batch in subject.bench.batches:
        if subject.case.costly and precision == "f32" and batch > COSTLY_F32:
            return
        yield batch


def _four(tensors: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    x, factors, condition, *labels = tensors
    return x, factors, condition, labels[0] if labels else None


@contextmanager
def _no_longer_than(limit_s: float) -> Iterator[None]:
    """Raise TimeoutError in the block after so many seconds."""

    def stop(_number: int, _frame: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
