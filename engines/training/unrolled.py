"""A few-call sampler as one differentiable function of its network and of its coefficients.

The numbers are those of `engines.sampler`'s multistep solver; here gradients flow through them.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from engines.errors import UsageError
from engines.precondition import BETA_MIN, BETA_SLOPE, TIMES, Around

#: D(x, sigma): x (B, C, h, w), sigma a scalar; gives the clean residual, (B, C, h, w).
Denoise = Callable[[Tensor, Tensor], Tensor]


def unrolled(
    denoise: Denoise,
    noise: Tensor,
    levels: Tensor,
    extrapolations: Tensor,
    remainder: Tensor,
    sigma_data: float,
) -> Tensor:
    """Return a draw of the multistep sampler, (B, C, h, w), one call of `denoise` a level.

    noise: (B, C, h, w), standard normal. levels: (N,), falling, above 0. extrapolations: (N - 1,),
    k_2 ... k_N. remainder: the share of the last level's noise that stays, below 1.

    With D_i = D(x, s_i): E = D_i + k_i (D_i - D_{i-1}); x = q x + (1 - q) E, q = s_{i+1} / s_i,
    and q = remainder at the last level. It starts at sqrt(sigma_data^2 + s_1^2) noise, which has
    the variance of a noisy residual. Source: the form of DPM-Solver++(2M), Lu et al. 2022
    (https://arxiv.org/abs/2211.01095), its coefficients free.
    """
    if len(extrapolations) != len(levels) - 1:
        raise ValueError(
            f"{len(levels)} levels with {len(extrapolations)} extrapolations, wanted one less"
        )
    ratios = [after / level for level, after in pairwise(levels)] + [remainder]
    x = (sigma_data**2 + levels[0] ** 2).sqrt() * noise
    before: Tensor | None = None
    for i, (level, keep) in enumerate(zip(levels, ratios, strict=True)):
        clean = denoise(x, level)
        ahead = clean if before is None else clean + extrapolations[i - 1] * (clean - before)
        x = keep * x + (1.0 - keep) * ahead
        before = clean
    return x


def surrounded(
    network: nn.Module, around: Around, condition: Tensor, labels: Tensor | None = None
) -> Denoise:
    """Return D(x, sigma; condition) of a raw network with its preconditioning.

    condition: (B, K, h, w). labels: (B, L) or None. Differentiable in x, in sigma and in the
    network's weights; the numbers are those of `engines.precondition` to rounding.
    Raises UsageError for a direct network, which has no levels.
    """
    factors = _FACTORS.get(around.kind)
    if factors is None:
        raise UsageError(f"a network of kind {around.kind} has no noise levels, so nothing to fit")

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        c_skip, c_out, c_in, c_noise, c_condition = factors(sigma, around.sigma_data)
        joined = torch.cat([c_in * x, c_condition * condition], dim=1)
        inputs = joined.to(memory_format=torch.channels_last)
        raw: Tensor = network(inputs, c_noise.expand(len(x)), labels)
        return c_skip * x + c_out * raw

    return denoise


#: c_skip, c_out, c_in, c_noise and c_condition.
_Factors = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _edm(sigma: Tensor, sigma_data: float) -> _Factors:
    total = sigma**2 + sigma_data**2
    into = total.rsqrt()
    return sigma_data**2 / total, sigma * sigma_data * into, into, sigma.log() / 4, into


def _corrdiff(sigma: Tensor, sigma_data: float) -> _Factors:
    return *_edm(sigma, sigma_data)[:4], torch.ones_like(sigma)


def _ve(sigma: Tensor, _sigma_data: float) -> _Factors:
    one = torch.ones_like(sigma)
    return one, sigma, one, (sigma / 2).log(), one


def _vp(sigma: Tensor, _sigma_data: float) -> _Factors:
    root = (BETA_MIN**2 + 2 * BETA_SLOPE * (1 + sigma**2).log()).sqrt()
    c_noise = (TIMES - 1) * (root - BETA_MIN) / BETA_SLOPE
    into = (1 + sigma**2).rsqrt()
    return torch.ones_like(sigma), -sigma, into, c_noise, into


_FACTORS: dict[str, Callable[[Tensor, float], _Factors]] = {
    "edm": _edm,
    "corrdiff": _corrdiff,
    "ve": _ve,
    "vp": _vp,
}
