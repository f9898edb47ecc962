"""Quantiles are numpy's, and their score is the pinball's, which adds up to the CRPS."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.verify.quantiles import ORDERS, ensemble_quantiles, quantile_scores

ROWS = np.array([0.2, 0.5, 0.3])


@given(st.integers(1, 9), st.integers(0, 2**32))
def test_quantiles_are_numpys(draws: int, seed: int) -> None:
    fields = np.random.default_rng(seed).normal(size=(draws, 3, 4))

    found = ensemble_quantiles(fields, (0.0, *ORDERS, 1.0))

    expected = np.quantile(fields, (0.0, *ORDERS, 1.0), axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_missing_a_quantile_costs_its_order_below_and_the_rest_above() -> None:
    truth, guess = np.full((3, 2), 5.0), np.full((2, 3, 2), 3.0)

    above = quantile_scores(guess, truth, (0.9, 0.5), ROWS)
    below = quantile_scores(guess, truth - 4.0, (0.9, 0.5), ROWS)

    np.testing.assert_allclose(above, [0.9 * 2.0, 0.5 * 2.0])
    np.testing.assert_allclose(below, [0.1 * 2.0, 0.5 * 2.0])


def test_rows_count_by_their_share_of_the_surface() -> None:
    truth = np.broadcast_to(np.array([[1.0], [2.0], [4.0]]), (3, 5))

    found = quantile_scores(np.zeros((3, 5)), truth, (0.5,), ROWS)

    assert found[0] == pytest.approx(0.5 * (0.2 + 1.0 + 1.2))


def test_the_true_quantile_of_a_uniform_scores_best_with_what_the_formula_says() -> None:
    # Of U(0, 1) the expected score at its own quantile is order (1 - order) / 2.
    truth = np.broadcast_to((np.arange(10_000) + 0.5) / 10_000, (3, 10_000))
    order = 0.9

    def score(at: float) -> float:
        return float(quantile_scores(np.full((3, 10_000), at), truth, (order,), ROWS)[0])

    assert score(order) == pytest.approx(order * (1 - order) / 2, rel=1e-4)
    assert score(order) < min(score(0.85), score(0.95))


def test_twice_the_mean_over_all_orders_is_the_crps() -> None:
    draws, truth = np.random.default_rng(0).normal(size=(7, 3, 4)), np.zeros((3, 4))
    steps = 20_000
    orders = (np.arange(steps) + 0.5) / steps
    # The quantile of an order is the draw of that rank: the ensemble's own distribution.
    quantiles = np.sort(draws, axis=0)[np.minimum((orders * 7).astype(int), 6)]

    scores = quantile_scores(quantiles, truth, tuple(orders), ROWS)

    pairs = np.abs(draws[:, None] - draws[None]).mean(axis=(0, 1)) / 2
    crps = np.abs(draws - truth).mean(axis=0) - pairs
    assert 2 * scores.mean() == pytest.approx(float(crps.mean(axis=-1) @ ROWS), rel=1e-3)
