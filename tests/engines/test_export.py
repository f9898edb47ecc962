"""What is exported answers as the PyTorch network does, for any batch and mixture of levels."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from engines.export import golden_cases, to_onnx, weights
from engines.manifest import Preconditioning
from engines.networks import NetworkSettings, build
from engines.onnx_guard import external_tensors
from engines.precondition import edm

SETTINGS = NetworkSettings(
    inputs=5, outputs=2, tile=(16, 24), width=16, multipliers=(1, 2), blocks=1, labels=2
)
LEVELS = np.array([0.05, 0.6, 6.0], dtype=np.float32)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    network = build(SETTINGS)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return network


@pytest.fixture(scope="module")
def exported(network: nn.Module) -> bytes:
    return to_onnx(network, SETTINGS)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_onnx_network_is_the_pytorch_network(
    network: nn.Module, exported: bytes, batch: int
) -> None:
    rng = np.random.default_rng(batch)
    inputs = rng.standard_normal((batch, 5, 16, 24), dtype=np.float32)
    labels = rng.standard_normal((batch, 2), dtype=np.float32)
    c_noise = edm(LEVELS[:batch], 1.0).c_noise

    session = onnxruntime.InferenceSession(exported)
    (found,) = session.run(None, {"inputs": inputs, "c_noise": c_noise, "labels": labels})

    with torch.no_grad():
        wanted = network(*(torch.from_numpy(one) for one in (inputs, c_noise, labels))).numpy()
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_the_file_is_whole_and_names_its_inputs(exported: bytes) -> None:
    model = onnx.load_from_string(exported)

    onnx.checker.check_model(model, full_check=True)
    assert [one.name for one in model.graph.input] == ["inputs", "c_noise", "labels"]
    assert [(o.domain, o.version) for o in model.opset_import if not o.domain] == [("", 21)]
    assert external_tensors(exported) == []


def test_the_batch_is_free_and_the_tile_is_fixed(exported: bytes) -> None:
    model = onnx.load_from_string(exported)

    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param
    assert [dim.dim_value for dim in dims[1:]] == [5, 16, 24]


def test_the_file_tells_nothing_of_the_machine_that_made_it(exported: bytes) -> None:
    here = Path(__file__).resolve().parents[2]

    assert str(here).encode() not in exported
    assert b".py" not in exported


def test_golden_cases_are_the_denoiser_at_each_level_alone(network: nn.Module) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3, 2, 16, 24), dtype=np.float32) * LEVELS[:, None, None, None]
    condition = rng.standard_normal((3, 3, 16, 24), dtype=np.float32)
    labels = rng.standard_normal((3, 2), dtype=np.float32)

    cases = golden_cases(network, Preconditioning("edm", 0.5), x, LEVELS, condition, labels)

    for i, sigma in enumerate(LEVELS.astype(float)):
        total = sigma**2 + 0.25
        joined = torch.from_numpy(np.concatenate([x[i], condition[i]])[None]) / total**0.5
        c_noise = torch.tensor([np.log(sigma) / 4], dtype=torch.float32)
        with torch.no_grad():
            raw = network(joined.float(), c_noise, torch.from_numpy(labels[i : i + 1]))[0].numpy()
        wanted = 0.25 / total * x[i] + sigma * 0.5 / total**0.5 * raw
        assert np.allclose(cases["denoised"][i], wanted, rtol=1e-4, atol=1e-5)


def test_weights_load_back_strictly(network: nn.Module) -> None:
    other = build(SETTINGS)

    other.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in weights(network).items()})

    ours, theirs = network.state_dict(), other.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
