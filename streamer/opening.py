"""Opens the engines that the configuration asks for: which runtime, on which devices, how many."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engines.bundle import Bundle
from engines.cache import default_cache
from engines.denoiser import Denoiser
from engines.errors import EngineError
from engines.hardware import hardware
from engines.loading import BRINGS, NEEDS, is_installed
from engines.open import open_bundle
from streamer.downscale.work import Fusion


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Which runtime runs the network, where, and how the engines share the work."""

    #: auto: the fastest that this machine has the parts for
    backend: Literal["auto", "openvino", "onnxruntime", "torch", "tensorrt", "gaussian"] = "auto"
    #: of the network's arithmetic; None: f32 on a CPU, half on a GPU. auto: the fastest that
    #: reproduces the golden vectors, which may differ from host to host
    precision: Literal["auto", "f32", "bf16", "fp16"] | None = None
    #: one batch size for every call, so that bytes do not depend on the company
    reproducible: bool = True
    #: such as cuda:0, one engine on each; none: the first that the backend finds
    devices: tuple[str, ...] = ()
    #: engines on each device; on a CPU the cores are shared out among them
    engines: int = 1
    #: whether `auto` may take a slower runtime where the device's own is missing or fails
    fallback: bool = False
    #: the most tiles in one call; None: what pays off on the device, single tiles on a CPU
    batch: int | None = None
    #: where overlapping tiles become one: at the end, or at every level of the sampler
    fusion: Fusion = "end"
    #: how the grid is cut: tiles that overlap; or IPSL-AID's blocks, only to be compared with
    layout: Literal["tiles", "ipsl-aid"] = "tiles"
    #: threads of one engine's calls on a CPU; None: the cores, shared out among the engines
    threads: int | None = None
    #: whether torch.compile makes PyTorch's kernels: minutes at every start, and a C compiler
    compiled: bool = False
    #: where compiled networks and interpolation weights are kept, mode 0700
    cache: Path | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no engine can be made of, all faults at once."""
        faults = [
            f"{name}: found {value}, wanted at least 1"
            for name, value in self._numbers.items()
            if value is not None and value < 1
        ]
        if self.layout == "ipsl-aid" and self.fusion == "level":
            faults.append("layout: found ipsl-aid with fusion level, but blocks share no points")
        if len(set(self.devices)) < len(self.devices):
            faults.append(
                f"devices: found {', '.join(self.devices)}, wanted each once; "
                "`engines` puts several on each"
            )
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def _numbers(self) -> Mapping[str, int | None]:
        return {"engines": self.engines, "batch": self.batch, "threads": self.threads}

    def threads_of_one(self, cores: int) -> int | None:
        """Return the threads of one engine on a CPU; None leaves them to the runtime."""
        if self.threads is not None or self.engines * max(len(self.devices), 1) == 1:
            return self.threads
        return max(1, cores // (self.engines * max(len(self.devices), 1)))

    def cache_of_engines(self, environment: Mapping[str, str]) -> Path:
        """Return the folder of compiled networks."""
        return self.cache / "engines" if self.cache else default_cache(environment)


def open_engines(bundle: Bundle, settings: EngineSettings) -> tuple[Denoiser, ...]:
    """Open all engines, each proven on the bundle's golden vectors. BundleError, EngineError."""
    threads = settings.threads_of_one(len(os.sched_getaffinity(0)))
    cache = settings.cache_of_engines(os.environ)
    return tuple(
        open_bundle(
            bundle,
            settings.backend,
            settings.precision,
            threads,
            cache,
            device,
            settings.batch,
            compiled=settings.compiled,
            fallback=settings.fallback,
        )
        for device in settings.devices or (None,)
        for _ in range(settings.engines)
    )


def missing_parts(settings: EngineSettings) -> tuple[str, ...]:
    """Return what this machine lacks of what the settings ask for; opens nothing.

    Each fault names the setting, what was found and what would help.
    """
    faults = []
    if settings.backend in NEEDS and not is_installed(settings.backend):
        faults.append(
            f"engine.backend: {settings.backend} is not installed here: {BRINGS[settings.backend]}"
        )
    for device in settings.devices:
        try:
            hardware(device)
        except EngineError as error:
            faults.append(f"engine.devices: {error}")
    return tuple(faults)
