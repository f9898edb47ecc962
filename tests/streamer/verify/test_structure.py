"""Structure: closed forms of normal fields, and what each score sees that points cannot."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.verify.scores import area_weights, fair_crps
from streamer.verify.structure import (
    gradient_crps,
    lag_correlation,
    lag_products,
    patch_energy,
    percentile_ratio,
    upper,
)

ROWS, COLUMNS = 64, 96
EVEN = np.full(ROWS, 1 / ROWS)


def white(count: int, seed: int = 0, shape: tuple[int, ...] = (ROWS, COLUMNS)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape))


def chi_mean(degrees: int) -> float:
    """The mean length of a standard normal vector."""
    return math.sqrt(2) * math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2))


@pytest.mark.parametrize("draws", [2, 5])
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (4, 2)])
def test_the_patch_energy_of_an_honest_normal_ensemble_is_its_closed_form_for_any_number_of_draws(
    draws: int, size: int, channels: int
) -> None:
    everything = white(draws + 1, shape=(channels, ROWS, COLUMNS))

    found = patch_energy(everything[:-1], everything[-1], EVEN, size)

    # E|X - Y| - E|X - X'| / 2 with X - Y ~ N(0, 2 I): half of sqrt(2) times the mean length.
    degrees = channels * size**2
    expected = chi_mean(degrees) / math.sqrt(2 * degrees)
    patches = ROWS * COLUMNS / size**2
    # A length's deviation is below 1 / sqrt(2), whatever its degrees.
    assert found == pytest.approx(expected, abs=4 / math.sqrt(patches * degrees))


def test_patches_of_one_point_have_the_crps() -> None:
    everything = white(5)
    latitudes = np.linspace(80.0, -46.0, ROWS)
    rows = area_weights(latitudes)

    found = patch_energy(everything[:-1], everything[-1], rows, size=1)

    expected = rows @ fair_crps(everything[:-1], everything[-1]).mean(axis=-1)
    assert found == pytest.approx(expected)


@given(st.integers(2, 4), st.integers(0, 2**32))
def test_the_patch_energy_is_its_definition_written_out(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    draws, truth = rng.normal(size=(count, 4, 6)), rng.normal(size=(4, 6))
    rows = np.array([0.1, 0.2, 0.3, 0.4])

    total = 0.0
    for top in (0, 2):
        for left in (0, 2, 4):
            where = np.s_[..., top : top + 2, left : left + 2]
            cut, true = draws[where].reshape(count, -1), truth[where].ravel()
            errors = np.linalg.norm(cut - true, axis=1).mean()
            pairs = np.linalg.norm(cut[:, None] - cut[None], axis=2).sum()
            score = (errors - pairs / (2 * count * (count - 1))) / 2
            total += rows[top : top + 2].sum() * score / 3

    assert patch_energy(draws, truth, rows, size=2) == pytest.approx(total)


def test_the_patch_energy_tells_draws_of_the_right_structure_from_grain() -> None:
    # The truth is constant within 8 x 8 patches; grain has the same distribution at each point.
    blocks = white(9, shape=(ROWS // 8, COLUMNS // 8)).repeat(8, axis=1).repeat(8, axis=2)
    grain, truth = white(8, seed=1), blocks[-1]

    right, wrong = (patch_energy(draws, truth, EVEN) for draws in (blocks[:-1], grain))

    assert wrong > 1.15 * right


def test_rows_and_columns_that_fill_no_patch_are_left_out_at_the_edges() -> None:
    everything = white(4)
    spoilt = everything.copy()
    spoilt[:, :1] += 100.0
    spoilt[:, -2:, :] += 100.0

    # 64 rows hold 12 patches of 5 with 4 left over, two at either edge.
    found = [patch_energy(fields[:3], fields[3], EVEN, size=5) for fields in (everything, spoilt)]

    assert found[0] == found[1]


@pytest.mark.parametrize("draws", [2, 6])
@pytest.mark.parametrize("periodic", [True, False])
def test_the_gradient_crps_of_an_honest_normal_ensemble_is_its_closed_form(
    draws: int, periodic: bool
) -> None:
    everything = white(draws + 1)

    found = gradient_crps(everything[:-1], everything[-1], EVEN, periodic=periodic)

    # Differences of neighbours are N(0, 2), and the CRPS of N(0, s^2) is s / sqrt(pi).
    assert found == pytest.approx(math.sqrt(2 / math.pi), rel=0.03)


def test_the_gradient_crps_of_noise_about_smoothness_is_above_that_of_smoothness() -> None:
    smooth = np.sin(np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False))
    truth = np.broadcast_to(smooth, (ROWS, COLUMNS))

    calm = gradient_crps(truth + 0.01 * white(4), truth, EVEN, periodic=True)
    grainy = gradient_crps(truth + white(4), truth, EVEN, periodic=True)

    assert grainy > 50 * calm


def test_the_gradient_over_the_date_line_counts_only_where_columns_close() -> None:
    truth = np.zeros((ROWS, COLUMNS))
    slope = np.broadcast_to(np.linspace(0.0, 1.0, COLUMNS), (2, ROWS, COLUMNS))

    # Each point is missed by 1 / 95; where columns close, one difference in 96 by 1.
    assert gradient_crps(slope, truth, EVEN, periodic=False) == pytest.approx(1 / 95 / 2)
    assert gradient_crps(slope, truth, EVEN, periodic=True) == pytest.approx(2 / 96 / 2)


@pytest.mark.parametrize("periodic", [True, False])
def test_the_lag_correlation_is_that_of_a_moving_mean(periodic: bool) -> None:
    noise = white(40)
    # A mean over 3 points of a row, and of a column: a third of the variance is shared 2 off.
    moving = sum(
        np.roll(noise, (down, across), axis=(1, 2)) for down in range(3) for across in range(3)
    )

    found = [lag_correlation(np.asarray(moving), EVEN, lag, periodic=periodic) for lag in (1, 2, 3)]

    assert found == pytest.approx([2 / 3, 1 / 3, 0.0], abs=0.02)


def test_white_noise_has_no_lag_correlation_and_a_constant_all() -> None:
    assert lag_correlation(white(30), EVEN, periodic=True) == pytest.approx(0.0, abs=0.01)
    assert lag_correlation(np.ones((ROWS, COLUMNS)), EVEN, periodic=False) == pytest.approx(1.0)


def test_lag_products_of_states_add_up_to_those_of_all() -> None:
    fields = white(2) * np.array([1.0, 3.0])[:, None, None]

    parts = np.array([lag_products(field, EVEN, periodic=True) for field in fields])

    assert lag_products(fields, EVEN, periodic=True) == pytest.approx(parts.mean(axis=0))


def test_an_upper_percentile_counts_area_and_not_points() -> None:
    field = np.zeros((3, 10))
    field[0] = 5.0

    # A tenth of the surface holds a third of the points.
    rows = np.array([0.1, 0.4, 0.5])

    assert upper(field, rows, 0.89) == 0.0
    assert upper(field, rows, 0.91) == 5.0


def test_the_percentile_ratio_of_doubled_draws_is_two_whatever_their_number() -> None:
    truth = white(1)[0]

    assert percentile_ratio(np.stack([truth, truth, truth]) * 2, truth, EVEN) == pytest.approx(2.0)


def test_a_normal_fields_upper_percentile_is_the_tables() -> None:
    assert upper(white(100), EVEN) == pytest.approx(3.0902, abs=0.03)


def test_fields_that_do_not_fit_are_refused_with_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"draws \(1, 64, 96\).*at least 2 draws"):
        patch_energy(white(1), white(1)[0], EVEN)
    with pytest.raises(ValueError, match=r"3 rows do not fit"):
        gradient_crps(white(2), white(1)[0], EVEN[:3], periodic=True)
    with pytest.raises(ValueError, match="found 4 points, wanted at least 8"):
        patch_energy(white(2)[:, :4], white(1)[0, :4], EVEN[:4])
