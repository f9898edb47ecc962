"""Variograms of waves, slopes and noise are those of the book."""

import numpy as np
import pytest

from streamer.domain import Grid
from streamer.verify.variogram import lags, variogram

GLOBE = Grid(88.0, 0.0, 4.0, 4.0, 45, 90)
REGION = Grid(60.0, -10.0, 1.0, 1.0, 24, 40)


def test_lags_are_powers_of_two_up_to_a_quarter_of_the_grid() -> None:
    assert lags(GLOBE).east == (1, 2, 4, 8, 16)
    assert lags(GLOBE).south == (1, 2, 4, 8)


def test_a_wave_round_the_globe_differs_from_itself_as_the_cosine_says() -> None:
    amplitude, number = 3.0, 5
    phase = 2 * np.pi * number * np.arange(90) / 90
    field = np.broadcast_to(amplitude * np.cos(phase + 0.3), GLOBE.shape)

    found = variogram(field, GLOBE)

    angles = 2 * np.pi * number * np.array(lags(GLOBE).east) / 90
    np.testing.assert_allclose(found[:5], amplitude**2 / 2 * (1 - np.cos(angles)), rtol=1e-12)
    np.testing.assert_allclose(found[5:], 0.0, atol=1e-20)


def test_a_slope_differs_by_half_the_square_of_its_rise() -> None:
    field = np.broadcast_to(0.5 * np.arange(24.0)[:, None], REGION.shape)

    found = variogram(field, REGION)

    east, south = len(lags(REGION).east), np.array(lags(REGION).south)
    np.testing.assert_allclose(found[:east], 0.0, atol=1e-20)
    np.testing.assert_allclose(found[east:], (0.5 * south) ** 2 / 2, rtol=1e-12)


@pytest.mark.parametrize("grid", [GLOBE, REGION])
def test_noise_differs_by_its_variance_however_far_apart(grid: Grid) -> None:
    fields = np.random.default_rng(0).normal(10.0, 2.0, (40, *grid.shape))

    np.testing.assert_allclose(variogram(fields, grid), 4.0, rtol=0.05)


def test_draws_count_alike() -> None:
    fields = np.random.default_rng(1).normal(size=(2, *REGION.shape))

    both = (variogram(fields[0], REGION) + variogram(fields[1], REGION)) / 2

    np.testing.assert_allclose(variogram(fields, REGION), both, rtol=1e-12)
