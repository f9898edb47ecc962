"""What is exported answers as the PyTorch network does, for any batch and mixture of levels."""

from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import engines.backends.openvino  # noqa: F401 - so that OpenVINO tells nobody of its start
from engines.denoiser import Array
from engines.errors import UsageError
from engines.export import golden_cases, to_onnx, weights
from engines.golden import relative_error
from engines.manifest import Preconditioning
from engines.networks import NetworkSettings, build, published
from engines.onnx_guard import external_tensors
from engines.precondition import edm
from tests.engines.parity import case, random_network, theirs

SETTINGS = NetworkSettings(
    inputs=5, outputs=2, tile=(16, 24), width=16, multipliers=(1, 2), blocks=1, labels=2
)
#: Two heads of attention in the middle.
ADM = published("adm", 5, 2, (8, 12), width=32, multipliers=(2, 4), blocks=1, labels=2)
#: Every path of the three networks, and a direct one with and without labels.
NETWORKS = {
    "ddpmpp": SETTINGS,
    "ncsnpp": published("ncsnpp", 5, 2, (16, 24), width=16, multipliers=(1, 2), blocks=1),
    "adm": ADM,
    "direct ddpmpp": published(
        "ddpmpp", 3, 2, (8, 12), width=16, multipliers=(1, 2), blocks=1, labels=2, direct=True
    ),
    "direct adm": published(
        "adm", 3, 2, (8, 12), width=32, multipliers=(1, 2), blocks=1, direct=True
    ),
}
LEVELS = np.array([0.05, 0.6, 6.0], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Exported:
    settings: NetworkSettings
    network: nn.Module
    graph: bytes

    def given(self, batch: int) -> dict[str, Array]:
        """Return a random call's inputs by name."""
        rng = np.random.default_rng(batch)
        settings = self.settings
        shape = (batch, settings.inputs, *settings.tile)
        given = {"inputs": rng.standard_normal(shape, dtype=np.float32)}
        if not settings.direct:
            given["c_noise"] = edm(LEVELS[:batch], 1.0).c_noise
        if settings.labels:
            given["labels"] = rng.standard_normal((batch, settings.labels), dtype=np.float32)
        return given

    def answer(self, batch: int) -> Array:
        """Return what PyTorch says to that."""
        given = {name: torch.from_numpy(array) for name, array in self.given(batch).items()}
        with torch.no_grad():
            return np.asarray(self.network(**given).numpy(), dtype=np.float32)


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def exported(request: pytest.FixtureRequest) -> Exported:
    settings = NETWORKS[request.param]
    network = random_network(settings)
    return Exported(settings, network, to_onnx(network, settings))


@pytest.fixture(scope="module", params=["fp16", "bf16"])
def half(request: pytest.FixtureRequest) -> tuple[str, Exported]:
    network = random_network(ADM)
    return request.param, Exported(ADM, network, to_onnx(network, ADM, request.param))


def session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("batch", [1, 3])
def test_the_onnx_network_is_the_pytorch_network(exported: Exported, batch: int) -> None:
    (found,) = session(exported.graph).run(None, exported.given(batch))

    assert relative_error(found, exported.answer(batch)) <= 1e-5


def test_the_file_is_whole_and_names_its_inputs(exported: Exported) -> None:
    model = onnx.load_from_string(exported.graph)

    onnx.checker.check_model(model, full_check=True)
    assert [one.name for one in model.graph.input] == list(exported.given(1))
    assert [one.name for one in model.graph.output] == ["raw"]
    assert [(o.domain, o.version) for o in model.opset_import if not o.domain] == [("", 21)]
    assert external_tensors(exported.graph) == []


def test_the_batch_is_free_and_the_tile_is_fixed(exported: Exported) -> None:
    model = onnx.load_from_string(exported.graph)

    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param
    wanted = [exported.settings.inputs, *exported.settings.tile]
    assert [dim.dim_value for dim in dims[1:]] == wanted


def test_norms_and_attention_are_few_operators(exported: Exported) -> None:
    count = Counter(node.op_type for node in onnx.load_from_string(exported.graph).graph.node)

    norms = sum(isinstance(module, nn.GroupNorm) for module in exported.network.modules())
    attending = sum(name.endswith(".qkv.weight") for name in exported.network.state_dict())
    assert count["GroupNormalization"] == norms
    assert count["Softmax"] == attending


def test_the_file_tells_nothing_of_the_machine_that_made_it(exported: Exported) -> None:
    here = Path(__file__).resolve().parents[2]

    model = onnx.load_from_string(exported.graph)
    for one in model.graph.initializer:
        # Among so many random bytes there may be any word of three letters.
        one.ClearField("raw_data")
    told = model.SerializeToString()

    assert str(here).encode() not in told
    assert b".py" not in told


def test_half_precision_answers_nearly_as_float32(half: tuple[str, Exported]) -> None:
    precision, exported = half
    core = import_module("openvino").Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(exported.graph), "CPU", hints)
    given, wanted = exported.given(3), exported.answer(3)

    errors = [relative_error(np.asarray(compiled(given)[0]), wanted)]
    # ONNX Runtime has no bfloat16 convolution on a CPU.
    if precision == "fp16":
        errors.append(relative_error(session(exported.graph).run(None, given)[0], wanted))

    least, most = {"fp16": (1e-5, 4e-3), "bf16": (1e-4, 3e-2)}[precision]
    assert all(least < error < most for error in errors), errors


def test_half_precision_lies_between_float32_ends_norms_and_embeddings(
    half: tuple[str, Exported],
) -> None:
    precision, exported = half
    model = onnx.load_from_string(exported.graph)
    inside = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    kinds = {one.name: one.data_type for one in model.graph.initializer}

    onnx.checker.check_model(model, full_check=True)
    ends = [*model.graph.input, *model.graph.output]
    assert {one.type.tensor_type.elem_type for one in ends} == {onnx.TensorProto.FLOAT}
    by_kind = {
        node.op_type: {kinds[name] for name in node.input if name in kinds}
        for node in model.graph.node
        if node.op_type in ("Conv", "GroupNormalization")
    }
    assert by_kind == {"Conv": {inside}, "GroupNormalization": {onnx.TensorProto.FLOAT}}
    told = {kind for name, kind in kinds.items() if "map_" in name}
    assert told == {onnx.TensorProto.FLOAT}


def test_an_unknown_precision_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="'int8', wanted one of f32, fp16, bf16"):
        to_onnx(build(ADM), ADM, "int8")


@pytest.mark.parametrize("kind", ["edm", "corrdiff", "vp", "ve", "direct"])
def test_golden_cases_are_the_denoiser_at_each_level_alone(kind: str) -> None:
    settings = NETWORKS["direct ddpmpp"] if kind == "direct" else SETTINGS
    network = random_network(settings)
    asked = case(settings, LEVELS.tolist())

    cases = golden_cases(
        network, Preconditioning(kind, 1.0), asked.x, LEVELS, asked.condition, asked.labels
    )

    wanted = theirs(network, kind, asked)(asked.x, LEVELS)
    assert relative_error(cases["denoised"], wanted) < 1e-5
    assert set(cases) == {"x", "sigma", "condition", "labels", "denoised"}


def test_weights_load_back_strictly() -> None:
    network, other = random_network(ADM), build(ADM)

    other.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in weights(network).items()})

    ours, theirs = network.state_dict(), other.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
