"""Resizing: against torch, whose operator it repeats, and against closed forms."""

import numpy as np
import pytest
import torch

from streamer.domain import Array
from streamer.grib.resize import resize, weights

#: IPSL-AID's globe both ways, a shrinking and a growing of odd ratios, and both at once.
SHAPES = [
    ((721, 1440), (80, 128)),
    ((80, 128), (721, 1440)),
    ((31, 48), (31, 7)),
    ((7, 9), (20, 11)),
    ((19, 36), (40, 5)),
]


def field(shape: tuple[int, int]) -> Array:
    return np.random.default_rng(3).normal(280.0, 20.0, shape).astype(np.float32)


def by_torch(values: Array, shape: tuple[int, int], dtype: torch.dtype) -> Array:
    found = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None].to(dtype),
        size=shape,
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return np.asarray(found[0, 0].numpy(), dtype=np.float32)


@pytest.mark.parametrize(("shape", "wanted"), SHAPES)
def test_it_is_what_torch_does(shape: tuple[int, int], wanted: tuple[int, int]) -> None:
    values = field(shape)

    found = resize(values, wanted)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_torch(values, wanted, torch.float64), rtol=2e-7)
    # Torch's own rounding of places, in single precision, moves noise by as much on 1440 columns.
    np.testing.assert_allclose(found, by_torch(values, wanted, torch.float32), rtol=4e-6)


def test_on_a_smooth_globe_torch_in_single_precision_agrees_to_one_in_a_million() -> None:
    rows, columns = np.mgrid[0:721, 0:1440]
    smooth = 280 + 20 * np.cos(rows * np.pi / 720) * np.cos(columns * np.pi / 180)
    values = smooth.astype(np.float32)

    down = resize(values, (80, 128))
    up = resize(down, (721, 1440))

    there = by_torch(values, (80, 128), torch.float32)
    np.testing.assert_allclose(down, there, rtol=1e-6)
    np.testing.assert_allclose(up, by_torch(there, (721, 1440), torch.float32), rtol=1e-6)


@pytest.mark.parametrize(("points", "wanted"), [(721, 80), (1440, 128), (128, 1440), (5, 5)])
def test_weights_are_shares_and_both_ends_are_treated_alike(points: int, wanted: int) -> None:
    found = weights(points, wanted).toarray()

    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-14)
    np.testing.assert_allclose(found, found[::-1, ::-1], atol=1e-12)


def test_the_same_size_changes_nothing() -> None:
    values = field((6, 8))

    np.testing.assert_array_equal(resize(values, (6, 8)), values)


@pytest.mark.parametrize(("shape", "wanted"), SHAPES)
def test_a_constant_stays_constant_and_nothing_leaves_the_range(
    shape: tuple[int, int], wanted: tuple[int, int]
) -> None:
    rain = np.random.default_rng(4).gamma(0.1, 1.0, shape).astype(np.float32)

    found = resize(rain, wanted)

    np.testing.assert_allclose(resize(np.full(shape, 7.3), wanted), 7.3, rtol=1e-6)
    assert rain.min() <= found.min() <= found.max() <= rain.max()


def test_a_slope_stays_a_slope_away_from_the_edges() -> None:
    """A triangle is even, so a straight line goes through it unchanged: the box's middle."""
    line = np.arange(90.0)[:, None] + 0.5

    found = resize(np.tile(line, 3), (10, 3))

    np.testing.assert_allclose(found[1:-1, 0], np.arange(9.0, 81.0, 9.0) + 4.5, rtol=1e-6)


def test_the_two_directions_do_not_mix() -> None:
    """The resize of a product of a column and a row is the product of their resizes."""
    down, along = field((30, 1)), field((1, 40))

    whole = resize(down * along, (7, 50))

    parts = resize(down, (7, 1)) * resize(along, (1, 50))
    np.testing.assert_allclose(whole, parts, rtol=1e-6)
