"""Measures one bundle on every backend that runs here, each in a process of its own."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.build import prove
from engines.bundle import MODEL, Bundle
from engines.choice import EngineChoice, buckets
from engines.denoiser import Denoiser
from engines.errors import EngineError, UsageError
from engines.hardware import hardware
from engines.loading import load
from engines.proof import Proof
from engines.trial import Opener

#: What the others are held against.
BASELINE = "torch, eager"


@dataclass(frozen=True, slots=True)
class Contender:
    """An engine that may run here. name: in the table. opener: opens it in its process."""

    name: str
    choice: EngineChoice
    opener: Opener


@dataclass(frozen=True, slots=True)
class Measured:
    """What a contender showed, or why it does not run here."""

    contender: Contender
    proof: Proof | None
    fault: str = ""


def contenders(device: str, batch: int, threads: int | None = None) -> list[Contender]:
    """Return every engine that is tried on a device, the baseline first."""
    on_gpu = device != "cpu"
    precisions = {
        "openvino": () if on_gpu else ("f32", "bf16"),
        "onnxruntime": ("f32",),
        "torch": ("fp16", "bf16") if on_gpu else ("bf16",),
        "tensorrt": ("fp16", "bf16"),
    }
    eagerly = [(BASELINE, "f32"), *([(BASELINE, "fp16")] if on_gpu else [])]
    found = [
        Contender(name, EngineChoice("torch", precision, threads, device, batch), eager)
        for name, precision in eagerly
    ]
    for backend, known in precisions.items():
        # TensorRT knows no CPU, and is listed beside one so that its absence is explained.
        own = None if backend == "tensorrt" and not on_gpu else device
        found += [
            Contender(backend, EngineChoice(backend, precision, threads, own, batch), load)
            for precision in known
        ]
    return found


def measured(
    bundle: Bundle, among: Sequence[Contender], done: Callable[[int], None], limit_s: float
) -> list[Measured]:
    """Measure one contender after another, so that each has the machine to itself."""
    found = []
    with tempfile.TemporaryDirectory(prefix="downscaled-bench-") as folder:
        for count, contender in enumerate(among, 1):
            found.append(_measured(bundle, contender, Path(folder) / str(count), limit_s))
            done(count)
    return found


def eager(bundle: Bundle, choice: EngineChoice) -> Denoiser:
    """Open a bundle on PyTorch as most would: no compiler, no recorded graph."""
    # Heavy, and wanted only in the process that measures it.
    from engines.backends import torch as door  # noqa: PLC0415
    from engines.backends.torch_network import load as fill  # noqa: PLC0415
    from engines.networks import build, from_plain  # noqa: PLC0415

    if choice.device == "cpu":
        return door.open_denoiser(bundle, choice)
    shape = from_plain(bundle.network, str(bundle.path / MODEL))
    network = build(shape)
    fill(network, bundle)
    settings = door.TorchSettings(
        precision=choice.precision or "f32",
        device=choice.device or "cuda",
        sizes=buckets(choice.batch or 1),
        recorded=False,
    )
    return door.TorchDenoiser(network, shape, bundle.preconditioning, settings)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _measured(bundle: Bundle, contender: Contender, cache: Path, limit_s: float) -> Measured:
    choice = contender.choice
    try:
        if choice.device == "cpu" and choice.precision == "bf16" and not hardware("cpu").has_bf16:
            raise EngineError("the CPU does not name bf16")
        kept = prove(bundle, choice, cache, contender.opener, limit_s=limit_s)
    except (EngineError, UsageError) as error:
        return Measured(contender, None, str(error))
    return Measured(contender, kept.proof)
