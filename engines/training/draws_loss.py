"""What a network is tuned for: draws that are right together, and not merely close to the truth.

Shapes: draws (B, D, C, h, w), D at least 2, truth (B, C, h, w), weights (B, 1, h, w).
"""

from torch import Tensor

from engines.training.ensemble_loss import band_penalty, fair_crps, gradient_crps, patch_energy
from engines.training.tune_settings import Terms


def draws_loss(draws: Tensor, truth: Tensor, weights: Tensor, terms: Terms) -> Tensor:
    """Return the loss of a batch's draws; what counts nothing is not computed."""
    loss = fair_crps(draws, truth, weights)
    if terms.band:
        # Power counts by area too: rows near the poles lie close together.
        share = (weights / weights.mean()).sqrt()
        loss = loss + terms.band * band_penalty(draws * share[:, None], truth * share)
    if terms.patch:
        loss = loss + terms.patch * patch_energy(draws, truth, weights)
    if terms.gradient:
        loss = loss + terms.gradient * gradient_crps(draws, truth, weights)
    if terms.spread:
        ratio = spread_skill(draws, truth, weights) / terms.aim
        loss = loss + terms.spread * ratio.log().square()
    return loss


def spread_skill(draws: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return spread over the ensemble mean's RMSE with the factor (D + 1) / D, 1 at its best.

    Both are pooled over the batch before they are compared. Source: Fortin et al. 2014
    (https://doi.org/10.1175/JHM-D-14-0008.1).
    """
    count = draws.shape[1]
    variance = (draws.var(dim=1, correction=1) * weights).mean()
    square = ((draws.mean(dim=1) - truth).square() * weights).mean()
    ratio: Tensor = ((count + 1) / count * variance / square).sqrt()
    return ratio
