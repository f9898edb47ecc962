"""The closed form keeps the contract of a denoiser."""

import numpy as np
import pytest

from engines.denoiser import GaussianDenoiser
from tests.contracts.denoiser_contract import *  # noqa: F403 - the contract's tests run here
from tests.contracts.denoiser_contract import Known

MEAN, DEVIATION = 0.25, 0.5


@pytest.fixture
def known() -> Known:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 2, 8, 12), dtype=np.float32)
    sigma = np.array([0.05, 0.6, 6.0], np.float32)
    condition = np.zeros((3, 1, 8, 12), np.float32)
    # The mean of what is left when x was seen: each weighed by the other's variance.
    s2 = sigma.astype(np.float64)[:, None, None, None] ** 2
    wanted = (x * DEVIATION**2 + MEAN * s2) / (DEVIATION**2 + s2)
    denoiser = GaussianDenoiser(MEAN, DEVIATION)
    return Known(denoiser, x, sigma, condition, None, wanted.astype(np.float32), 1e-6)
