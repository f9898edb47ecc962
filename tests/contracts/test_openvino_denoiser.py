"""OpenVINO keeps the contract of a denoiser, in float32 and where the CPU has it in bf16."""

import pytest

from engines.backends.openvino import OpenVinoDenoiser
from engines.bundle import Bundle
from engines.choice import EngineChoice
from engines.hardware import hardware
from tests.contracts.denoiser_contract import *  # noqa: F403 - the contract's tests run here
from tests.contracts.network_contract import *  # noqa: F403
from tests.contracts.network_contract import Opened


@pytest.fixture(scope="module", params=["f32", "bf16"])
def opened(small: Bundle, request: pytest.FixtureRequest) -> Opened:
    if request.param == "bf16" and not hardware("cpu").has_bf16:
        pytest.skip("this CPU has no bf16")
    return Opened(small, OpenVinoDenoiser(small, EngineChoice(precision=request.param, threads=1)))
