"""The loss of draws: what counts nothing is left out, and spread over skill is 1 where honest."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from engines.training.draws_loss import draws_loss, spread_skill
from engines.training.ensemble_loss import fair_crps
from engines.training.tune_settings import Terms

NOTHING = Terms(band=0.0)


def ensemble(spread: float = 1.0, draws: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Independent normal draws of deviation `spread`, and a truth of deviation 1."""
    torch.manual_seed(0)
    weights = torch.linspace(0.5, 1.5, 32)[None, None, :, None]
    return spread * torch.randn(16, draws, 2, 32, 32), torch.randn(16, 2, 32, 32), weights


@pytest.mark.parametrize("draws", [2, 3, 8])
@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_spread_over_skill_has_its_closed_form(spread: float, draws: int) -> None:
    found = spread_skill(*ensemble(spread, draws))

    # The mean of D draws misses by 1 + spread^2 / D, their variance is spread^2.
    wanted = ((draws + 1) / draws * spread**2 / (1 + spread**2 / draws)) ** 0.5
    assert float(found) == pytest.approx(wanted, rel=0.02)


def test_without_other_terms_it_is_the_fair_crps() -> None:
    draws, truth, weights = ensemble()

    assert float(draws_loss(draws, truth, weights, NOTHING)) == pytest.approx(
        float(fair_crps(draws, truth, weights))
    )


@pytest.mark.parametrize("term", ["band", "patch", "gradient", "spread"])
def test_every_term_counts_as_much_as_it_is_told_to(term: str) -> None:
    given = ensemble(0.6)
    without = float(draws_loss(*given, NOTHING))

    once = float(draws_loss(*given, replace(NOTHING, **{term: 1.0}))) - without
    twice = float(draws_loss(*given, replace(NOTHING, **{term: 2.0}))) - without

    assert once > 0.01
    assert twice == pytest.approx(2.0 * once, rel=1e-3)


def test_too_little_spread_is_pulled_towards_the_aim() -> None:
    draws, truth, weights = ensemble(0.8)
    scale = torch.ones((), requires_grad=True)
    for aim in (1.0, 1.2):
        terms = replace(NOTHING, spread=100.0, aim=aim)

        (slope,) = torch.autograd.grad(draws_loss(scale * draws, truth, weights, terms), scale)

        assert slope < 0


def test_only_the_crps_counts_unless_told_otherwise_besides_the_bands() -> None:
    chosen = Terms()

    counting = [one.name for one in fields(Terms) if getattr(chosen, one.name)]
    assert counting == ["band", "aim"]
