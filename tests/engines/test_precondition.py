"""The scalings keep the network's input and target at unit variance, whatever the level."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.denoiser import Array, GaussianDenoiser
from engines.errors import BundleError
from engines.manifest import Preconditioning
from engines.precondition import (
    KINDS,
    coefficients,
    edm,
    network_inputs,
    network_output,
    sigma_range,
)

SIGMA = st.floats(1e-3, 1e3)
SIGMA_DATA = st.floats(0.05, 20.0)


@given(SIGMA, SIGMA_DATA)
def test_the_network_sees_and_is_asked_for_numbers_of_unit_variance(
    sigma: float, sigma_data: float
) -> None:
    c = edm(np.array([sigma]), sigma_data)

    input_variance = c.c_in[0] ** 2 * (sigma_data**2 + sigma**2)
    # The target is (clean - c_skip (clean + sigma noise)) / c_out.
    asked = (1.0 - float(c.c_skip[0])) ** 2 * sigma_data**2 + (float(c.c_skip[0]) * sigma) ** 2
    assert input_variance == pytest.approx(1.0, rel=1e-5)
    # At the lowest levels 1 - c_skip has few digits left in float32.
    assert asked == pytest.approx(float(c.c_out[0]) ** 2, rel=2e-2)


@given(SIGMA, SIGMA_DATA)
def test_a_silent_network_gives_the_best_answer_for_gaussian_data(
    sigma: float, sigma_data: float
) -> None:
    c = edm(np.array([sigma]), sigma_data)

    assert c.c_skip[0] == pytest.approx(sigma_data**2 / (sigma_data**2 + sigma**2), rel=1e-6)


def test_c_noise_is_a_quarter_of_the_logarithm() -> None:
    c = edm(np.array([1.0, np.exp(2.0)]), 1.0)

    assert c.c_noise.tolist() == pytest.approx([0.0, 0.5], abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_levels_of_one_batch_do_not_touch_each_other(kind: str) -> None:
    levels = np.array([0.02, 1.0, 80.0], dtype=np.float32)

    together = coefficients(kind, levels, 0.5)

    for i, level in enumerate(levels):
        alone = coefficients(kind, np.array([level]), 0.5)
        assert [factor[i] for factor in together] == [factor[0] for factor in alone]
        assert all(factor.dtype == np.float32 for factor in together)


def test_the_variance_exploding_kind_adds_what_the_network_gives_times_sigma() -> None:
    c = coefficients("ve", np.array([0.02, 2.0, 100.0]), 0.3)

    assert c.c_skip.tolist() == c.c_in.tolist() == [1.0, 1.0, 1.0]
    assert c.c_out.tolist() == pytest.approx([0.02, 2.0, 100.0])
    assert c.c_noise.tolist() == pytest.approx([math.log(0.01), 0.0, math.log(50.0)])


@given(st.floats(1e-5, 1.0))
def test_the_variance_preserving_kind_finds_the_time_of_its_noise(time: float) -> None:
    sigma = noise_at(time)

    c = coefficients("vp", np.array([sigma]), 0.3)

    assert (c.c_skip[0], c.c_out[0]) == (1.0, pytest.approx(-sigma))
    assert c.c_in[0] == pytest.approx(1 / math.sqrt(1 + sigma**2))
    # 1 + s^2 has 7 digits, which is all that is known of s^2 itself.
    assert c.c_noise[0] == pytest.approx(999 * time, rel=1e-5, abs=999 * 2e-6)


def noise_at(time: float) -> float:
    """Return s(t) of the variance-preserving kind, in double precision."""
    return math.sqrt(math.expm1(19.9 * time**2 / 2 + 0.1 * time))


def test_times_are_reckoned_in_float32_as_the_networks_were_trained() -> None:
    sigma = np.float32(0.02)

    found = coefficients("vp", np.array([sigma]), 1.0).c_noise[0]

    inside = np.float32(1) + sigma * sigma
    log = np.float32(math.log(inside))
    root = np.sqrt(np.float32(0.01) + np.float32(39.8) * log)
    assert found == np.float32(999) * ((root - np.float32(0.1)) / np.float32(19.9))


def test_kinds_know_their_range() -> None:
    assert sigma_range("edm") == sigma_range("corrdiff") == sigma_range("direct") == (0.0, math.inf)
    assert sigma_range("ve") == (0.02, 100.0)
    low, high = sigma_range("vp")
    assert low == pytest.approx(noise_at(1e-5), rel=0.03)
    assert high == pytest.approx(noise_at(1.0))


def exact_network(kind: str, deviation: float, joined: Array, c_noise: Array) -> Array:
    """Return F for a residual that is N(0, deviation^2), knowing only what a network is given."""
    x = joined[:, :2].astype(np.float64)
    level: NDArray[np.float64] = c_noise.astype(np.float64)[:, None, None, None]
    if kind in ("edm", "corrdiff"):
        s = np.exp(4 * level)
        x, skip = x * np.sqrt(s**2 + 1), 1 / (s**2 + 1)
        out = s / np.sqrt(s**2 + 1)
    elif kind == "ve":
        s = 2 * np.exp(level)
        skip, out = np.ones_like(s), s
    else:
        time = level / 999
        s = np.sqrt(np.expm1(19.9 * time**2 / 2 + 0.1 * time))
        x, skip, out = x * np.sqrt(s**2 + 1), np.ones_like(s), -s
    clean = x * deviation**2 / (deviation**2 + s**2)
    return np.asarray((clean - skip * x) / out, dtype=np.float32)


@pytest.mark.parametrize("kind", ["edm", "corrdiff", "ve", "vp"])
def test_around_an_exact_network_stands_the_exact_denoiser(kind: str) -> None:
    rng = np.random.default_rng(3)
    sigma = np.array([0.05, 0.6, 6.0, 60.0], dtype=np.float32)
    x = rng.standard_normal((4, 2, 3, 5), dtype=np.float32) * sigma[:, None, None, None]
    condition = rng.standard_normal((4, 3, 3, 5), dtype=np.float32)
    around = Preconditioning(kind, 1.0)

    joined, c_noise = network_inputs(around, x, sigma, condition)
    found = network_output(around, x, sigma, exact_network(kind, 0.5, joined, c_noise))

    wanted = GaussianDenoiser(deviation=0.5).denoise(x, sigma, condition)
    # At the highest levels x and what is taken from it are a thousand times their difference.
    assert np.abs(found - wanted).max() <= 1e-5 + 1e-6 * np.abs(x).max()
    assert found.dtype == np.float32


@pytest.mark.parametrize("kind", ["edm", "ve", "vp"])
def test_the_condition_is_scaled_like_the_noisy_residual(kind: str) -> None:
    sigma = np.array([0.1, 30.0], dtype=np.float32)
    x, condition = np.ones((2, 2, 3, 4), np.float32), np.full((2, 3, 3, 4), 2.0, np.float32)

    joined, c_noise = network_inputs(Preconditioning(kind, 0.5), x, sigma, condition)

    c = coefficients(kind, sigma, 0.5)
    assert joined.shape == (2, 5, 3, 4)
    for i in range(2):
        assert joined[i, :2] == pytest.approx(np.full((2, 3, 4), c.c_in[i]))
        assert joined[i, 2:] == pytest.approx(np.full((3, 3, 4), 2 * c.c_in[i]))
    assert c_noise.tolist() == c.c_noise.tolist()


def test_corrdiff_is_edm_that_is_told_the_condition_as_it_is() -> None:
    sigma = np.array([0.1, 30.0], dtype=np.float32)
    x, condition = np.ones((2, 2, 3, 4), np.float32), np.full((2, 3, 3, 4), 2.0, np.float32)

    joined, _ = network_inputs(Preconditioning("corrdiff", 0.5), x, sigma, condition)

    plain = coefficients("edm", sigma, 0.5)
    assert joined[:, 0, 0, 0].tolist() == plain.c_in.tolist()
    assert (joined[:, 2:] == 2.0).all()
    for mine, theirs in zip(coefficients("corrdiff", sigma, 0.5)[:4], plain[:4], strict=True):
        assert mine.tolist() == theirs.tolist()


def test_a_direct_network_takes_the_condition_and_its_answer_stands() -> None:
    around = Preconditioning("direct", 1.0)
    x = np.full((2, 2, 3, 4), np.nan, np.float32)
    condition = np.random.default_rng(4).standard_normal((2, 3, 3, 4), dtype=np.float32)
    sigma = np.array([1.0, 80.0], np.float32)
    raw = condition[:, :2] + 1

    inputs, c_noise = network_inputs(around, x, sigma, condition)
    found = network_output(around, x, sigma, raw)

    np.testing.assert_array_equal(inputs, condition)
    assert c_noise.tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(found, raw)
    # The engine's memory of `raw` may change with the next call.
    assert not np.shares_memory(found, raw)


@pytest.mark.parametrize("ask", [lambda: coefficients("flow", np.array([1.0]), 1.0),
                                 lambda: sigma_range("flow")])  # fmt: skip
def test_an_unknown_kind_is_refused_by_name(ask: Callable[[], object]) -> None:
    with pytest.raises(BundleError, match="'flow', wanted one of edm, corrdiff, vp, ve, direct"):
        ask()
