"""Measures engines in company: `python -m tests.benchmarks engines`.

One engine of all cores against one engine a core, on the same steps, in turn. With PyTorch
installed, also what one size of call for all (`engine.reproducible`) costs while steps arrive
one by one and all at once.
"""

import importlib.util
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from engines.bundle import Bundle, open_manifest
from engines.denoiser import Denoiser
from streamer.downscale.engine_room import EngineRoom
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Recipe, Work
from streamer.opening import EngineSettings, open_engines

#: Levels are few, since a call costs the same at any of them.
LEVELS = 2
#: What an engine on a GPU takes unless told otherwise.
BATCH = 16


def run(_: Path, name: str, rounds: int = 5, steps: int = 4) -> None:
    """Measure both comparisons and print them."""
    bundle = open_manifest(name)
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        print("skipped: one core cannot be shared out")
    else:
        one = open_engines(bundle, EngineSettings(threads=cores))
        many = open_engines(bundle, EngineSettings(threads=1, engines=cores))
        names = (f"1 engine of {cores} threads", f"{cores} engines of 1 thread")
        sides = [lambda e=e: _seconds(bundle, e, steps) for e in (one, many)]
        _compare(f"{steps} steps of one draw at once, {one[0].spec.backend}", names, sides, rounds)
    if importlib.util.find_spec("torch"):
        _padding(bundle, cores, rounds=max(1, rounds // 2))


def _padding(bundle: Bundle, cores: int, rounds: int) -> None:
    """Compare one size of call for all with the smallest size that fits."""
    engines = open_engines(bundle, EngineSettings("torch", threads=cores, batch=BATCH))
    names = ("reproducible", "not")
    for steps in (1, 4):
        sides = [
            lambda r=reproducible, s=steps: _seconds(bundle, engines, s, reproducible=r)
            for reproducible in (True, False)
        ]
        what = f"{steps} steps of one draw at once, calls of up to {BATCH} tiles, torch"
        _compare(what, names, sides, rounds)


def _seconds(
    bundle: Bundle, engines: Sequence[Denoiser], steps: int, *, reproducible: bool = True
) -> float:
    """Return how long some steps take from the first submission to the last result."""
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic)
    recipe = Recipe(bundle, layout, replace(bundle.sampler, steps=LEVELS))
    channels = len(bundle.channels) + len(bundle.constants)
    rng = np.random.default_rng(0)
    told = rng.standard_normal((channels, *bundle.shape), dtype=np.float32)
    labels = np.zeros(len(bundle.labels), dtype=np.float32) if bundle.labels else None
    ready = threading.Event()
    room = EngineRoom(engines, ready.set, reproducible=reproducible)
    for step in range(steps):
        room.submit(Work(step, recipe, told, (f"{step}".encode(),), labels=labels))
    done = 0
    began = time.perf_counter()
    room.start()
    while done < steps:
        ready.wait()
        ready.clear()
        done += len(room.finished())
    seconds = time.perf_counter() - began
    room.close(60.0)
    return seconds


def _compare(
    what: str, names: tuple[str, str], sides: Sequence[Callable[[], float]], rounds: int
) -> None:
    """Time both sides in turn, after a round that warms them up, and print the paired ratio."""
    found: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            seconds = sides[side]()
            if number:
                found[side].append(seconds)
    ratios = [b / a for a, b in zip(*found, strict=True)]
    print(
        f"{what}: {names[0]} {median(found[0]):.2f} s, {names[1]} {median(found[1]):.2f} s; "
        f"the second over the first {min(ratios):.3f} to {max(ratios):.3f}, "
        f"median {median(ratios):.3f}"
    )
