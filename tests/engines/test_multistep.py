"""The multistep sampler against what is known exactly: its formula, its source, a Gaussian."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.denoiser import Array, GaussianDenoiser
from engines.errors import UsageError
from engines.manifest import Preconditioning
from engines.multistep import MultistepSettings
from engines.sampler import calls, levels, multistep, noises, run, solver

SHAPE = (2, 6, 8)
EDM = Preconditioning("edm", 1.0)
#: As those of a fitted network look: four calls, and noise left at the end.
FITTED = MultistepSettings((12.76, 4.57, 1.185, 0.341), (0.514, 1.034, 0.608), 0.228)

Level = st.floats(0.01, 100.0)


@st.composite
def settings(draw: st.DrawFn) -> MultistepSettings:
    found = sorted(draw(st.lists(Level, min_size=1, max_size=6, unique=True)), reverse=True)
    beyond = st.lists(st.floats(-3.0, 3.0), min_size=len(found) - 1, max_size=len(found) - 1)
    return MultistepSettings(tuple(found), tuple(draw(beyond)), draw(st.floats(0.0, 0.9)))


def gaussian(deviation: float, mean: float = 0.0) -> Callable[[Array, float], Array]:
    exact = GaussianDenoiser(mean, deviation)
    nothing = np.zeros((1, 0, *SHAPE[1:]), dtype=np.float32)
    return lambda x, sigma: exact.denoise(x[None], np.array([sigma], np.float32), nothing)[0]


def normal(seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


def start(level: int) -> Array:
    assert level == 0, f"a multistep sampler asked for the noise of level {level}"
    return normal()


@given(settings())
def test_a_constant_answer_is_reached_by_the_ratio_of_the_levels(
    sampler: MultistepSettings,
) -> None:
    """Differences of equal answers are 0, so no coefficient counts, and the ratios multiply."""
    found = run(solver(sampler, start, EDM), lambda x, _: np.full_like(x, 3.0))

    left = sampler.remainder * sampler.levels[-1] / sampler.levels[0]
    begun = normal() * math.hypot(sampler.levels[0], 1.0)
    assert found == pytest.approx(left * begun + (1.0 - left) * 3.0, rel=1e-4, abs=1e-4)


@given(settings())
def test_any_answers_are_joined_as_the_formula_says(sampler: MultistepSettings) -> None:
    answers = [normal(seed) for seed in range(1, sampler.steps + 1)]
    waiting = iter(answers)

    found = run(solver(sampler, start, EDM), lambda _x, _sigma: next(waiting))

    x = normal().astype(np.float64) * math.hypot(sampler.levels[0], 1.0)
    ratios = [low / high for high, low in pairwise(sampler.levels)] + [sampler.remainder]
    for i, q in enumerate(ratios):
        ahead = answers[i].astype(np.float64)
        if i > 0:
            ahead = ahead + sampler.extrapolations[i - 1] * (ahead - answers[i - 1])
        x = q * x + (1.0 - q) * ahead
    assert found == pytest.approx(x, rel=1e-4, abs=1e-4)


def crooked(x: Array, sigma: float) -> Array:
    """A denoiser that is linear in nothing."""
    return np.asarray(np.tanh(x / (1.0 + sigma)) + 0.1 * np.cos(sigma * x), dtype=np.float32)


def textbook(x: NDArray[np.float64], way: NDArray[np.float64]) -> NDArray[np.float64]:
    """Run algorithm 2 of Lu et al. 2022 for alpha 1, in its own letters."""
    lam = -np.log(way)
    x_i, x_before = x.copy(), x
    for i in range(1, len(way) + 1):
        x_hat = crooked(x_i.astype(np.float32), float(way[i - 1])).astype(np.float64)
        is_last = i == len(way)
        h = math.inf if is_last else lam[i] - lam[i - 1]
        if i == 1 or is_last:
            d = x_hat
        else:
            r = (lam[i - 1] - lam[i - 2]) / h
            d = (1 + 1 / (2 * r)) * x_hat - 1 / (2 * r) * x_before
        sigma_ratio = 0.0 if is_last else way[i] / way[i - 1]
        x_i = sigma_ratio * x_i - math.expm1(-h) * d
        x_before = x_hat
    return x_i


@pytest.mark.parametrize("way", [(5.0, 2.0, 1.1, 0.3, 0.1), (9.0, 1.0), (2.0,)])
def test_two_m_is_its_textbook_form(way: tuple[float, ...]) -> None:
    sampler = MultistepSettings.two_m(way)

    found = run(solver(sampler, start, EDM), crooked)

    begun = normal().astype(np.float64) * math.hypot(way[0], 1.0)
    assert found == pytest.approx(textbook(begun, np.array(way)), rel=2e-5, abs=2e-5)


def test_two_m_passes_over_the_zero_at_the_end_of_a_schedule() -> None:
    with_zero = MultistepSettings.two_m([4.0, 1.0, 0.5, 0.0])

    assert with_zero == MultistepSettings.two_m([4.0, 1.0, 0.5])
    assert with_zero.extrapolations == pytest.approx((0.25, 0.0))
    assert with_zero.remainder == 0.0


@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.0])
def test_many_levels_give_each_noise_the_draw_that_the_exact_flow_gives_it(
    deviation: float,
) -> None:
    """Of N(m, d^2) the flow from level s keeps (x - m) / sqrt(d^2 + s^2) as it is."""
    sampler = MultistepSettings.two_m(np.geomspace(30.0, 0.002, 400))

    noise, mean = normal(), 0.4
    around = Preconditioning("edm", deviation)
    found = run(solver(sampler, start, around), gaussian(deviation, mean))

    first = math.hypot(deviation, 30.0)
    assert found == pytest.approx(mean + (first * noise - mean) * deviation / first, abs=2e-3)


def test_a_remainder_stops_the_flow_at_its_level() -> None:
    way = tuple(np.geomspace(30.0, 0.5, 300))
    extrapolations = (*MultistepSettings.two_m(way).extrapolations[:-1], 0.5)
    sampler = MultistepSettings(way, extrapolations, remainder=0.985)

    found = run(solver(sampler, start, EDM), gaussian(1.0))

    assert found == pytest.approx(normal() * math.hypot(1.0, 0.985 * 0.5), abs=1e-3)


def test_two_m_converges_with_order_two() -> None:
    """Halving the steps in ln sigma divides the error by four."""
    begun = np.full(SHAPE, 4.0, dtype=np.float32)
    exact = math.hypot(1.0, 0.1) / math.hypot(1.0, 10.0)

    def error(steps: int) -> float:
        # The way ends above 0, so that the last step is of second order, too.
        way = np.geomspace(10.0, 0.1, steps + 1)
        extrapolations = MultistepSettings.two_m(way).extrapolations[:-1]
        found = run(multistep(begun.copy(), way, extrapolations), gaussian(1.0))
        return abs(float(found[0, 0, 0]) / 4.0 - exact)

    orders = [math.log2(error(n) / error(2 * n)) for n in (16, 32)]

    assert orders == pytest.approx([2.0, 2.0], abs=0.15)


def test_extrapolating_is_worth_its_while() -> None:
    """At six calls 2M is several times nearer to the exact flow than plain steps are."""
    way = tuple(np.geomspace(20.0, 0.05, 6))
    plain = MultistepSettings(way, (0.0,) * 5)

    def error(sampler: MultistepSettings) -> float:
        return float(np.abs(run(solver(sampler, start, EDM), gaussian(1.0)) - normal()).max())

    assert error(MultistepSettings.two_m(way)) < error(plain) / 3


def test_a_draw_costs_one_call_a_level_and_asks_for_noise_once() -> None:
    seen = []

    def counting(x: Array, sigma: float) -> Array:
        seen.append(sigma)
        return np.zeros_like(x)

    run(solver(FITTED, start, EDM), counting)

    assert seen == list(FITTED.levels)
    assert len(seen) == calls(FITTED) == FITTED.steps
    assert noises(FITTED) == 1


def test_the_schedule_ends_with_the_noise_that_stays() -> None:
    assert levels(FITTED).tolist() == [*FITTED.levels, 0.228 * 0.341]


def test_a_run_starts_as_a_noisy_residual_of_the_bundle_looks() -> None:
    x, sigma = next(solver(FITTED, start, Preconditioning("edm", 5.0)))

    assert sigma == 12.76
    assert x == pytest.approx(normal() * math.hypot(12.76, 5.0), rel=1e-6)


def test_an_answer_may_be_overwritten_as_soon_as_it_was_sent() -> None:
    shared = np.empty(SHAPE, dtype=np.float32)

    def reusing(x: Array, sigma: float) -> Array:
        shared[...] = crooked(x, sigma)
        return shared

    reused = run(solver(FITTED, start, EDM), reusing)

    np.testing.assert_array_equal(reused, run(solver(FITTED, start, EDM), crooked))
    assert reused.dtype == np.float32
    assert not np.shares_memory(reused, shared)


def test_an_answer_that_was_sent_is_left_as_it_is() -> None:
    kept: list[tuple[Array, Array]] = []

    def noting(x: Array, sigma: float) -> Array:
        answer = crooked(x, sigma)
        kept.append((answer, answer.copy()))
        return answer

    run(solver(FITTED, start, EDM), noting)

    assert all(np.array_equal(answer, copy) for answer, copy in kept)


def test_a_direct_network_is_asked_once_whatever_the_sampler() -> None:
    asked = []

    def denoise(x: Array, sigma: float) -> Array:
        asked.append(sigma)
        return crooked(x, sigma)

    run(solver(FITTED, start, Preconditioning("direct", 1.0)), denoise)

    assert len(asked) == calls(FITTED, "direct") == 1


def test_levels_that_the_network_does_not_know_are_refused() -> None:
    with pytest.raises(UsageError, match=r"levels go from 150 to 1, .* knows 0\.02 to 100"):
        next(solver(MultistepSettings((150.0, 1.0), (0.5,)), start, Preconditioning("ve", 1.0)))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"levels": ()}, "levels are none"),
        ({"levels": (1.0, 2.0), "extrapolations": (0.0,)}, "levels are 1 2, wanted falling"),
        ({"levels": (1.0, 0.0), "extrapolations": (0.0,)}, "wanted falling ones above 0"),
        ({"levels": (2.0, 1.0)}, "extrapolations are 0, wanted 1 for 2 levels"),
        ({"levels": (1.0,), "remainder": 1.0}, r"remainder is 1\.0, wanted at least 0 and below"),
        ({"levels": (1.0,), "remainder": math.nan}, "remainder is nan, wanted a number"),
        ({"levels": [1.0]}, "levels is .* wanted finite numbers"),
        ({"levels": (math.inf,)}, "levels is .* wanted finite numbers"),
        ({"levels": (2.0, 1.0), "extrapolations": (True,)}, "extrapolations is .* wanted finite"),
    ],
)
def test_settings_that_no_run_can_follow_are_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        MultistepSettings(**wrong)  # type: ignore[arg-type]


def test_two_m_of_levels_that_do_not_fall_says_so() -> None:
    with pytest.raises(UsageError, match="wanted falling ones above 0"):
        MultistepSettings.two_m([1.0, 1.0, 0.5])
