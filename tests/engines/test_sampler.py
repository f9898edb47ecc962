"""The sampler against what is known exactly: a Gaussian residual and its denoiser."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.denoiser import Array, GaussianDenoiser
from engines.errors import UsageError
from engines.manifest import Preconditioning
from engines.noise import Window, keyed
from engines.sampler import SamplerSettings, calls, derivative, heun, levels, run, solver

SHAPE = (1, 8, 8)
EDM = Preconditioning("edm", 1.0)


def gaussian(deviation: float, mean: float = 0.0) -> Callable[[Array, float], Array]:
    exact = GaussianDenoiser(mean, deviation)
    nothing = np.zeros((1, 0, *SHAPE[1:]), dtype=np.float32)
    return lambda x, sigma: exact.denoise(x[None], np.array([sigma], np.float32), nothing)[0]


def quiet(level: int) -> Array:
    raise AssertionError(f"a deterministic sampler asked for noise at level {level}")


def carry(x: Array, schedule: NDArray[np.float64], deviation: float) -> Array:
    return run(heun(x.copy(), schedule, SamplerSettings(), quiet), gaussian(deviation))


def test_levels_fall_from_sigma_max_to_sigma_min_and_then_zero() -> None:
    found = levels(SamplerSettings(steps=18, sigma_min=0.002, sigma_max=80.0))

    assert found.shape == (19,)
    assert found[0] == 80.0
    assert found[-2] == 0.002
    assert found[-1] == 0.0
    assert np.all(np.diff(found) < 0)


def test_levels_are_evenly_spread_in_the_power_that_rho_names() -> None:
    found = levels(SamplerSettings(steps=9, sigma_min=0.1, sigma_max=50.0, rho=5.0))

    assert np.diff(found[:-1] ** (1 / 5.0)) == pytest.approx([np.diff(found[:-1] ** 0.2)[0]] * 8)


def test_one_level_is_the_highest() -> None:
    assert levels(SamplerSettings(steps=1, sigma_max=3.0)).tolist() == [3.0, 0.0]


def test_a_range_bounds_the_ends_before_the_levels_between_are_chosen() -> None:
    settings = SamplerSettings(steps=9, sigma_min=0.002, sigma_max=200.0)

    found = levels(settings, within=(0.02, 100.0))

    narrower = SamplerSettings(steps=9, sigma_min=0.02, sigma_max=100.0)
    assert found.tolist() == levels(narrower).tolist()
    # Clamping each level would have left most of them where they were.
    assert found[4] != levels(settings)[4]


def test_a_range_leaves_levels_inside_it_as_they_are() -> None:
    settings = SamplerSettings(steps=9, sigma_min=0.1, sigma_max=50.0)

    assert levels(settings, within=(0.02, 100.0)).tolist() == levels(settings).tolist()


@pytest.mark.parametrize(("kind", "first"), [("edm", 500.0), ("ve", 100.0), ("vp", 152.167)])
def test_a_solver_starts_inside_what_its_kind_knows(kind: str, first: float) -> None:
    settings = SamplerSettings(steps=3, sigma_max=500.0)

    x, sigma = next(
        solver(settings, lambda _: np.ones(SHAPE, dtype=np.float32), Preconditioning(kind, 1.0))
    )

    assert sigma == pytest.approx(first)
    assert x == pytest.approx(np.full(SHAPE, first))


def test_a_direct_network_is_asked_once_and_its_answer_is_the_residual() -> None:
    settings = SamplerSettings(steps=18, s_churn=40.0)
    answer = np.random.default_rng(4).standard_normal(SHAPE).astype(np.float32)
    asked = []

    def noise(level: int) -> Array:
        asked.append(level)
        return np.zeros(SHAPE, dtype=np.float32)

    def denoise(x: Array, sigma: float) -> Array:
        asked.append(-1)
        assert (x.shape, sigma > 0.0) == (SHAPE, True)
        return answer

    found = run(solver(settings, noise, Preconditioning("direct", 1.0)), denoise)

    assert asked == [0, -1]
    assert calls(settings, "direct") == 1
    np.testing.assert_array_equal(found, answer)
    assert not np.shares_memory(found, answer)


def test_the_derivative_is_the_noise_in_units_of_its_deviation() -> None:
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    clean = np.full(SHAPE, 2.0, dtype=np.float32)

    assert derivative(clean + 3.0 * noise, clean, 3.0) == pytest.approx(noise, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_draw_costs_two_calls_a_level_but_one_at_the_last(steps: int) -> None:
    settings, seen = SamplerSettings(steps=steps), []

    def counting(x: Array, sigma: float) -> Array:
        seen.append(sigma)
        return np.zeros_like(x)

    run(solver(settings, lambda _: np.ones(SHAPE, dtype=np.float32), EDM), counting)

    assert len(seen) == calls(settings) == 2 * steps - 1
    assert min(seen) > 0.0


def test_many_levels_follow_the_exact_solution_of_the_probability_flow() -> None:
    """For N(0, d^2) the flow from level s to 0 scales x by d / sqrt(d^2 + s^2)."""
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32) * 10
    schedule = levels(SamplerSettings(steps=200, sigma_min=0.001, sigma_max=10.0))

    found = carry(x, schedule, deviation=0.5)

    assert found == pytest.approx(x * 0.5 / math.hypot(0.5, 10.0), rel=1e-3)


def test_heun_converges_with_order_two() -> None:
    """Between two levels above zero halving the steps divides the error by four."""
    x = np.ones(SHAPE, dtype=np.float32) * 4
    exact = math.hypot(1.0, 0.5) / math.hypot(1.0, 4.0)

    def error(steps: int) -> float:
        # The last level is not 0, so that Heun's correction is made at every step.
        schedule = np.linspace(4.0, 0.5, steps + 1)
        return abs(float(carry(x, schedule, deviation=1.0)[0, 0, 0]) / 4 - exact)

    orders = [math.log2(error(n) / error(2 * n)) for n in (8, 16)]

    assert orders == pytest.approx([2.0, 2.0], abs=0.15)


def test_a_point_mass_is_found_in_one_level() -> None:
    start = np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)

    found = run(
        solver(SamplerSettings(steps=1), lambda _: start.copy(), EDM), gaussian(1e-6, mean=3.0)
    )

    assert found == pytest.approx(np.full(SHAPE, 3.0), abs=1e-4)


@pytest.mark.parametrize("churn", [0.0, 40.0])
def test_with_many_levels_draws_have_the_variance_of_the_truth(churn: float) -> None:
    settings = SamplerSettings(steps=80, sigma_min=0.01, sigma_max=20.0, s_churn=churn)
    window = Window((0, 128), (0, 128), 128)

    exact = GaussianDenoiser(0.3, 0.7)
    nothing = np.zeros((1, 0, 128, 128), dtype=np.float32)
    found = run(
        solver(settings, keyed(b"variance", 1, window), EDM),
        lambda x, s: exact.denoise(x[None], np.array([s], np.float32), nothing)[0],
    )

    # 16384 points: the deviation's standard error is 0.6 %, the mean's 0.005.
    assert found.std() == pytest.approx(0.7, rel=0.025)
    assert found.mean() == pytest.approx(0.3, abs=0.025)


@pytest.mark.parametrize(
    ("steps", "sigma_max", "spread"), [(6, 80.0, 1.47), (6, 5.0, 1.09), (18, 80.0, 1.035)]
)
def test_few_levels_are_not_free(steps: int, sigma_max: float, spread: float) -> None:
    """The spread that Heun gives a unit Gaussian, worked out by hand in plain numbers."""
    x = np.full(SHAPE, sigma_max, dtype=np.float32)
    schedule = levels(SamplerSettings(steps=steps, sigma_min=0.02, sigma_max=sigma_max))

    assert float(carry(x, schedule, deviation=1.0)[0, 0, 0]) == pytest.approx(spread, abs=0.005)


def asked_noise(settings: SamplerSettings) -> list[int]:
    asked: list[int] = []

    def noise(level: int) -> Array:
        asked.append(level)
        return np.ones(SHAPE, dtype=np.float32)

    run(solver(settings, noise, EDM), gaussian(1.0))
    return asked


def test_without_churn_noise_is_asked_for_once() -> None:
    assert asked_noise(SamplerSettings(steps=6)) == [0]


def test_churn_acts_only_between_s_min_and_s_max() -> None:
    settings = SamplerSettings(steps=6, s_churn=3.0, s_min=0.05, s_max=50.0)
    inside = [i + 1 for i, s in enumerate(levels(settings)) if 0.05 <= s <= 50.0]

    assert asked_noise(settings) == [0, *inside]
    assert 0 < len(inside) < 6


def test_churn_raises_a_level_by_its_share_but_never_above_the_cap() -> None:
    def first_sigma(churn: float) -> float:
        settings = SamplerSettings(steps=10, sigma_max=5.0, s_churn=churn)
        return next(solver(settings, lambda _: np.zeros(SHAPE, dtype=np.float32), EDM))[1]

    assert first_sigma(2.0) == pytest.approx(5.0 * 1.2)
    assert first_sigma(1000.0) == pytest.approx(5.0 * math.sqrt(2.0))


def test_s_noise_scales_the_noise_that_churn_adds() -> None:
    def first_x(s_noise: float) -> float:
        settings = SamplerSettings(steps=1, sigma_max=2.0, s_churn=0.25, s_noise=s_noise)
        made = {0: 0.0, 1: 1.0}
        asked = solver(settings, lambda i: np.full(SHAPE, made[i], dtype=np.float32), EDM)
        return float(next(asked)[0][0, 0, 0])

    added = math.sqrt(2.5**2 - 2.0**2)
    assert first_x(1.0) == pytest.approx(added)
    assert first_x(1.003) == pytest.approx(1.003 * added)


def test_the_state_stays_float32() -> None:
    settings = SamplerSettings(steps=4, s_churn=10.0)
    seen: set[str] = set()

    def noting(x: Array, sigma: float) -> Array:
        seen.add(str(x.dtype))
        return gaussian(1.0)(x, sigma)

    found = run(solver(settings, keyed(b"dtype", 1, Window((0, 8), (0, 8), 8)), EDM), noting)

    assert seen == {"float32"}
    assert found.dtype == np.float32


def test_settings_that_no_schedule_fits_are_refused_with_every_fault() -> None:
    with pytest.raises(UsageError) as refused:
        SamplerSettings(steps=0, sigma_min=3.0, sigma_max=1.0, rho=-1.0, s_noise=math.inf)

    for name in ("steps is 0", "sigma_min is 3.0", "rho is -1.0", "s_noise is inf"):
        assert name in str(refused.value)


@pytest.mark.parametrize("value", [math.nan, True, "7"])
def test_a_setting_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"rho is .*, wanted a number"):
        SamplerSettings(rho=value)  # type: ignore[arg-type]
