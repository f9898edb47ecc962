"""Settles what an operator leaves open about an engine, and opens it in this process, unproven."""

import importlib
import importlib.util
from dataclasses import replace

from engines.bundle import Bundle
from engines.choice import EngineChoice
from engines.denoiser import Denoiser
from engines.devices import gpus
from engines.errors import EngineError

#: What brings a backend's runtime, as a person installs it.
BRINGS = {
    "openvino": "pip install openvino",
    "onnxruntime": "pip install onnxruntime",
    "torch": "pip install 'downscaled[torch]'",
    "tensorrt": "pip install tensorrt, or tensorrt-rtx",
}
#: The modules of which a backend needs one.
NEEDS = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime",),
    "torch": ("torch",),
    "tensorrt": ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"),
}


def load(bundle: Bundle, choice: EngineChoice) -> Denoiser:
    """Open a bundle on the backend that is chosen; nothing it answers has been checked.

    Raises BundleError, UsageError, EngineError; the latter also where a runtime is not installed.
    """
    try:
        # A heavy runtime, imported at its door and only where it is chosen.
        module = importlib.import_module(f"engines.backends.{choice.backend}")
    except ModuleNotFoundError as error:
        raise EngineError(
            f"the {choice.backend} backend needs {error.name}, which is not installed: "
            f"{BRINGS.get(choice.backend, '')}"
        ) from error
    denoiser: Denoiser = module.open_denoiser(bundle, choice)
    return denoiser


def is_installed(backend: str) -> bool:
    """Whether a backend's runtime is there; nothing is loaded for the answer."""
    return any(importlib.util.find_spec(name) for name in NEEDS[backend])


def device_of(choice: EngineChoice) -> str:
    """Return the device that a choice means: its own, or a GPU for the backends that use one."""
    if choice.device is not None:
        return choice.device
    on_gpu = choice.backend == "tensorrt" or (choice.backend == "torch" and bool(gpus()))
    return "cuda" if on_gpu else "cpu"


def settled(choice: EngineChoice) -> EngineChoice:
    """Return the choice with its device named."""
    return replace(choice, device=device_of(choice))
