"""Quantiles from a histogram of fixed size are those of all values, to the width of a bin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numbers

from streamer.verify.distribution import BINS, Distribution

EVEN = np.full(8, 1 / 8)
ORDERS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def inverse(values: np.ndarray, orders: tuple[float, ...]) -> np.ndarray:
    """The smallest value that such a share lies at or below."""
    return np.asarray(np.quantile(values, orders, method="inverted_cdf"))


@given(
    st.lists(
        numbers.arrays(np.float64, (8, 5), elements=st.floats(-1e4, 1e4, width=32)),
        min_size=1,
        max_size=4,
    )
)
def test_quantiles_are_those_of_all_values_to_a_bins_width(fields: list[np.ndarray]) -> None:
    found = Distribution()

    for field in fields:
        found.add(field, EVEN)

    everything = np.concatenate([field.ravel() for field in fields])
    span = max(np.ptp(everything), np.abs(everything).max() * BINS * 2.0**-24)
    assert found.width <= max(2 * span / BINS, 2.0**-99)
    exact = inverse(everything, ORDERS)
    assert (np.abs(found.quantiles(ORDERS) - exact) <= found.width * (1 + 1e-9)).all()


@given(st.permutations(range(5)))
def test_the_order_of_states_changes_nothing(order: list[int]) -> None:
    rng = np.random.default_rng(0)
    # The first is all nought, as a state without rain; spans differ by orders of magnitude.
    fields = [rng.normal(m, 10.0**m, (8, 5)) if m else np.zeros((8, 5)) for m in range(5)]
    one, other = Distribution(), Distribution()

    for i in range(5):
        one.add(fields[i], EVEN)
        other.add(fields[order[i]], EVEN)

    assert one.width == other.width
    np.testing.assert_allclose(one.quantiles(ORDERS), other.quantiles(ORDERS), rtol=1e-9)


def test_tails_of_a_normal_distribution_are_found() -> None:
    found = Distribution()
    rng = np.random.default_rng(1)

    for _ in range(20):
        found.add(rng.normal(280.0, 10.0, (4, 8, 5000)), EVEN)

    # The 99th and the 99.9th percentile lie 2.3263 and 3.0902 deviations above the mean.
    upper = found.quantiles((0.99, 0.999))
    np.testing.assert_allclose(upper, [303.263, 310.902], atol=0.15)


def test_rows_count_by_their_share_of_the_surface() -> None:
    found = Distribution()
    field = np.array([[0.0, 0.0], [10.0, 10.0]])

    found.add(field, np.array([0.25, 0.75]))

    assert found.quantiles((0.2, 0.3)) == pytest.approx([0.0, 10.0], abs=found.width)


def test_memory_stays_where_it_is_whatever_comes() -> None:
    found = Distribution()

    for m in range(-6, 7):
        found.add(np.random.default_rng(m + 6).normal(0.0, 10.0**m, (8, 50)), EVEN)

    assert len(found._weights) <= BINS + 2


def test_a_constant_is_every_quantile() -> None:
    found = Distribution()

    found.add(np.full((8, 5), 273.15), EVEN)

    np.testing.assert_allclose(found.quantiles((0.001, 0.999)), 273.15, rtol=1e-6)


def test_nothing_has_no_quantile() -> None:
    with pytest.raises(ValueError, match="no state"):
        Distribution().quantiles((0.5,))
