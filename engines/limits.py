"""What a network must do at least, and what a device can do at most; asks torch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from engines.bundle import MODEL, Bundle
from engines.networks import build, from_plain

_DTYPES = {"f32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
#: Sizes of what is measured: large enough to fill a device, done in a second on two cores.
_MATRIX, _COPY_BYTES = {"cpu": 2048, "cuda": 8192}, {"cpu": 1 << 28, "cuda": 1 << 30}
_CHANNELS, _IMAGE = 256, (128, 128)
_TIMES = 4


@dataclass(frozen=True, slots=True)
class Work:
    """What one call costs a tile. flops: multiplications and additions.

    numbers: read and written if every layer reads its input and writes its output once. Fusing
    layers saves some of it, so that a share of the bandwidth above one is a sign of fusion.
    """

    flops: float
    numbers: float


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a device did just now: of a matrix product or convolution, and of a large copy."""

    flops_per_s: float
    bytes_per_s: float


def work(bundle: Bundle) -> Work:
    """Count one call for one tile, without computing it. Raises BundleError."""
    settings = from_plain(bundle.network, str(bundle.path / MODEL))
    network = build(settings).to("meta").eval()
    numbers = [0.0]

    def note(_module: nn.Module, inputs: Any, output: Any) -> None:
        numbers[0] += inputs[0].numel() + output.numel()

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(note)
    x = torch.zeros(1, settings.inputs, *settings.tile, device="meta")
    level = None if settings.direct else torch.zeros(1, device="meta")
    labels = torch.zeros(1, settings.labels, device="meta") if settings.labels else None
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x, level, labels)
    return Work(float(counter.get_total_flops()), numbers[0])


def ceiling(device: str, precision: str) -> Ceiling:
    """Measure what a device does at most, with as many threads as torch has."""
    kind = device.partition(":")[0]
    size = _MATRIX[kind]
    dtype = _DTYPES[precision]
    a = torch.rand(size, size, device=device).to(dtype)
    x = torch.rand(1, _CHANNELS, *_IMAGE, device=device).to(dtype)
    x = x.to(memory_format=torch.channels_last)
    kernel = torch.rand(_CHANNELS, _CHANNELS, 3, 3, device=device).to(x)
    source = torch.ones(_COPY_BYTES[kind], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    with torch.no_grad():
        # The better of two, since the library behind products is not the best on every CPU.
        products = 2.0 * size**3 / _best(lambda: torch.mm(a, a), kind)
        one_s = _best(lambda: functional.conv2d(x, kernel, padding=1), kind)
        convolutions = 2.0 * 9 * _CHANNELS**2 * _IMAGE[0] * _IMAGE[1] / one_s
        copy_s = _best(lambda: target.copy_(source), kind)
    return Ceiling(max(products, convolutions), 2.0 * _COPY_BYTES[kind] / copy_s)


def _best(call: Callable[[], object], kind: str) -> float:
    best = float("inf")
    for _ in range(_TIMES):
        began = time.perf_counter()
        call()
        if kind == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best
