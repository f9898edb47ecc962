"""The scalings keep the network's input and target at unit variance, whatever the level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import BundleError
from engines.precondition import coefficients, edm

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


def test_levels_of_one_batch_do_not_touch_each_other() -> None:
    levels = np.array([0.02, 1.0, 80.0], dtype=np.float32)

    together = coefficients("edm", levels, 0.5)

    for i, level in enumerate(levels):
        alone = coefficients("edm", np.array([level]), 0.5)
        assert [factor[i] for factor in together] == [factor[0] for factor in alone]
        assert all(factor.dtype == np.float32 for factor in together)


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(BundleError, match="'flow', wanted one of edm"):
        coefficients("flow", np.array([1.0]), 1.0)
