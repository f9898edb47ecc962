"""Fitting against networks whose best sampler is known."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines.errors import EngineError, UsageError
from engines.manifest import Preconditioning
from engines.multistep import MultistepSettings
from engines.training.crops import Cropper
from engines.training.multistep_fit import FitSettings, MultistepFit
from engines.training.settings import Pairs

SIGMA_DATA = 0.5
HOW = FitSettings(steps=24, tile=(16, 16), tiles=4, held_tiles=16)


class Silent(nn.Module):
    """Adds nothing to the preconditioning, which then is the exact denoiser of a Gaussian."""

    def forward(self, inputs: Tensor, c_noise: Tensor, labels: Tensor | None) -> Tensor:
        return torch.zeros_like(inputs[:, :1])


class Deaf(nn.Module):
    """Gives what is no number."""

    def forward(self, inputs: Tensor, c_noise: Tensor, labels: Tensor | None) -> Tensor:
        return torch.full_like(inputs[:, :1], torch.nan)


def gaussian_pairs(seed: int, deviation: float = SIGMA_DATA) -> Pairs:
    """White residuals that their condition tells nothing about."""
    rng = np.random.default_rng(seed)
    return Pairs(
        residual=deviation * rng.standard_normal((3, 1, 32, 32), dtype=np.float32),
        condition=np.zeros((3, 1, 32, 32), np.float32),
        constants=np.zeros((1, 32, 32), np.float32),
        row_weights=np.ones(32, np.float32),
        periodic=True,
    )


def fit_of(network: nn.Module, how: FitSettings = HOW, kind: str = "edm") -> MultistepFit:
    tiles = Cropper(gaussian_pairs(0)), Cropper(gaussian_pairs(1))
    return MultistepFit(network, Preconditioning(kind, SIGMA_DATA), tiles, how)


def factor(sampler: MultistepSettings) -> float:
    """What a draw of the exact Gaussian denoiser is, over its noise: all steps are linear."""
    levels = (*sampler.levels, sampler.remainder * sampler.levels[-1])
    x = float(np.hypot(levels[0], SIGMA_DATA))
    before = 0.0
    for i, (level, after) in enumerate(pairwise(levels)):
        clean = SIGMA_DATA**2 / (SIGMA_DATA**2 + level**2) * x
        beyond = sampler.extrapolations[i - 1] * (clean - before) if i else 0.0
        x = after / level * x + (1 - after / level) * (clean + beyond)
        before = clean
    return x


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_few_calls_through_an_exact_denoiser_learn_the_right_spread(calls: int) -> None:
    two_m = MultistepSettings.two_m([7.0, 1.4, 0.28][:calls])
    assert factor(two_m) / SIGMA_DATA < 0.95

    found = fit_of(Silent()).fit(calls)

    assert len(found.sampler.levels) == calls
    assert factor(found.sampler) / SIGMA_DATA == pytest.approx(1.0, abs=0.03)
    assert found.loss <= found.started


def test_a_fit_is_the_same_for_the_same_seed() -> None:
    how = replace(HOW, steps=6)

    one, other = (fit_of(Silent(), how).fit(2).sampler for _ in range(2))
    another = fit_of(Silent(), replace(how, seed=2)).fit(2).sampler

    assert one == other
    assert one != another


def test_levels_stay_inside_what_the_kind_knows() -> None:
    found = fit_of(Silent(), replace(HOW, steps=6, rate=2.0), "ve").fit(3)

    assert found.sampler.levels[0] <= 100.0
    assert found.sampler.levels[-1] >= 0.02


def test_a_fit_of_one_call_fewer_is_one_more_start() -> None:
    how = replace(HOW, steps=3)
    done: list[tuple[int, int]] = []
    fitting = fit_of(Silent(), how)

    alone = fitting.fit(3, report=lambda *at: done.append(at))
    without = len(done)
    fitting.fit(3, MultistepSettings((6.0, 1.0), (1.0,), 0.1), report=lambda *at: done.append(at))

    assert alone.sampler.steps == 3
    assert done[without - 1][0] == done[without - 1][1]
    # It takes the place of the second 2M.
    assert len(done) - without == without


def test_what_is_no_number_is_told() -> None:
    with pytest.raises(EngineError, match="loss is nan at step 0"):
        fit_of(Deaf()).fit(2)


@pytest.mark.parametrize("how", [{"steps": 2}, {"draws": 1}, {"tiles": 0}])
def test_settings_that_no_fit_can_use_are_refused(how: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="wanted at least 3 steps, 1 tile and 2 draws"):
        fit_of(Silent(), replace(HOW, **how))  # type: ignore[arg-type]


def test_power_is_that_of_whole_fields_where_the_coarse_field_is_told() -> None:
    smooth = np.broadcast_to(30.0 * np.sin(np.arange(32) / 5), (3, 1, 32, 32))
    pairs = replace(gaussian_pairs(0), condition=smooth.astype(np.float32))
    tiles = Cropper(pairs), Cropper(pairs)
    around = Preconditioning("edm", SIGMA_DATA)
    one_call = MultistepSettings((3.0,))
    score = MultistepFit(Silent(), around, tiles, replace(HOW, band_weight=0.0))._held_loss(
        one_call
    )
    alone, whole, drowned = (
        MultistepFit(Silent(), around, tiles, HOW, units)._held_loss(one_call)
        for units in ((), (1.0,), (1e-3,))
    )

    # One call draws too little power; beside a strong coarse field some of that goes unseen, and
    # where residuals are next to nothing all of it: what is left is the score alone.
    assert alone > whole > drowned == pytest.approx(score, abs=1e-3)


def test_a_regression_has_nothing_to_fit() -> None:
    with pytest.raises(UsageError, match="no noise levels"):
        fit_of(Silent(), kind="direct")
