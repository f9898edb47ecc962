"""PyTorch on a CPU keeps the contracts of a denoiser and of whole runs."""

import pytest

from engines.backends.torch import open_denoiser
from engines.bundle import Bundle
from engines.choice import EngineChoice
from tests.contracts.denoiser_contract import *  # noqa: F403 - the contract's tests run here
from tests.contracts.network_contract import *  # noqa: F403
from tests.contracts.network_contract import Opened
from tests.contracts.sampling_contract import *  # noqa: F403


@pytest.fixture(scope="module", params=[("f32", 1), ("f32", 4), ("bf16", 4)])
def opened(small: Bundle, request: pytest.FixtureRequest) -> Opened:
    precision, batch = request.param
    choice = EngineChoice("torch", precision, threads=1, device="cpu", batch=batch)
    return Opened(small, open_denoiser(small, choice))
