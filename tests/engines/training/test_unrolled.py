"""The unrolled sampler is the formula, and gradients reach the network and the coefficients."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines.denoiser import Array
from engines.errors import UsageError
from engines.manifest import Preconditioning
from engines.multistep import MultistepSettings
from engines.networks import build
from engines.precondition import coefficients
from engines.sampler import run, solver
from engines.training.unrolled import Denoise, surrounded, unrolled
from tests.engines.training.known import NETWORK


def gaussian(mean: float, deviation: float) -> Denoise:
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return (deviation**2 * x + sigma**2 * mean) / (deviation**2 + sigma**2)

    return denoise


def test_one_level_is_a_blend_of_the_start_and_one_answer() -> None:
    noise = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    level, keep = torch.tensor([3.0], dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64)

    found = unrolled(gaussian(0.5, 2.0), noise, level, level[:0], keep, 2.0)

    x = 13.0**0.5 * noise
    clean = (4.0 * x + 9.0 * 0.5) / 13.0
    torch.testing.assert_close(found, 0.2 * x + 0.8 * clean)


def test_many_levels_of_plain_steps_give_draws_of_the_truth_itself() -> None:
    # Of a Gaussian the exact flow keeps x's place among all x: the draw is mean + deviation noise.
    noise = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    levels = torch.logspace(3, -4, 4000, dtype=torch.float64)
    none = torch.zeros(len(levels) - 1, dtype=torch.float64)

    found = unrolled(gaussian(0.3, 0.7), noise, levels, none, torch.tensor(0.0), 0.7)

    torch.testing.assert_close(found, 0.3 + 0.7 * noise, atol=3e-3, rtol=0)


def test_extrapolation_makes_the_same_number_of_levels_nearly_exact() -> None:
    noise = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    levels = torch.logspace(2.5, -2.5, 40, dtype=torch.float64)
    steps = levels.log().neg().diff()
    second_order = torch.cat([steps[1:] / (2 * steps[:-1]), torch.zeros(1)]).double()

    errors = [
        float((unrolled(gaussian(0.0, 1.0), noise, levels, k, torch.tensor(0.0), 1.0) - noise)
              .abs().max())
        for k in (torch.zeros(39), second_order)
    ]  # fmt: skip

    assert errors[1] < errors[0] / 5


def told(conv: nn.Module) -> nn.Module:
    """Return a network that knows its level."""

    class Told(nn.Module):
        def forward(self, inputs: Tensor, c_noise: Tensor, labels: Tensor | None) -> Tensor:
            found: Tensor = conv(inputs) * (1 + c_noise[:, None, None, None] / 100)
            return found

    return Told()


@pytest.mark.parametrize("remainder", [0.0, 0.2])
def test_it_draws_what_the_sampler_at_work_draws(remainder: float) -> None:
    settings = MultistepSettings((9.0, 2.5, 0.6, 0.2), (0.7, 0.9, 0.4), remainder)
    around = Preconditioning("edm", 0.7)
    noise = torch.randn(1, 2, 6, 8)

    def engine(x: Array, sigma: float) -> Array:
        return np.asarray((0.49 * x + sigma**2 * 0.3) / (0.49 + sigma**2), np.float32)

    wanted = run(solver(settings, lambda _: noise[0].numpy().copy(), around), engine)

    levels, k = torch.tensor(settings.levels), torch.tensor(settings.extrapolations)
    found = unrolled(gaussian(0.3, 0.7), noise, levels, k, torch.tensor(remainder), 0.7)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["edm", "corrdiff", "ve", "vp"])
def test_the_factors_around_a_network_are_those_of_the_engines(kind: str) -> None:
    around = Preconditioning(kind, 0.6)
    x, condition = torch.randn(2, 1, 16, 16), torch.randn(2, 3, 16, 16)
    torch.manual_seed(0)
    network = nn.Conv2d(4, 1, 3, padding=1)

    for sigma in (0.05, 0.7, 40.0):
        found = surrounded(told(network), around, condition)(x, torch.tensor(sigma))

        factors = coefficients(kind, np.array([sigma]), 0.6)
        skip, out, into, level, told_by = (float(factor[0]) for factor in factors)
        raw = network(torch.cat([into * x, told_by * condition], dim=1)) * (1 + level / 100)
        torch.testing.assert_close(found, skip * x + out * raw, rtol=1e-3, atol=1e-4)


def test_gradients_reach_every_coefficient_and_the_network() -> None:
    torch.manual_seed(0)
    network = build(NETWORK)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, 0.0, 0.1)
    condition, noise = torch.randn(2, 3, 16, 16), torch.randn(2, 1, 16, 16)
    levels = torch.tensor([8.0, 2.0, 0.5], requires_grad=True)
    k = torch.tensor([0.5, 0.4], requires_grad=True)
    keep = torch.tensor(0.1, requires_grad=True)

    drawn = unrolled(
        surrounded(network, Preconditioning("edm", 1.0), condition), noise, levels, k, keep, 1.0
    )
    drawn.square().mean().backward()  # type: ignore[no-untyped-call]

    for learned in (levels, k, keep, *network.parameters()):
        assert learned.grad is not None
        assert bool(torch.isfinite(learned.grad).all())
    for learned in (levels, k, keep):
        assert learned.grad is not None
        assert bool((learned.grad != 0).all())


@pytest.mark.parametrize("kind", ["edm", "corrdiff", "ve", "vp"])
def test_a_gradient_of_a_level_is_the_slope_of_its_difference(kind: str) -> None:
    torch.manual_seed(0)
    network = told(nn.Conv2d(4, 1, 3, padding=1).double())
    condition, noise = torch.randn(1, 3, 16, 16).double(), torch.randn(1, 1, 16, 16).double()
    denoise = surrounded(network, Preconditioning(kind, 0.7), condition)

    def loss(level: Tensor) -> Tensor:
        levels = torch.stack([torch.tensor(6.0).double(), level])
        half = torch.tensor([0.5]).double()
        return unrolled(denoise, noise, levels, half, torch.tensor(0.1).double(), 0.7).sum()

    level = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    loss(level).backward()  # type: ignore[no-untyped-call]

    with torch.no_grad():
        slope = (loss(level + 1e-5) - loss(level - 1e-5)) / 2e-5
    assert level.grad is not None
    assert float(level.grad) == pytest.approx(float(slope), rel=1e-6)


def test_a_regression_has_no_levels_to_unroll() -> None:
    with pytest.raises(UsageError, match="direct has no noise levels"):
        surrounded(torch.nn.Identity(), Preconditioning("direct", 1.0), torch.zeros(1, 1, 4, 4))


def test_levels_and_extrapolations_must_fit() -> None:
    with pytest.raises(ValueError, match="2 levels with 2 extrapolations"):
        unrolled(
            gaussian(0.0, 1.0), torch.zeros(1, 1, 2, 2), torch.ones(2), torch.ones(2),
            torch.tensor(0.0), 1.0,
        )  # fmt: skip
