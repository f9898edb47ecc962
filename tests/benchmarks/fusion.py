"""Measures both ways to blend tiles: `python -m tests.benchmarks fusion`.

The same states that no training saw, the same noise, the same engine: tiles blended when all of
them are drawn, or at every level of the sampler. Seams are measured as `seams` does, the skill
against the fields themselves, and the time state by state, both ways in turn.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import get_args

import numpy as np

from engines.bundle import Bundle, open_manifest
from engines.denoiser import Denoiser
from engines.open import open_bundle
from streamer.archive import read_archive, split_by_day
from streamer.domain import Array
from streamer.downscale.products import physical
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Fusion, Recipe, Work
from streamer.downscale.workload import Workload
from streamer.grib.manifest import read_manifest
from streamer.training_set import interpolated_twin
from streamer.verify.scores import Scorer, area_weights
from tests.benchmarks import seams

WAYS: tuple[Fusion, ...] = get_args(Fusion)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A fine field, (C, H, W), its coarse twin on the fine grid, and what the network is told."""

    name: str
    truth: Array
    twin: Array
    condition: Array


@dataclass(slots=True)
class Found:
    """What one way of blending gave: residuals on the daemon's tiles and on shifted ones."""

    scorers: dict[str, Scorer]
    plain: list[Array] = field(default_factory=list)
    shifted: list[Array] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def run(folder: Path, name: str, count: int = 4, draws: int = 2) -> None:
    """Measure both ways and print them side by side."""
    bundle = open_manifest(name)
    denoiser = open_bundle(bundle)
    rows = area_weights(read_manifest(bundle.grib).grid.latitudes)
    layouts = seams.layouts(bundle)
    found = {
        way: Found({channel: Scorer(rows, draws) for channel in bundle.channels}) for way in WAYS
    }
    for number, state in enumerate(states(folder, bundle, count)):
        # In turn, so that a machine that slows down slows both.
        for way in WAYS if number % 2 == 0 else WAYS[::-1]:
            _measure(found[way], bundle, denoiser, layouts, (state, way, draws))
    _tell(found, bundle, layouts[0], draws)


def states(folder: Path, bundle: Bundle, count: int) -> Iterator[State]:
    """Yield states of the days held back, spread evenly over them."""
    manifest, archive = read_manifest(bundle.grib), read_archive(folder)
    held_back = split_by_day(archive, 2).held_back
    chosen = [held_back[i * len(held_back) // count] for i in range(count)]
    for i in chosen:
        fine = archive.fine[[i]]
        twin = interpolated_twin(fine, archive.grid, manifest.coarse, manifest.interpolation)[0]
        normals = zip(twin, bundle.normalisation, strict=True)
        told = [(channel - n.coarse_mean) / n.coarse_std for channel, n in normals]
        condition = np.concatenate([np.stack(told), bundle.constants]).astype(np.float32)
        yield State(str(archive.keys[i]), fine[0], twin, condition)


def _measure(
    found: Found,
    bundle: Bundle,
    denoiser: Denoiser,
    layouts: tuple[Layout, Layout],
    asked: tuple[State, Fusion, int],
) -> None:
    state, way, draws = asked
    recipes = [Recipe(bundle, layout, bundle.sampler, way) for layout in layouts]
    began = time.perf_counter()
    plain = _residual(recipes[0], denoiser, state, draws)
    found.seconds.append(time.perf_counter() - began)
    found.plain.extend(plain.copy())
    found.shifted.extend(_residual(recipes[1], denoiser, state, draws))
    fine = physical(plain, state.condition, bundle)
    for channel, scorer in enumerate(found.scorers.values()):
        scorer.add(fine[:, channel], state.truth[channel], state.twin[channel])


def _residual(recipe: Recipe, denoiser: Denoiser, state: State, draws: int) -> Array:
    keys = tuple(f"{state.name} draw {draw}".encode() for draw in range(draws))
    workload = Workload()
    workload.add(Work(state.name, recipe, state.condition, keys))
    while (batch := workload.next_batch()) is not None:
        workload.store(batch, denoiser.denoise(*batch.inputs()))
    (finished,) = workload.finished()
    assert finished.residual is not None, finished.fault
    return finished.residual


def _tell(found: dict[Fusion, Found], bundle: Bundle, layout: Layout, draws: int) -> None:
    count = len(found["end"].seconds)
    print(f"{bundle.name}: {count} states of days held back, {draws} draws")
    seconds: dict[Fusion, list[float]] = defaultdict(list)
    for way, one in found.items():
        seconds[way] = one.seconds
        ratio = seams.compare(np.stack(one.plain), np.stack(one.shifted), layout)
        print(f"fusion {way}: seams {ratio}, {median(one.seconds) / draws:.2f} s a draw")
    for way, channel in product(WAYS, bundle.channels):
        score = found[way].scorers[channel].score()
        print(
            f"  {channel}, {way}: CRPS {score.crps:.4f} ({score.gain:.4f} of the baseline's MAE), "
            f"spread/skill {score.spread_skill:.3f}"
        )
    paired = [b / a for a, b in zip(seconds["end"], seconds["level"], strict=True)]
    apart = np.stack(found["level"].plain) - np.stack(found["end"].plain)
    print(
        f"  level over end, time: {min(paired):.3f} to {max(paired):.3f}, median "
        f"{median(paired):.3f}; residuals differ by {float(apart.std()):.4f} (deviation 1)"
    )
