"""What a network must do at least: arithmetic and bytes, layer by layer."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.gpu_cases import Case
from tests.benchmarks.gpu_timing import Ceilings


@dataclass(frozen=True, slots=True)
class Work:
    """One call for one tile. layers: (FLOPs, numbers read and written) of each convolution.

    flops: of everything, attention and linear layers included.
    """

    flops: float
    layers: tuple[tuple[float, float], ...]

    def floor_ms(self, ceilings: Ceilings, precision: str) -> float:
        """Return how long a tile takes at least, if all but the convolutions cost nothing.

        Each convolution takes its arithmetic or its reading and writing, whichever is longer.
        """
        rate, width = ceilings.flops[precision], 4 if precision == "f32" else 2
        known = sum(flops for flops, _ in self.layers)
        layers = sum(max(f / rate, width * n / ceilings.bandwidth) for f, n in self.layers)
        return 1e3 * (layers + max(0.0, self.flops - known) / rate)


def work(case: Case, device: torch.device) -> Work:
    """Count one call for one tile by running it."""
    network = case.make().to(device).eval()
    layers: list[tuple[float, float]] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim == 4:
            flops = 2.0 * weight[0].numel() * output.numel()
            layers.append((flops, inputs[0].numel() + output.numel()))

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    x, factors, condition, *labels = case.tensors(1, device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.cat([x, condition], 1), factors[:, 3], *labels)
    for hook in hooks:
        hook.remove()
    return Work(float(counter.get_total_flops()), tuple(layers))
