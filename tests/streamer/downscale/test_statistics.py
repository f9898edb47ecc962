"""What is told of an ensemble: against closed forms, and against numpy with all draws at hand."""

import tracemalloc
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engines.errors import UsageError
from streamer.domain import Array, Statistic
from streamer.downscale.statistics import Accumulator, refuse_unfit

MEAN, VARIANCE, SPREAD = Statistic("mean"), Statistic("variance"), Statistic("spread")
MINIMUM, MAXIMUM = Statistic("minimum"), Statistic("maximum")
MEDIAN, NINTH = Statistic("quantile", 0.5), Statistic("quantile", 0.9)
GALE, CALM = Statistic("above", 17.2), Statistic("below", 0.5)
EVERY = (MEAN, VARIANCE, SPREAD, MINIMUM, MAXIMUM, MEDIAN, NINTH, GALE, CALM)


def told(draws: Array, statistic: Statistic, weights: Sequence[float] | None = None) -> Array:
    """Return a statistic of (D, H, W) draws, which are the second of two channels here."""
    accumulator = Accumulator([(statistic, 1)])
    for draw, weight in zip(draws, weights or [1.0] * len(draws), strict=True):
        accumulator.add(np.stack([np.full_like(draw, 99.0), draw]), weight)
    return accumulator.result(statistic, 1)


def column(*values: float) -> Array:
    """Return draws of a single point, (D, 1, 1)."""
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


def weather(draws: int, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return (280.0 + 3.0 * rng.standard_normal((draws, 40, 50))).astype(np.float32)


@pytest.mark.parametrize(
    ("statistic", "wanted"),
    [
        (MEAN, 9.0),
        # Distances from 9 are -6, -9, 20 and -5.
        (VARIANCE, 542.0 / 3.0),
        (SPREAD, (542.0 / 3.0) ** 0.5),
        (MINIMUM, 0.0),
        (MAXIMUM, 29.0),
        (MEDIAN, 3.5),
        # Of order 0.9 x 3 = 2.7: 0.7 of the way from the third, 4, to the fourth, 29.
        (NINTH, 21.5),
        (Statistic("quantile", 0.0), 0.0),
        (Statistic("quantile", 1.0), 29.0),
        (GALE, 0.25),
        (CALM, 0.25),
        (Statistic("above", 29.0), 0.0),
        (Statistic("below", 29.5), 1.0),
    ],
)
def test_four_draws_give_what_a_hand_finds(statistic: Statistic, wanted: float) -> None:
    found = told(column(3.0, 0.0, 29.0, 4.0), statistic)

    assert found.shape == (1, 1)
    assert found.dtype == np.float32
    assert float(found[0, 0]) == pytest.approx(wanted, rel=1e-6)


def test_every_statistic_is_what_numpy_finds_with_all_draws_at_hand() -> None:
    draws = weather(20)
    exact = draws.astype(np.float64)
    wanted = {
        MEAN: exact.mean(axis=0),
        VARIANCE: exact.var(axis=0, ddof=1),
        SPREAD: exact.std(axis=0, ddof=1),
        MINIMUM: draws.min(axis=0),
        MAXIMUM: draws.max(axis=0),
        MEDIAN: np.quantile(exact, 0.5, axis=0),
        NINTH: np.quantile(exact, 0.9, axis=0),
        Statistic("above", 281.5): (exact > np.float32(281.5)).mean(axis=0),
        Statistic("below", 281.5): (exact < np.float32(281.5)).mean(axis=0),
    }
    accumulator = Accumulator([(statistic, 0) for statistic in wanted])

    for draw in draws:
        accumulator.add(draw[None])

    for statistic, values in wanted.items():
        np.testing.assert_allclose(accumulator.result(statistic, 0), values, rtol=2e-7)


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(2, 9), st.just(1), st.integers(1, 5)),
        elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False),
    ),
    st.floats(0.0, 1.0),
)
def test_no_draws_are_too_odd(draws: Array, order: float) -> None:
    exact = draws.astype(np.float64)
    # Squares of what float32 barely holds are nothing to it.
    size = max(float(np.abs(exact).max()), 1e-12)

    mean, variance = told(draws, MEAN), told(draws, VARIANCE)
    quantile = told(draws, Statistic("quantile", order))

    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-7, atol=1e-12 * size)
    np.testing.assert_allclose(variance, exact.var(axis=0, ddof=1), rtol=1e-6, atol=1e-14 * size**2)
    np.testing.assert_allclose(
        quantile, np.quantile(exact, order, axis=0), rtol=1e-6, atol=1e-6 * size
    )
    assert (draws.min(axis=0) <= quantile).all()
    assert (quantile <= draws.max(axis=0)).all()


@given(st.permutations(range(6)), st.lists(st.integers(1, 4), min_size=6, max_size=6))
def test_the_order_of_the_draws_changes_nothing_to_rounding(
    order: list[int], weights: list[int]
) -> None:
    draws = weather(6)[:, :1, :7]

    for statistic in (*EVERY, Statistic("above", 280.0)):
        there = told(draws, statistic, [float(w) for w in weights])
        back = told(draws[order], statistic, [float(weights[i]) for i in order])
        np.testing.assert_allclose(there, back, rtol=1e-6)


def test_a_weight_counts_like_so_many_draws_in_mean_and_probability() -> None:
    draws = weather(3)
    repeated = draws[[0, 1, 1, 2, 2, 2]]

    for statistic in (MEAN, MINIMUM, MAXIMUM, Statistic("above", 281.0)):
        found = told(draws, statistic, [0.5, 1.0, 1.5])
        np.testing.assert_allclose(found, told(repeated, statistic), rtol=1e-6)


def test_a_weighted_variance_is_unbiased_whatever_the_weights() -> None:
    """Its mean over many ensembles of N(280, 9) is 9, with weights that lean on one draw."""
    draws = weather(5, seed=3)

    found = told(draws, VARIANCE, [6.0, 1.0, 2.0, 0.5, 0.5])

    # 2000 independent points: the error of their mean is 4.5 at most over the root of 2000.
    assert float(found.mean()) == pytest.approx(9.0, abs=4 * 9.0 / 2000**0.5)
    np.testing.assert_allclose(
        found,
        np.average(
            (draws - told(draws, MEAN, [6.0, 1.0, 2.0, 0.5, 0.5])) ** 2,
            axis=0,
            weights=[6.0, 1.0, 2.0, 0.5, 0.5],
        )
        / (1.0 - (36.0 + 1.0 + 4.0 + 0.25 + 0.25) / 100.0),
        rtol=1e-4,
    )


@pytest.mark.parametrize("weight", [0.3, 1.0, 7.0])
def test_only_the_ratios_of_weights_matter(weight: float) -> None:
    draws = weather(4)

    for statistic in (*EVERY, Statistic("above", 280.0)):
        found = told(draws, statistic, [weight] * 4)
        np.testing.assert_allclose(found, told(draws, statistic), rtol=1e-6)


def test_a_weighted_quantile_leans_on_the_heavy_draws() -> None:
    draws = column(10.0, 20.0, 60.0)

    # Places 0, 2.5 and 5: the middle one is the median.
    assert told(draws, MEDIAN, [1.0, 4.0, 1.0]) == pytest.approx(20.0)
    # Places 0, 1 and 3.5; half of it is 1.75, which is 0.3 of the way on.
    assert told(draws, MEDIAN, [1.0, 1.0, 4.0]) == pytest.approx(32.0)


def test_draws_that_agree_have_no_spread_at_all() -> None:
    draws = np.repeat(weather(1), 7, axis=0)

    assert not told(draws, SPREAD).any()
    np.testing.assert_array_equal(told(draws, MEAN), draws[0])
    np.testing.assert_array_equal(told(draws, NINTH), draws[0])


def test_a_small_spread_survives_a_large_mean() -> None:
    draws = column(1e5 - 0.0078125, 1e5 + 0.0078125)

    assert told(draws, VARIANCE) == pytest.approx(2 * 0.0078125**2, rel=1e-6)


def test_a_probability_is_never_above_one() -> None:
    draws = np.ones((50, 3, 3), dtype=np.float32)
    weights = list(np.random.default_rng(2).uniform(0.01, 1.0, 50))

    assert (told(draws, Statistic("above", 0.0), weights) == 1.0).all()


def test_what_is_no_number_stays_none_without_a_word() -> None:
    """Points outside a region are NaN in every draw."""
    draws = weather(3)
    draws[:, 0, 0] = np.nan

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for statistic in EVERY:
            for weights in ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]):
                found = told(draws, statistic, weights)
                assert np.isnan(found[0, 0])
                assert np.isfinite(found.reshape(-1)[1:]).all()


def test_the_draws_stay_as_they_are_and_are_not_kept() -> None:
    draws = weather(3)
    kept = draws.copy()
    accumulator = Accumulator([(statistic, 0) for statistic in EVERY])

    for draw in draws:
        accumulator.add(draw[None])
    before = {statistic: accumulator.result(statistic, 0) for statistic in EVERY}
    np.testing.assert_array_equal(draws, kept)
    draws[:] = 0.0

    for statistic in EVERY:
        np.testing.assert_array_equal(accumulator.result(statistic, 0), before[statistic])


def test_results_may_be_asked_between_draws() -> None:
    draws = weather(6)
    accumulator = Accumulator([(statistic, 0) for statistic in EVERY])

    for number, draw in enumerate(draws, 1):
        accumulator.add(draw[None])
        if number in (2, 6):
            for statistic in EVERY:
                found = accumulator.result(statistic, 0)
                np.testing.assert_array_equal(found, told(draws[:number], statistic))


@pytest.mark.parametrize(
    ("wanted", "draws_held"), [((MEAN,), 2), ((MEAN, SPREAD, VARIANCE), 4), (EVERY[:5], 6)]
)
def test_memory_does_not_grow_with_the_draws(
    wanted: tuple[Statistic, ...], draws_held: int
) -> None:
    """Measured while draws come, with what is made in between."""
    rows, columns = 200, 500
    one = np.ones((1, rows, columns), dtype=np.float32)
    accumulator = Accumulator([(statistic, 0) for statistic in wanted])
    peaks = []

    tracemalloc.start()
    for _ in range(12):
        accumulator.add(one)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
    tracemalloc.stop()

    assert accumulator.held_bytes == draws_held * one.nbytes
    assert peaks[-1] <= peaks[1] + 4096
    # What is made in between is a slab's, not a field's.
    assert peaks[-1] < accumulator.held_bytes + 2 * one.nbytes + 2**20


def test_only_the_channels_of_quantiles_keep_their_draws() -> None:
    accumulator = Accumulator([(MEAN, 0), (MEDIAN, 1), (NINTH, 1), (MEAN, 2)])

    for _ in range(10):
        accumulator.add(np.zeros((3, 10, 10), dtype=np.float32))

    assert accumulator.held_bytes == 100 * (8 + 10 * 4 + 8)


def test_a_single_draw_has_a_mean_and_no_spread() -> None:
    draws = weather(1)

    for statistic in (MEAN, MINIMUM, MAXIMUM, MEDIAN, NINTH):
        np.testing.assert_array_equal(told(draws, statistic), draws[0])
    for statistic in (VARIANCE, SPREAD):
        with pytest.raises(UsageError, match=f"{statistic.text} needs at least 2 draws, found 1"):
            told(draws, statistic)


@pytest.mark.parametrize(
    ("statistic", "draws", "said"),
    [
        (Statistic("mean", 0.5), None, "statistic mean takes no value, found 0.5"),
        (Statistic("quantile"), None, "statistic quantile needs a value"),
        (Statistic("quantile", 1.5), None, "quantile-1.5: a quantile's order is from 0 to 1"),
        (Statistic("above"), 4, "statistic above needs a value"),
        (Statistic("below", float("nan")), 4, "below-nan: its value must be finite"),
        (Statistic("spread"), 1, "spread needs at least 2 draws, found 1"),
        (Statistic("mean"), 0, "mean was asked before any draw came"),
    ],
)
def test_what_cannot_be_told_is_refused(statistic: Statistic, draws: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        refuse_unfit(statistic, draws)


def test_draws_of_another_shape_or_without_weight_are_refused() -> None:
    accumulator = Accumulator([(MEAN, 0)])
    accumulator.add(np.zeros((1, 2, 3), dtype=np.float32))

    with pytest.raises(UsageError, match=r"\(1, 3, 2\) came after draws of \(1, 2, 3\)"):
        accumulator.add(np.zeros((1, 3, 2), dtype=np.float32))
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="wanted a number above 0"):
            accumulator.add(np.zeros((1, 2, 3), dtype=np.float32), weight)
