"""A network that is told more begins as the one that was told less."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from engines.errors import UsageError
from engines.networks import NetworkSettings, build
from engines.training.settings import Array
from engines.training.widened import widened

SMALL = NetworkSettings(
    inputs=4,
    outputs=1,
    tile=(16, 16),
    width=16,
    multipliers=(1, 2),
    blocks=1,
    dropout=0.0,
    attention=(),
    bottleneck_attention=False,
)
WIDE = replace(SMALL, inputs=6)
TOLD, WANTED = ("residual u", "u", "z", "lsm"), ("residual u", "u", "slope", "z", "lsm", "rough")


def weights_of(settings: NetworkSettings) -> dict[str, Array]:
    torch.manual_seed(3)
    network = build(settings)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return {name: value.numpy() for name, value in network.state_dict().items()}


def answer(settings: NetworkSettings, weights: dict[str, Array], x: torch.Tensor) -> Any:
    network = build(settings).eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    with torch.inference_mode():
        return network(x, torch.zeros(len(x))).numpy()


def test_what_is_new_has_no_say_at_first() -> None:
    old = weights_of(SMALL)
    x = torch.randn(2, 6, 16, 16, generator=torch.Generator().manual_seed(1))

    new = dict(widened(old, TOLD, WIDE, WANTED))

    known = [WANTED.index(name) for name in TOLD]
    found, wanted = answer(WIDE, new, x), answer(SMALL, old, x[:, known])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert np.std(wanted) > 1e-3


def test_a_network_of_another_shape_is_refused() -> None:
    old = weights_of(SMALL)

    with pytest.raises(UsageError, match="is told z, which this one would not be"):
        widened(old, TOLD, WIDE, ("residual u", "u", "a", "b", "lsm", "rough"))
    with pytest.raises(UsageError, match="other layers"):
        widened(old, TOLD, replace(WIDE, blocks=2), WANTED)
    with pytest.raises(UsageError, match="wanted"):
        widened(old, TOLD, replace(WIDE, width=32), WANTED)
