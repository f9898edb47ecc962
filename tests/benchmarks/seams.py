"""Measures whether the borders between tiles can be seen: `python -m tests.benchmarks.seams`.

Jumps across a layout's borders are compared with the jumps across the lines beside them, and
the same is done with the same noise over the same state on a second layout, with tiles shifted by
half a tile, so that what the Earth does there (a coast, the tropics) counts for nothing: a ratio
above 1 is a seam. Lines beside, because tiles smooth a little where they are blended, over whole
regions, and that is no border: it is told apart, as the jumps of all lines of the two layouts.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engines.bundle import Bundle, open_manifest
from engines.denoiser import Denoiser
from engines.open import open_bundle
from engines.sampler import Sampler, calls
from streamer.domain import Array, Field, Step
from streamer.downscale.axes import Axis
from streamer.downscale.condition import condition
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Recipe, Work, noise_keys
from streamer.downscale.workload import Workload
from streamer.grib.decode import decode
from streamer.grib.manifest import read_manifest
from streamer.grib.wants import Wants
from streamer.sampling import SamplerWish

#: Units of the interval that the borders of one direction make: two versions of a draw differ
#: in strength over whole regions, so that points nearby tell the same once more.
PARTS = 2
#: How far from a border the lines lie that it is compared with: further than a kernel's edge
#: reaches, nearer than the weather changes.
BESIDE = range(3, 8)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Jumps at borders over jumps without; low, high: its 95 % interval over parts of borders.

    everywhere: all jumps of the layout over all of the shifted one, which blends other regions.
    """

    value: float
    low: float
    high: float
    everywhere: float

    @property
    def is_seamless(self) -> bool:
        """Within 1 % of one, or not to be told from it."""
        return abs(self.value - 1.0) <= 0.01 or self.low <= 1.0 <= self.high

    def __str__(self) -> str:
        """Name the figure as tables do."""
        figure = f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"
        return f"{figure}, everywhere {self.everywhere:.4f}"


def compare(plain: Array, shifted: Array, layout: Layout) -> Ratio:
    """Compare jumps of two versions of the same residuals, (N, C, H, W), at `layout`'s borders."""
    pairs = zip(plain, shifted, strict=True)
    units = np.array([unit for one, other in pairs for unit in _units(one, other, layout)])
    total = units.sum(axis=0)
    value = total[0] / total[1]
    # Delete one unit at a time: the interval of a ratio of sums (Tukey's jackknife).
    without = (total[0] - units[:, 0]) / (total[1] - units[:, 1])
    spread = np.sqrt((len(units) - 1) * np.mean((without - without.mean()) ** 2))
    reach = float(stats.t.ppf(0.975, len(units) - 1) * spread)
    everywhere = _roughness(plain) / _roughness(shifted)
    return Ratio(float(value), float(value) - reach, float(value) + reach, everywhere)


def layouts(bundle: Bundle) -> tuple[Layout, Layout]:
    """Return the layout that the daemon uses, and the same shifted by half a tile."""
    half = bundle.tile[0] // 2, bundle.tile[1] // 2
    plain, shifted = (
        Layout.cover(
            bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic, offset=offset
        )
        for offset in ((0, 0), half)
    )
    return plain, shifted


def residuals(
    denoiser: Denoiser, recipe: Recipe, steps: Sequence[Step], draws: int
) -> NDArray[np.float32]:
    """Draw the residuals of some steps, (steps * draws, C, H, W)."""
    workload = Workload()
    for step in steps:
        told = condition(step, recipe.bundle)
        workload.add(Work(step.key, recipe, told, noise_keys(step.key, range(draws))))
    while (batch := workload.next_batch()) is not None:
        workload.store(batch, denoiser.denoise(*batch.inputs()))
    drawn = {finished.work.key: finished.residual for finished in workload.finished()}
    return np.concatenate([residual for s in steps if (residual := drawn[s.key]) is not None])


def read_steps(paths: Sequence[Path], bundle: Bundle) -> list[Step]:
    """Read each file's fields as one step, through the daemon's own decoder."""
    wants = Wants(read_manifest(bundle.grib))
    steps = []
    for path in paths:
        found = [f for f in decode(path.read_bytes(), wants, "") if isinstance(f, Field)]
        time = found[0].key.run.reference_time
        steps.append(Step(found[0].key, tuple(found), (), time, time))
    return steps


def held_back(folder: Path, days: int = 2) -> list[Path]:
    """Return the analyses of the last days of a training folder, which no training saw."""
    # Names end in YYYYMMDDHH, and in f3 behind it for forecasts of three hours.
    paths = sorted(folder.glob("*[0-9].grib2"))
    last = sorted({path.stem[-10:-2] for path in paths})[-days:]
    return [path for path in paths if path.stem[-10:-2] in last]


def measure(
    bundle: Bundle, denoiser: Denoiser, settings: Sampler, steps: Sequence[Step], draws: int
) -> Ratio:
    """Draw all steps on both layouts and compare."""
    plain, shifted = (
        residuals(denoiser, Recipe(bundle, layout, settings), steps, draws)
        for layout in layouts(bundle)
    )
    return compare(plain, shifted, layouts(bundle)[0])


def _roughness(drawn: Array) -> float:
    return float(sum(np.abs(np.diff(drawn, axis=axis)).mean() for axis in (-2, -1)))


def _units(one: Array, other: Array, layout: Layout) -> Iterator[tuple[float, float]]:
    """Yield (jumps at a border, the same without border), summed over each part of it."""
    for axis, way in ((-2, layout.rows), (-1, layout.columns)):
        jumps = [np.abs(x - np.roll(x, 1, axis)).sum(0) for x in (one, other)]
        for at in (borders := _borders(way)):
            beside = _beside(at, borders, way.length)
            mine, others = (_parts(jump, axis, [at]) for jump in jumps)
            mine_beside, others_beside = (_parts(jump, axis, beside) for jump in jumps)
            yield from zip(mine, mine_beside * others / others_beside, strict=True)


def _parts(jumps: Array, axis: int, lines: Sequence[int]) -> NDArray[np.float64]:
    """Return the mean of some lines' jumps, (H, W), along each part of them."""
    along = jumps.take(lines, axis).mean(axis, dtype=np.float64)
    return np.array([part.sum() for part in np.array_split(along, PARTS)])


def _beside(border: int, borders: Sequence[int], length: int) -> list[int]:
    """Return the lines about a border that are none themselves, round the date line too."""
    reached = [(border + way * far) % length for far in BESIDE for way in (-1, 1)]
    return [line for line in reached if line not in borders]


def _borders(axis: Axis) -> list[int]:
    """Return points with a border just before them: tiles' edges and the middles of overlaps."""
    stops = [start + axis.size for start in axis.starts]
    following = [*axis.starts[1:], axis.starts[0] + axis.length]
    middles = [(a + b) // 2 for a, b in zip(stops, following, strict=True) if a > b]
    inner = {point % axis.length for point in (*axis.starts, *stops, *middles)}
    # Row 0 and column 0 follow nothing, or what lies across the date line.
    is_round = len(axis.starts) > 1 and stops[-1] > axis.length
    return sorted(point for point in inner if point > 0 or is_round)


def main() -> None:
    """Print the figure for the shipped wind bundle over the held-back days."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the training days, GRIB 2")
    parser.add_argument("--bundle", default="gfs-wind-4to1")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--profile", help="of the table; by default as the daemon draws")
    chosen = parser.parse_args()
    bundle = open_manifest(chosen.bundle)
    way = SamplerWish(profile=chosen.profile).chosen(bundle)
    bundle = bundle.of(way.network)
    steps = read_steps(held_back(chosen.folder), bundle)
    found = measure(bundle, open_bundle(bundle), way.sampler, steps, chosen.draws)
    made = calls(way.sampler, bundle.preconditioning.kind)
    print(f"{len(steps)} states, {chosen.draws} draws, {made} calls: ratio {found}")


if __name__ == "__main__":
    main()
