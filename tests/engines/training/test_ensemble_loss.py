"""Scores of draws against closed forms and slower sums; the power of bands against known powers."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.training.ensemble_loss import band_penalty, fair_crps, gradient_crps, patch_energy


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_fair_crps_is_the_mean_error_less_half_the_mean_difference_of_pairs() -> None:
    draws, truth = normal(0, 2, 4, 3, 5, 6), normal(1, 2, 3, 5, 6)
    weights = torch.linspace(0.1, 1.0, 5)[None, None, :, None]

    found = fair_crps(draws, truth, weights)

    missed = np.mean([(draws[:, d] - truth).abs().numpy() for d in range(4)], axis=0)
    pairs = [(draws[:, a] - draws[:, b]).abs().numpy() for a, b in combinations(range(4), 2)]
    wanted = missed - 0.5 * np.mean(pairs, axis=0)
    rows = np.broadcast_to(weights.numpy(), wanted.shape)
    assert float(found) == pytest.approx(float((wanted * rows).sum() / rows.sum()), rel=1e-5)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_honest_draws_of_a_normal_score_one_over_the_root_of_pi_however_many(count: int) -> None:
    draws, truth = normal(2, 1, count, 1, 500, 500), normal(3, 1, 1, 500, 500)

    assert float(fair_crps(draws, truth)) == pytest.approx(1 / math.sqrt(math.pi), rel=0.01)


@pytest.mark.parametrize("count", [2, 5])
def test_honest_patches_score_half_the_mean_distance_of_two(count: int) -> None:
    draws, truth = normal(4, 1, count, 2, 160, 160), normal(5, 1, 2, 160, 160)

    found = float(patch_energy(draws, truth, size=4))

    # Half the mean length of a normal vector of 32 values of variance 2, over the root of 32.
    length = math.sqrt(2) * math.sqrt(2) * math.exp(math.lgamma(16.5) - math.lgamma(16))
    assert found == pytest.approx(0.5 * length / math.sqrt(32), rel=0.01)


def test_a_patch_knows_its_rows_and_columns() -> None:
    truth = torch.zeros(1, 1, 4, 6)
    draws = torch.zeros(1, 2, 1, 4, 6)
    draws[..., :2, 2:4] = 1.0

    # One of six patches is wrong by 1 everywhere, in both draws.
    assert float(patch_energy(draws, truth, size=2)) == pytest.approx(1 / 6, abs=1e-5)


def test_patches_count_by_the_weights_of_their_rows() -> None:
    truth, weights = (
        torch.zeros(1, 1, 4, 4),
        torch.tensor([1.0, 1.0, 3.0, 3.0])[None, None, :, None],
    )
    draws = torch.zeros(1, 2, 1, 4, 4)
    draws[..., 2:, :] = 2.0

    assert float(patch_energy(draws, truth, weights, size=2)) == pytest.approx(1.5, abs=1e-5)


def test_a_field_that_is_off_by_a_constant_has_perfect_gradients() -> None:
    truth = normal(6, 1, 1, 9, 9)
    draws = truth[:, None] + torch.tensor([1.0, -2.0])[None, :, None, None, None]

    assert float(gradient_crps(draws, truth)) == pytest.approx(0.0, abs=1e-6)


def test_gradients_count_by_the_weights_of_their_rows() -> None:
    truth, draws = torch.zeros(1, 1, 4, 3), torch.zeros(1, 2, 1, 4, 3)
    draws[..., 1] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    top = torch.tensor([1.0, 1.0, 0.0, 0.0])[None, None, :, None]

    # Down: rows 1 to 2 change, half weight of three pairs; across: both columns of the top rows.
    down, across = (0.5 * 1 / 3) / 1.5, 1.0
    assert float(gradient_crps(draws, truth, top)) == pytest.approx(0.5 * (down + across))


def test_draws_with_the_power_of_the_truth_cost_nothing() -> None:
    truth = normal(7, 8, 2, 32, 40)

    assert float(band_penalty(torch.stack([truth, truth.flip(0)], dim=1), truth)) < 1e-9


def test_too_much_power_everywhere_costs_its_logarithm_squared_in_three_bands() -> None:
    truth = normal(8, 4, 1, 32, 32)

    found = band_penalty(torch.stack([2.0 * truth, -2.0 * truth], dim=1), truth)

    assert float(found) == pytest.approx(3 * math.log(4.0) ** 2, rel=1e-5)


def test_a_wave_lies_in_its_own_band() -> None:
    truth = normal(9, 16, 1, 48, 48)
    columns = torch.arange(48.0)
    penalties = []
    for number in (4, 12, 20):
        wave = 0.6 * torch.cos(2 * math.pi * number * columns / 48)
        penalties.append(
            float(band_penalty((truth + wave)[:, None].expand(-1, 2, -1, -1, -1), truth))
        )

    # Each adds the same power to one band; the lowest band has the fewest waves to share it among.
    assert penalties[0] > penalties[1] > penalties[2] > 1e-3


def test_every_term_has_a_gradient_even_where_draws_are_equal() -> None:
    draws = torch.zeros(1, 2, 1, 16, 16, requires_grad=True)
    truth = normal(10, 1, 1, 16, 16)

    loss = fair_crps(draws, truth) + patch_energy(draws, truth) + gradient_crps(draws, truth)
    loss.backward()  # type: ignore[no-untyped-call]

    assert draws.grad is not None
    assert bool(torch.isfinite(draws.grad).all())
