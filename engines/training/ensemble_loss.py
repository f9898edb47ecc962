"""What makes draws of one input good together: proper scores, and the power at every scale.

Shapes: draws (B, D, C, h, w), D at least 2, truth (B, C, h, w), in whatever units both share;
weights broadcast to truth, such as (B, 1, h, 1). Every score is fair: its mean does not depend
on D. All return a scalar that gradients flow through.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

#: Ends of the wavenumber bands, as shares of the highest that a row or column of points has.
BANDS = (0.0, 1 / 3, 2 / 3, math.inf)
#: Keeps the gradient of a norm finite where two draws are equal.
_TINY = 1e-12


def fair_crps(draws: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the fair CRPS, the weighted mean over points, channels and inputs.

    Source: Ferro 2014 (https://doi.org/10.1002/qj.2270).
    """
    count = draws.shape[1]
    missed = (draws - truth[:, None]).abs().mean(dim=1)
    ranked = draws.sort(dim=1).values
    # The sum of all pairs' differences, each draw counted by how many lie below and above it.
    order = 2.0 * torch.arange(count, device=draws.device) - count + 1.0
    apart = (order[:, None, None, None] * ranked).sum(dim=1) / (count * (count - 1))
    return _mean(missed - apart, weights)


def gradient_crps(draws: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the fair CRPS of the differences between neighbours, down and across, their mean."""
    found = []
    for axis in (-2, -1):
        along = None
        if weights is not None:
            full = weights.expand_as(truth)
            size = full.shape[axis] - 1
            along = 0.5 * (full.narrow(axis, 0, size) + full.narrow(axis, 1, size))
        found.append(fair_crps(draws.diff(dim=axis), truth.diff(dim=axis), along))
    return 0.5 * (found[0] + found[1])


def patch_energy(
    draws: Tensor, truth: Tensor, weights: Tensor | None = None, size: int = 8
) -> Tensor:
    """Return the fair energy score of patches of size x size points, all channels together.

    In units of one value: norms are over the root of the number of values in a patch. Rows and
    columns that fill no patch are left out. Source: Gneiting and Raftery 2007
    (https://doi.org/10.1198/016214506000001437), section 4.3.
    """
    count = draws.shape[1]
    patches, true = _patches(draws, size), _patches(truth, size)
    missed = _norm(patches - true[:, None]).mean(dim=1)
    first, second = torch.triu_indices(count, count, offset=1)
    apart = _norm(patches[:, first] - patches[:, second]).mean(dim=1)
    shares = None
    if weights is not None:
        shares = _patches(weights.expand_as(truth), size).mean(dim=-1)
    return _mean(missed - 0.5 * apart, shares)


def band_penalty(draws: Tensor, truth: Tensor) -> Tensor:
    """Return the sum over three wavenumber bands of ln^2 of draws' power over the truth's.

    The mean over channels. Powers are of single draws, pooled over inputs and draws before they
    are compared, in two dimensions; tiles are tapered, since they do not close on themselves.
    """
    drawn = _power(draws.flatten(0, 1))
    ratios = (drawn.log() - _power(truth).log()) ** 2
    return ratios.sum(dim=1).mean()


def _power(fields: Tensor) -> Tensor:
    """Return (C, bands): the mean power of (B, C, h, w) in each band."""
    height, width = fields.shape[-2:]
    down, across = (
        torch.hann_window(n + 2, periodic=False, device=fields.device)[1:-1]
        for n in (height, width)
    )
    taper = down[:, None] * across
    centred = fields - (fields * taper).sum(dim=(-2, -1), keepdim=True) / taper.sum()
    spectrum = torch.fft.rfft2(centred * taper, norm="ortho").abs() ** 2
    vertical, horizontal = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    # Each column but the first and an even number's last stands for its negative too.
    twice = torch.full((len(horizontal),), 2.0)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    number = (vertical[:, None] ** 2 + horizontal**2).sqrt() / 0.5
    bands = torch.stack(
        [twice * ((number >= low) & (number < high)) for low, high in pairwise(BANDS)]
    ).to(fields.device)
    total: Tensor = torch.einsum("bchw,nhw->cn", spectrum, bands)
    return total / len(fields)


def _patches(fields: Tensor, size: int) -> Tensor:
    """Return (..., patches, C size size) of (..., C, h, w)."""
    *before, channels, height, width = fields.shape
    rows, columns = height // size, width // size
    whole = fields[..., : rows * size, : columns * size]
    cut = whole.reshape(*before, channels, rows, size, columns, size)
    # (..., C, rows, size, columns, size) to (..., rows, columns, C, size, size)
    apart = cut.movedim((-4, -2), (-5, -4))
    return apart.reshape(*before, rows * columns, channels * size * size)


def _norm(values: Tensor) -> Tensor:
    return (values.square().mean(dim=-1) + _TINY).sqrt()


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return values.mean()
    return (values * weights).sum() / weights.expand_as(values).sum()
