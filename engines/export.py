"""Turn a fitted network into what an engine runs, and into the answers it must reproduce.

Only F(c_in [x, condition], c_noise, labels) is exported: preconditioning and sampler stay outside,
in numpy. Height and width are fixed, the batch is free.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import Dim

from engines.errors import EngineError
from engines.manifest import Preconditioning
from engines.networks import NetworkSettings
from engines.precondition import coefficients

Array = NDArray[np.float32]
#: The first operator set in which a group norm is one operator.
OPSET = 21
INPUTS = ("inputs", "c_noise", "labels")
OUTPUT = "raw"


def to_onnx(network: nn.Module, settings: NetworkSettings) -> bytes:
    """Return the network as one ONNX file, float32, all data inside, batch dynamic.

    Inputs: `inputs` (B, channels, H, W), `c_noise` (B,), and `labels` (B, L) if it has any;
    output: `raw` (B, outputs, H, W).
    """
    network = network.eval().to(memory_format=torch.contiguous_format)
    height, width = settings.tile
    # Two tiles: an example batch of 1 would be taken for a constant.
    example = [torch.zeros(2, settings.inputs, height, width), torch.zeros(2)]
    example += [torch.zeros(2, settings.labels)] if settings.labels else []
    batch = Dim("batch", min=1)
    names = INPUTS[: len(example)]
    with torch.no_grad():
        program = torch.onnx.export(
            network,
            tuple(example),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(names),
            output_names=[OUTPUT],
            dynamic_shapes=tuple({0: batch} for _ in example),
            verbose=False,
        )
    if program is None:
        raise EngineError("torch.onnx.export made no program")
    # The property makes a new object each time it is read.
    model = program.model_proto
    _forget_sources(model)
    return bytes(model.SerializeToString())


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
    """
    scalings = coefficients(preconditioning.kind, sigma, preconditioning.sigma_data)
    c_skip, c_out, c_in = (
        factor[:, None, None, None] for factor in (scalings.c_skip, scalings.c_out, scalings.c_in)
    )
    joined = np.concatenate([x, condition], axis=1) * c_in
    with torch.no_grad():
        raw = network.eval()(
            torch.from_numpy(joined),
            torch.from_numpy(scalings.c_noise),
            None if labels is None else torch.from_numpy(labels),
        ).numpy()
    cases = {"x": x, "sigma": sigma, "condition": condition, "denoised": c_skip * x + c_out * raw}
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
