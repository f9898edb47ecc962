"""Draws the seams of blocks beside ours: `python -m tests.benchmarks.seams_picture FOLDER`.

The same state, network and sampler: once on blocks edge to edge whose noise is their own, as
IPSL-AID lays them, once on the daemon's tiles. A seam is a place where neighbouring points of
a draw know nothing of each other: what a draw has beyond the mean of all draws jumps there as far
as between strangers.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from engines.bundle import Bundle, open_manifest
from engines.denoiser import Denoiser
from engines.open import open_bundle
from streamer.domain import Array, Grid, Step
from streamer.downscale.condition import condition
from streamer.downscale.products import physical
from streamer.downscale.tiles import Layout, cut, stitch
from streamer.downscale.work import Recipe, Work, noise_keys
from streamer.downscale.workload import Workload
from streamer.grib.manifest import read_manifest
from streamer.sampling import SamplerWish
from streamer.verify.maps import VALUES_MAP, draw_coasts, draw_map
from tests.benchmarks.seams import held_back, read_steps

#: What stands left and right.
NAMES = "Blocks edge to edge, noise of their own", "Our tiles, blended"

#: Rows that a map is averaged over, so that a line from north to south stands out of chance.
ROWS = 9

Values = NDArray[np.float64]


def layouts(bundle: Bundle) -> tuple[Layout, Layout]:
    """Return blocks of the bundle's own tile size, and the tiles that the daemon uses."""
    return (
        Layout.blocks(bundle.shape, bundle.tile),
        Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic),
    )


def drawn(bundle: Bundle, denoiser: Denoiser, recipe: Recipe, step: Step, draws: int) -> Array:
    """Return draws of a step, (D, C, H, W) in the bundle's units."""
    told, workload = condition(step, bundle), Workload()
    workload.add(Work(step.key, recipe, told, noise_keys(step.key, range(draws))))
    while (batch := workload.next_batch()) is not None:
        workload.store(batch, denoiser.denoise(*batch.inputs()))
    (finished,) = workload.finished()
    assert finished.residual is not None, finished.fault
    return physical(finished.residual, told, bundle)


def jumps(draws: Array, axis: int) -> Values:
    """Return how far neighbours jump, (H, W), of draws (D, C, H, W), -2: south, -1: east.

    The mean square of the difference between a point's deviation from the mean of the draws and
    its neighbour's, over the sum of their variances: 0 where they agree, 1 where each is drawn as
    if the other were not there. The last column's neighbour is the first, the last row has none.
    """
    own = draws.astype(np.float64) - draws.mean(axis=0)
    other = np.roll(own, -1, axis=axis)
    squares = ((own - other) ** 2).sum(axis=(0, 1))
    found: Values = squares / (own**2 + other**2).sum(axis=(0, 1))
    if axis == -2:
        found[-1] = np.nan
    return found


def borders(blocks: Layout, axis: int) -> NDArray[np.bool_]:
    """Return which points, (H, W), have a neighbour in another block, -2: south, -1: east."""
    nothing = np.zeros((1, *blocks.shape), dtype=np.float32)
    owner = stitch([tile + i for i, tile in enumerate(cut(nothing, blocks))], blocks)[0]
    found: NDArray[np.bool_] = owner != np.roll(owner, -1, axis=axis)
    if axis == -2:
        found[-1] = False
    return found


def tell(name: str, draws: Array, blocks: Layout) -> None:
    """Print how far neighbours jump across the borders of blocks, and elsewhere."""
    found = np.stack([jumps(draws, axis) for axis in (-2, -1)])
    at = np.stack([borders(blocks, axis) for axis in (-2, -1)])
    inside = ~at & np.isfinite(found)
    print(
        f"{name}: {found[at].mean():.2f} at borders of blocks, {found[inside].mean():.2f} elsewhere"
    )


def save(both: Sequence[Array], grid: Grid, land: Array, title: str, path: Path) -> None:
    """Draw how far eastern neighbours jump: maps of blocks and tiles, and the means of columns.

    both: draws on blocks and on the daemon's tiles, (D, C, H, W). land: (H, W), its share.
    """
    figure = Figure(figsize=(11.0, 6.0), dpi=80, layout="constrained")
    axes = figure.subplot_mosaic([["left", "right"], ["below", "below"]], height_ratios=[1.2, 1])
    found = [jumps(draws, -1) for draws in both]
    for place, name, values in zip(("left", "right"), NAMES, found, strict=True):
        shown = uniform_filter1d(values, ROWS, axis=0, mode="nearest")
        image = draw_map(axes[place], shown, grid, VALUES_MAP, (0.0, 1.0))
        draw_coasts(axes[place], land, grid)
        axes[place].set_title(name, fontsize=10, loc="left")
        axes["below"].plot(grid.longitudes, values.mean(axis=0), label=name, linewidth=1.2)
    bar = figure.colorbar(image, ax=[axes["left"], axes["right"]], shrink=0.8, pad=0.01)
    bar.set_label("jump to the eastern neighbour\n0: they agree, 1: strangers", fontsize=8)
    axes["below"].set(xlim=(0, 360), ylim=(0, 1.1), xlabel="longitude (degrees east)")
    axes["below"].set_ylabel("mean jump of a column")
    axes["below"].grid(alpha=0.3)
    axes["below"].legend(fontsize=8, loc="lower left")
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """Draw one state of the days that no training saw, and print how far borders stand out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the training days, GRIB 2")
    parser.add_argument("--bundle", default="gfs-wind-4to1")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("docs/pictures/seams.png"))
    told = parser.parse_args()
    bundle = open_manifest(told.bundle)
    chosen = SamplerWish().chosen(bundle)
    bundle = bundle.of(chosen.network)
    denoiser = open_bundle(bundle)
    (step,) = read_steps(held_back(told.folder)[:1], bundle)
    ways = layouts(bundle)
    both = [
        drawn(bundle, denoiser, Recipe(bundle, way, chosen.sampler), step, told.draws)
        for way in ways
    ]
    for name, draws in zip(NAMES, both, strict=True):
        tell(name, draws, ways[0])
    kind = chosen.told(bundle.preconditioning.kind)
    title = (
        f"{bundle.name}, wind at 10 m, {step.key.valid_time:%d %B %Y %H} UTC, "
        f"{told.draws} draws: {kind}"
    )
    land = bundle.constants[bundle.constant_names.index("lsm")]
    save(both, read_manifest(bundle.grib).grid, land, title, told.output)


if __name__ == "__main__":
    main()
