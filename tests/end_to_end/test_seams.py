"""Borders between tiles cannot be told from the sea around them."""

from pathlib import Path

import numpy as np
import pytest

from engines.bundle import open_manifest, shipped_names
from engines.open import open_bundle
from streamer.domain import Array
from streamer.downscale.tiles import Layout, cut, stitch
from streamer.sampling import SamplerChoice
from tests.benchmarks.seams import compare, held_back, layouts, measure, read_steps
from tests.conftest import skip_at_a_desk
from tests.streamer.downscale.small import bundle_of

BUNDLE = "gfs-wind-4to1"
SHAPE = (181, 360)
PLAIN, SHIFTED = layouts(bundle_of(shape=SHAPE, tile=(96, 144), overlap=(8, 16)))


def smooth_fields(seed: int, count: int = 2) -> Array:
    """White noise, of which each point is averaged with its neighbours."""
    noise = np.random.default_rng(seed).standard_normal((count, 2, *SHAPE))
    for axis in (-2, -1):
        noise = np.sum([np.roll(noise, i, axis) for i in range(-2, 3)], axis=0) / 5**0.5
    return np.asarray(noise, dtype=np.float32)


def tilewise(whole: Array, layout: Layout, bias: float) -> Array:
    """Blend tiles that all agree but for a bias of their own, different from tile to tile."""
    rng = np.random.default_rng(9)
    made = []
    for field in whole:
        tiles = [tile + bias * rng.standard_normal() for tile in cut(field, layout)]
        made.append(stitch([np.asarray(t, dtype=np.float32) for t in tiles], layout))
    return np.stack(made)


def test_the_measure_is_one_where_tiles_agree() -> None:
    whole = smooth_fields(1)

    found = compare(tilewise(whole, PLAIN, 0.0), tilewise(whole, SHIFTED, 0.0), PLAIN)

    assert found.value == pytest.approx(1.0, abs=1e-4)


def test_the_measure_finds_seams_where_tiles_without_overlap_disagree() -> None:
    whole = smooth_fields(1)
    hard, moved = layouts(bundle_of(shape=SHAPE, tile=(91, 120), overlap=(0, 0)))

    found = compare(tilewise(whole, hard, 1.0), tilewise(whole, moved, 1.0), hard)

    assert found.low > 1.1
    assert not found.is_seamless


def test_the_measure_finds_seams_that_the_eye_would_miss() -> None:
    whole = smooth_fields(1, count=8)
    hard, moved = layouts(bundle_of(shape=SHAPE, tile=(91, 120), overlap=(0, 0)))

    assert not compare(tilewise(whole, hard, 0.25), tilewise(whole, moved, 0.25), hard).is_seamless


@pytest.mark.slow
def test_the_wind_bundle_leaves_no_seams_on_a_day_that_it_never_saw(shared_data: Path) -> None:
    if BUNDLE not in shipped_names():
        skip_at_a_desk(f"the bundle {BUNDLE} does not ship yet")
    bundle = open_manifest(BUNDLE)
    # Two states of the eight, far apart, so that the test is short.
    paths = held_back(shared_data / "gfs-wind-1deg" / "train")[1::4]
    # As the daemon draws where nothing is said; the whole figure is `tests.benchmarks.seams`'.
    way = SamplerChoice().chosen(bundle)
    bundle = bundle.of(way.network)

    found = measure(bundle, open_bundle(bundle), way.sampler, read_steps(paths, bundle), draws=1)

    assert found.is_seamless, f"ratio {found}"
    # Versions of a draw that differ are smoothed where they are blended; more would be seen.
    assert found.everywhere == pytest.approx(1.0, abs=0.05)
