"""The multistep sampler as tensors: a whole run that asks the host for nothing on its way.

The same steps as `engines.sampler.multistep`, with every factor that depends on a level read from
a table on the device, so that one recorded graph serves all settings of as many levels.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engines.backends.device_heun import Denoise
from engines.denoiser import Array
from engines.manifest import Preconditioning
from engines.multistep import MultistepSettings
from engines.precondition import coefficients

#: Columns of a table, one row a call of the network: the preconditioning's five factors, then
#: those of the state, of the newest answer and of the one before it.
STATE, NEWEST, BEFORE = range(5, 8)


def table(
    settings: MultistepSettings, schedule: NDArray[np.float64], around: Preconditioning
) -> Array:
    """Return what a run needs of its levels, (N, 8) float32; the columns are named above."""
    rows = []
    for (level, after), beyond in zip(
        pairwise(float(s) for s in schedule), (0.0, *settings.extrapolations), strict=True
    ):
        keep = after / level
        rows.append((keep, (1.0 - keep) * (1.0 + beyond), (keep - 1.0) * beyond))
    # Levels reach a denoiser as float32, whatever computed them.
    sigmas = schedule[:-1].astype(np.float32)
    factors = coefficients(around.kind, sigmas, around.sigma_data)
    return np.column_stack([*factors, np.array(rows)]).astype(np.float32)


def multistep(denoise: Denoise, noise: Tensor, start: Tensor, levels: Tensor) -> Tensor:
    """Return the clean residual, (B, C, H, W), after a run over the rows of `levels`.

    noise: (1, B, C, H, W). start: (1,), the deviation of the first state. levels: (N, 8) as
    `table` makes it, on the noise's device.
    """
    x, before = noise[0] * start, None
    for row in levels.unbind(0):
        denoised = denoise(x, row[:STATE].expand(len(x), STATE))
        x = x * row[STATE] + denoised * row[NEWEST]
        if before is not None:
            x = x + before * row[BEFORE]
        before = denoised
    return x
