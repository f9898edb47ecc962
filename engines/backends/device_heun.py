"""The sampler as tensors: a whole Heun run that asks the host for nothing on its way.

The same steps as `engines.sampler.heun`, with every factor that depends on a level read from a
table on the device, so that one recorded graph serves every schedule of as many levels.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.denoiser import Array
from engines.manifest import Preconditioning
from engines.precondition import coefficients
from engines.sampler import SamplerSettings, raised

#: Columns of a table, one row a call of the network: the preconditioning's factors, then
#: 1 / sigma, and the way to the next level; half of it in the row of the correction.
C_SKIP, C_OUT, C_IN, C_NOISE, C_CONDITION, INVERSE, WAY, CHURN = range(8)

#: D for (x (B, C, H, W), factors (B, 5)): the clean residual.
Denoise = Callable[[Tensor, Tensor], Tensor]


def table(
    settings: SamplerSettings, schedule: NDArray[np.float64], around: Preconditioning
) -> Array:
    """Return what a run needs of its levels, (2 N - 1, 8) float32; the columns are named above.

    Rows come in the order of the calls: two a level, one for the last. The column of churn holds
    the factor of the noise that raises the row's level, 0 where nothing is raised.
    """
    rows: list[tuple[float, float, float]] = []
    sigmas: list[float] = []
    for level, after in pairwise(float(s) for s in schedule):
        sigma = raised(level, settings)
        churn = math.sqrt(sigma**2 - level**2) * settings.s_noise
        sigmas.append(sigma)
        rows.append((1.0 / sigma, after - sigma, churn))
        if after > 0.0:
            sigmas.append(after)
            rows.append((1.0 / after, 0.5 * (after - sigma), 0.0))
    # Levels reach a denoiser as float32, whatever computed them.
    factors = coefficients(around.kind, np.array(sigmas, np.float32), around.sigma_data)
    return np.column_stack([*factors, np.array(rows)]).astype(np.float32)


def heun(denoise: Denoise, noise: Tensor, start: Tensor, levels: Tensor) -> Tensor:
    """Return the clean residual, (B, C, H, W), after a run over the rows of `levels`.

    noise: (M, B, C, H, W), as `Sampling.sample` has it. start: (1,), the first level.
    levels: (2 N - 1, 8) as `table` makes it, on the noise's device.
    """
    batch = noise.shape[1]
    x = noise[0] * start
    for i in range(0, len(levels), 2):
        row = levels[i]
        if len(noise) > 1:
            x = x + noise[i // 2 + 1] * row[CHURN]
        slope = (x - denoise(x, _factors(row, batch))) * row[INVERSE]
        trial = x + slope * row[WAY]
        if i + 1 == len(levels):
            return trial
        row = levels[i + 1]
        slope = slope + (trial - denoise(trial, _factors(row, batch))) * row[INVERSE]
        x = x + slope * row[WAY]
    raise AssertionError("a run ends with the single call of its last level")


def preconditioned(
    network: Callable[..., Tensor], dtype: torch.dtype, kind: str
) -> Callable[..., Tensor]:
    """Return D(x, factors, condition, labels) around `network`, which computes in `dtype`.

    factors: (B, 5), the preconditioning's, c_skip first. All but the network is float32.
    kind: of preconditioning; for `direct` the network sees the condition alone.
    """

    def denoise(x: Tensor, factors: Tensor, condition: Tensor, labels: Tensor | None) -> Tensor:
        c_skip, c_out, c_in, c_noise, c_condition = factors.unbind(1)
        inputs = condition
        if kind != "direct":
            inputs = torch.cat([_across(c_in) * x, _across(c_condition) * condition], dim=1)
        raw = network(inputs.to(dtype, memory_format=torch.channels_last), c_noise, labels).float()
        return raw if kind == "direct" else _across(c_skip) * x + _across(c_out) * raw

    return denoise


def _across(factor: Tensor) -> Tensor:
    """Lay one factor a tile across the tile."""
    return factor[:, None, None, None]


def _factors(row: Tensor, batch: int) -> Tensor:
    return row[:INVERSE].expand(batch, INVERSE)
