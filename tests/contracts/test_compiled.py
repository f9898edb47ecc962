"""Kernels made by torch.compile give the network's answers."""

import pytest

from engines.bundle import Bundle
from engines.open import open_bundle
from tests.conftest import require_tool


@pytest.mark.slow
@pytest.mark.parametrize("small", ["plain"], indirect=True)
def test_a_compiled_network_keeps_the_golden_vectors(small: Bundle) -> None:
    require_tool("c++")

    # They are checked at opening.
    denoiser = open_bundle(small, "torch", "f32", threads=1, device="cpu", compiled=True)

    assert denoiser.spec.backend == "torch"
