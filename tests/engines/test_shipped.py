"""The bundles that ship say what their network is, and say it truly."""

import pytest
from safetensors.torch import load_file

from engines.bundle import WEIGHTS, open_manifest, shipped_names, weight_shapes
from engines.networks import build, from_plain


@pytest.mark.parametrize("name", shipped_names())
def test_the_manifest_builds_the_network_that_the_weights_fit(name: str) -> None:
    bundle = open_manifest(name)

    network = build(from_plain(bundle.network, str(bundle.path)))

    network.load_state_dict(load_file(bundle.path / WEIGHTS), strict=True)
    learned = sum(weight.numel() for weight in network.parameters())
    assert bundle.network["parameters"] == learned


@pytest.mark.parametrize("name", shipped_names())
def test_the_header_alone_tells_the_shapes(name: str) -> None:
    bundle = open_manifest(name)

    found = weight_shapes(bundle)

    weights = load_file(bundle.path / WEIGHTS)
    assert found == {name: tuple(value.shape) for name, value in weights.items()}
