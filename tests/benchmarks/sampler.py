"""Measures the daemon's sampler against the plainest honest loop: `... benchmarks sampler`.

The loop is what a scientist writes: the same network in eager PyTorch with all cores, the same
tiles, draws and levels, Heun's method, noise from PyTorch; nothing is blended, keyed or queued.
It may choose its best: one tile or all tiles of a draw in a call, either layout in memory. The
daemon's side is the engine room with its default engine, from a step's submission to its draws in
physical units. Both in turn, so that a ratio is of neighbours in time.
"""

import os
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from engines import sampler
from engines.bundle import MODEL, Bundle, open_manifest
from streamer.downscale.engine_room import EngineRoom
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Recipe, Work
from streamer.opening import EngineSettings, open_engines

DRAWS, ROUNDS = 4, 3


def run(_: Path, name: str, home: Path) -> None:
    """Measure both sides, in float32 and where the CPU has it in bf16, and print the ratios."""
    bundle = open_manifest(name)
    loop, how = _best_loop(bundle)
    precisions = ["f32", *(["bf16"] if _has_bf16() else [])]
    for precision in precisions:
        settings = EngineSettings(precision=precision, cache=home)  # type: ignore[arg-type]
        engines = open_engines(bundle, settings)
        ratios, ours = [], []
        for _round in range(ROUNDS):
            plain_s, our_s = loop(), _ours(bundle, engines)
            ratios.append(plain_s / our_s)
            ours.append(our_s)
        spec = engines[0].spec
        print(
            f"{DRAWS} draws, {sampler.calls(bundle.sampler)} calls a tile, {spec.backend} "
            f"{precision}: {median(ours):.2f} s; the plain loop ({how}, float32) over it "
            f"{min(ratios):.2f} to {max(ratios):.2f}, median {median(ratios):.2f}",
            flush=True,
        )


def _has_bf16() -> bool:
    return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def _ours(bundle: Bundle, engines: tuple[object, ...]) -> float:
    """Return the seconds of one step through the engine room."""
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic)
    work = Work(
        "step",
        Recipe(bundle, layout, bundle.sampler),
        _told(bundle),
        tuple(f"{draw}".encode() for draw in range(DRAWS)),
    )
    ready = threading.Event()
    room = EngineRoom(engines, ready.set)  # type: ignore[arg-type]
    began = time.perf_counter()
    room.submit(work)
    room.start()
    ready.wait()
    seconds = time.perf_counter() - began
    (result,) = room.finished()
    room.close(60.0)
    if result.draws is None:
        raise SystemExit(result.fault)
    return seconds


def _told(bundle: Bundle) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    rng = np.random.default_rng(0)
    channels = len(bundle.channels) + len(bundle.constants)
    return rng.standard_normal((channels, *bundle.shape), dtype=np.float32)


def _best_loop(bundle: Bundle) -> tuple[Callable[[], float], str]:
    """Return the plain loop in the fastest of its forms, and which that is."""
    import torch  # noqa: PLC0415 - only this benchmark needs it

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    ways = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        for tiles in (1, _tiles(bundle)):
            loop = _loop(bundle, tiles, layout)
            loop(1)
            ways[f"{tiles} tiles a call, {layout}".replace("torch.", "")] = (loop(1), loop)
    how = min(ways, key=lambda way: ways[way][0])
    told = ", ".join(f"{way}: {seconds:.2f} s a draw" for way, (seconds, _) in ways.items())
    print(f"plain loop: {told}", flush=True)
    return lambda: ways[how][1](DRAWS), how


def _tiles(bundle: Bundle) -> int:
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic)
    return len(layout.tiles)


def _loop(bundle: Bundle, tiles: int, memory_format: object) -> Callable[[int], float]:
    """Make the plain loop: so many tiles in a call, for a number of draws; gives its seconds."""
    import torch  # noqa: PLC0415

    from engines.backends.torch_network import load  # noqa: PLC0415
    from engines.networks import build, from_plain  # noqa: PLC0415

    network = build(from_plain(bundle.network, str(bundle.path / MODEL)))
    load(network, bundle)
    network = network.eval().to(memory_format=memory_format)  # type: ignore[call-overload]
    way = [float(level) for level in sampler.levels(bundle.sampler)]
    shape = (tiles, len(bundle.channels), *bundle.tile)
    told = torch.randn(tiles, len(bundle.channels) + len(bundle.constants), *bundle.tile)

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        total = sigma**2 + 1.0
        joined = torch.cat([x, told], dim=1) / total**0.5
        joined = joined.contiguous(memory_format=memory_format)
        raw: torch.Tensor = network(joined, torch.full((tiles,), float(np.log(sigma) / 4.0)))
        denoised: torch.Tensor = x / total + raw * (sigma / total**0.5)
        return denoised

    @torch.inference_mode()
    def loop(draws: int) -> float:
        began = time.perf_counter()
        for _ in range(draws * _tiles(bundle) // tiles):
            x = torch.randn(shape) * way[0]
            for now, after in pairwise(way):
                slope = (x - denoise(x, now)) / now
                trial = x + (after - now) * slope
                if after > 0.0:
                    slope = 0.5 * (slope + (trial - denoise(trial, after)) / after)
                x = x + (after - now) * slope
        return time.perf_counter() - began

    return loop
