"""Turn a fitted network into what an engine runs, and into the answers it must reproduce.

Only F(inputs, c_noise, labels) is exported: preconditioning and sampler stay outside, in numpy and
float32, whatever the precision inside. Height and width are fixed, the batch is free.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from engines.errors import EngineError
from engines.manifest import Preconditioning
from engines.networks import NetworkSettings
from engines.networks.lowered import lowered
from engines.precondition import network_inputs, network_output

Array = NDArray[np.float32]
#: By precision: 21 is the first operator set in which a group norm is one operator, and 22 the
#: first whose convolutions take bfloat16.
OPSETS: Mapping[str, int] = MappingProxyType({"f32": 21, "fp16": 21, "bf16": 22})
OUTPUT = "raw"


def to_onnx(network: nn.Module, settings: NetworkSettings, precision: str = "f32") -> bytes:
    """Return the network as one ONNX file, all data inside, batch dynamic.

    Inputs: `inputs` (B, channels, H, W), `c_noise` (B,) unless the network is direct, and `labels`
    (B, L) if it has any; output: `raw` (B, outputs, H, W); all float32. precision: `fp16` and
    `bf16` give half weights and arithmetic inside, with float32 norms and embeddings.
    """
    inside = lowered(network.eval(), precision).eval().to(memory_format=torch.contiguous_format)
    example = _example(settings)
    batch = Dim("batch", min=1)
    with torch.no_grad():
        program = torch.onnx.export(
            inside,
            kwargs=example,
            dynamo=True,
            opset_version=OPSETS[precision],
            input_names=list(example),
            output_names=[OUTPUT],
            dynamic_shapes={name: {0: batch} for name in example},
            verbose=False,
        )
    if program is None:
        raise EngineError("torch.onnx.export made no program")
    # The property makes a new object each time it is read.
    model = program.model_proto
    _forget_sources(model)
    return bytes(model.SerializeToString())


def _example(settings: NetworkSettings) -> dict[str, Tensor]:
    """Return one call's inputs by name; of two tiles, since one would be taken for a constant."""
    found = {"inputs": torch.zeros(2, settings.inputs, *settings.tile)}
    if not settings.direct:
        found["c_noise"] = torch.zeros(2)
    if settings.labels:
        found["labels"] = torch.zeros(2, settings.labels)
    return found


def golden_cases(
    network: nn.Module,
    preconditioning: Preconditioning,
    x: Array,
    sigma: Array,
    condition: Array,
    labels: Array | None = None,
) -> Mapping[str, Array]:
    """Return cases with the clean residual that the PyTorch network gives, as `golden.npz` has it.

    x: (N, C, H, W). sigma: (N,), which may all differ. condition: (N, K, H, W). labels: (N, L).
    A direct network looks at neither x nor sigma.
    """
    inputs, c_noise = network_inputs(preconditioning, x, sigma, condition)
    with torch.no_grad():
        raw = network.eval()(
            torch.from_numpy(inputs),
            torch.from_numpy(c_noise),
            None if labels is None else torch.from_numpy(labels),
        ).numpy()
    denoised = network_output(preconditioning, x, sigma, raw)
    cases = {"x": x, "sigma": sigma, "condition": condition, "denoised": denoised}
    return cases if labels is None else cases | {"labels": labels}


def weights(network: nn.Module) -> Mapping[str, Array]:
    """Return the network's state by name, as `weights.safetensors` has it."""
    return {
        name: np.ascontiguousarray(value.detach().numpy())
        for name, value in network.state_dict().items()
    }


def _forget_sources(model: Any) -> None:
    """Remove what the exporter notes about this machine's files and its own inner names."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
