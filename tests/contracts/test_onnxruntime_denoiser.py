"""ONNX Runtime keeps the contract of a denoiser, tile by tile and in buckets."""

import pytest

from engines.backends.onnxruntime import OnnxRuntimeDenoiser
from engines.bundle import Bundle
from engines.choice import EngineChoice
from tests.contracts.denoiser_contract import *  # noqa: F403 - the contract's tests run here
from tests.contracts.network_contract import *  # noqa: F403
from tests.contracts.network_contract import Opened


@pytest.fixture(scope="module", params=[None, 4])
def opened(small: Bundle, request: pytest.FixtureRequest) -> Opened:
    return Opened(small, OnnxRuntimeDenoiser(small, EngineChoice(threads=1, batch=request.param)))
