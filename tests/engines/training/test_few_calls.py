"""A network with its few calls is one module, and draws as the sampler at work does."""

import numpy as np
import pytest
import torch

from engines.denoiser import Array
from engines.errors import UsageError
from engines.manifest import Preconditioning
from engines.multistep import MultistepSettings
from engines.networks import build
from engines.precondition import network_inputs, network_output
from engines.sampler import run, solver
from engines.training.few_calls import FewCalls
from tests.engines.training.known import NETWORK

AROUND = Preconditioning("edm", sigma_data=0.7)
THREE = MultistepSettings((12.5, 3.25, 0.65), (1.1, 0.8), 0.18)


def module(sampler: MultistepSettings = THREE) -> FewCalls:
    torch.manual_seed(3)
    network = build(NETWORK)
    for weight in network.parameters():
        # A fresh network answers nothing but zeros.
        torch.nn.init.normal_(weight, std=0.1)
    return FewCalls(network.eval(), sampler, AROUND)


def test_its_draws_are_those_of_the_sampler_at_work() -> None:
    few = module()
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 3, 1, 16, 16), dtype=np.float32)
    condition = rng.standard_normal((2, 3, 16, 16), dtype=np.float32)

    with torch.no_grad():
        found = few(torch.from_numpy(noise), torch.from_numpy(condition)).numpy()

    for tile in range(2):
        for draw in range(3):
            wanted = at_work(few, noise[tile, draw], condition[tile])
            assert np.allclose(found[tile, draw], wanted, atol=2e-5)


def at_work(few: FewCalls, noise: Array, condition: Array) -> Array:
    def denoise(x: Array, sigma: float) -> Array:
        sigmas = np.array([sigma], np.float32)
        inputs, c_noise = network_inputs(AROUND, x[None], sigmas, condition[None])
        with torch.no_grad():
            raw = few.network(torch.from_numpy(inputs), torch.from_numpy(c_noise), None).numpy()
        return np.asarray(network_output(AROUND, x[None], sigmas, raw)[0], np.float32)

    return run(solver(few.sampler(), lambda _: noise.copy(), AROUND), denoise)


@pytest.mark.parametrize("sampler", [THREE, MultistepSettings((2.0,), (), 0.0)])
def test_the_sampler_comes_out_as_it_went_in(sampler: MultistepSettings) -> None:
    found = module(sampler).sampler()

    assert found.levels == pytest.approx(sampler.levels, rel=1e-5)
    assert found.extrapolations == pytest.approx(sampler.extrapolations, rel=1e-5)
    assert found.remainder == pytest.approx(sampler.remainder, rel=1e-5)


def test_levels_keep_falling_whatever_is_learnt() -> None:
    few = module()
    with torch.no_grad():
        few.steps.fill_(-9.0)
        few.stays.fill_(-0.3)

    found = few.sampler()

    assert all(low < high for high, low in zip(found.levels, found.levels[1:], strict=False))
    assert found.remainder == 0.0


def test_gradients_reach_the_network_and_every_coefficient() -> None:
    few = module()
    drawn = few(torch.randn(1, 2, 1, 16, 16), torch.randn(1, 3, 16, 16))

    drawn.square().mean().backward()

    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in few.own())
    assert all(weight.grad is not None for weight in few.network.parameters())


def test_a_direct_network_has_nothing_to_tune() -> None:
    with pytest.raises(UsageError, match="direct network"):
        FewCalls(build(NETWORK), THREE, Preconditioning("direct", 1.0))
