"""The door to PyTorch: the network a bundle came from, on a CPU as reference, or on an NVIDIA GPU.

On a GPU every call is the replay of a CUDA graph, one for each bucket of tiles, and `sample` is
one graph for a whole run of the sampler.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.backends import device_heun, device_multistep
from engines.backends.fitting import Fitting
from engines.backends.recording import Plain, Recorded, Runner, guarded
from engines.backends.torch_network import (
    DTYPES,
    device_of,
    load,
    prepared,
    settle,
)
from engines.bundle import MODEL, Bundle
from engines.choice import EngineChoice, buckets, chosen_precision
from engines.denoiser import Array, EngineSpec
from engines.errors import EngineError, UsageError
from engines.manifest import Preconditioning
from engines.multistep import MultistepSettings
from engines.networks import NetworkSettings, build, from_plain
from engines.precondition import coefficients, sigma_range
from engines.sampler import Sampler, levels, noises, start

#: Tiles in one call on a GPU unless chosen otherwise.
GPU_BATCH = 16
#: Recorded graphs that an engine keeps; each holds memory of its own on the device.
MOST_GRAPHS = 12


@dataclass(frozen=True, slots=True)
class TorchSettings:
    """How PyTorch runs a network.

    sizes: the numbers of tiles in one call, rising. compiled: whether torch.compile makes
    the kernels, which takes a minute a bucket and a C compiler. recorded: whether a GPU replays
    CUDA graphs; a CPU never does.
    """

    precision: str = "f32"
    device: str = "cpu"
    sizes: tuple[int, ...] = (1,)
    compiled: bool = False
    recorded: bool = True


class TorchDenoiser:
    """A network with its preconditioning on one device; one thread at a time may call it."""

    def __init__(
        self,
        network: nn.Module,
        shape: NetworkSettings,
        around: Preconditioning,
        settings: TorchSettings,
    ) -> None:
        """Take over `network`, which moves to the device and into the precision."""
        self._around, self._settings = around, settings
        is_direct = around.kind == "direct"
        self._fitting = Fitting(
            where=f"network {shape.architecture}",
            channels=shape.outputs,
            beside=shape.inputs - (0 if is_direct else shape.outputs),
            tile=shape.tile,
            labels=shape.labels,
            is_direct=is_direct,
        )
        self._device = device_of(settings.device)
        settle(self._device)
        self._stream: Any = None
        self._pool: Any = None
        if self._device.type == "cuda":
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
        dtype = DTYPES[settings.precision]
        move = partial(prepared, network, dtype, self._device)
        inner: Callable[..., Tensor] = guarded(move, self._device, "loading the weights")
        if settings.compiled:
            inner = torch.compile(inner, mode="max-autotune-no-cudagraphs", dynamic=False)
        self._core = device_heun.preconditioned(inner, dtype, around.kind)
        self._runners: OrderedDict[Any, Runner] = OrderedDict()
        self._spec = _spec(self._device, settings)

    @property
    def spec(self) -> EngineSpec:
        """PyTorch on this device."""
        return self._spec

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        """Return D(x, sigma; condition); see `Denoiser`."""
        self._fitting.refuse_misfits(x, sigma, condition, labels)
        around = self._around
        factors = np.stack(coefficients(around.kind, sigma, around.sigma_data), axis=1)
        return self._in_buckets("denoise", self._denoised, [x, factors, condition], labels)

    def sample(
        self,
        noise: Array,
        settings: Sampler,
        condition: Array,
        labels: Array | None = None,
    ) -> Array:
        """Return the residual after a whole run on the device; see `Sampling`."""
        kind, some = self._around.kind, np.ones(len(condition), np.float32)
        if kind == "direct":
            return self.denoise(noise[0], some, condition, labels)
        self._fitting.refuse_misfits(noise[0], some, condition, labels)
        if len(noise) != noises(settings):
            raise EngineError(f"noise holds {len(noise)} arrays a tile, wanted {noises(settings)}")
        schedule = levels(settings, sigma_range(kind))
        first = start(settings, schedule, self._around.sigma_data)
        if isinstance(settings, MultistepSettings):
            way = device_multistep.table(settings, schedule, self._around)
            name, carry = "sample by multistep", device_multistep.multistep
        else:
            way = device_heun.table(settings, schedule, self._around)
            name, carry = "sample by heun", device_heun.heun
        given = [np.swapaxes(noise, 0, 1), condition]
        fixed = (np.array([first], np.float32), way)
        return self._in_buckets(name, partial(self._sampled, carry), given, labels, fixed)

    def _denoised(
        self, x: Tensor, factors: Tensor, condition: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        return self._core(x, factors, condition, labels)

    def _sampled(
        self, carry: Callable[..., Tensor], noise: Tensor, condition: Tensor, *rest: Tensor
    ) -> Tensor:
        *labels, first, way = rest

        def denoise(x: Tensor, factors: Tensor) -> Tensor:
            return self._core(x, factors, condition, labels[0] if labels else None)

        return carry(denoise, noise.transpose(0, 1), first, way)

    def _in_buckets(
        self,
        name: str,
        function: Callable[..., Tensor],
        tiled: list[Array],
        labels: Array | None,
        fixed: tuple[Array, ...] = (),
    ) -> Array:
        """Run a function on as many tiles at a time as a bucket takes.

        tiled: arrays whose first axis is the tiles'. fixed: what is the same for all of them.
        """
        given = tiled if labels is None else [*tiled, labels]
        answers, sizes, count = [], self._settings.sizes, len(tiled[0])
        for first in range(0, count, sizes[-1]):
            taken = min(sizes[-1], count - first)
            size = next(size for size in sizes if size >= taken)
            arrays = [_padded(array[first : first + taken], size) for array in given]
            answers.append(self._run(name, function, [*arrays, *fixed])[:taken])
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def _run(self, name: str, function: Callable[..., Tensor], arrays: list[Array]) -> Array:
        key = (name, *(array.shape for array in arrays))
        doing = f"{name} of {arrays[0].shape}"
        if key not in self._runners:
            make = partial(self._runner, function, arrays)
            self._runners[key] = guarded(make, self._device, doing)
            while len(self._runners) > MOST_GRAPHS:
                self._runners.popitem(last=False)
        self._runners.move_to_end(key)
        return guarded(partial(self._runners[key], arrays), self._device, doing)

    def _runner(self, function: Callable[..., Tensor], arrays: list[Array]) -> Runner:
        if self._stream is None or not self._settings.recorded:
            return Plain(function, self._device)
        return Recorded(function, arrays, self._stream, self._pool)


def _spec(device: torch.device, settings: TorchSettings) -> EngineSpec:
    named = str(device)
    if device.type == "cuda":
        named = f"{device} {torch.cuda.get_device_name(device)}"
    version = torch.__version__.split("+")[0]
    return EngineSpec(
        "torch", settings.precision, named, version, settings.sizes[-1], settings.sizes
    )


def _padded(array: Array, size: int) -> Array:
    """Return (size, ...): the tiles of `array`, and zeros where there are none."""
    missing = [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1)
    return array if len(array) == size else np.pad(array, missing)


def open_denoiser(bundle: Bundle, choice: EngineChoice) -> TorchDenoiser:
    """Return a bundle's network on PyTorch. Raises BundleError, EngineError, UsageError.

    Without a device chosen that is the first GPU that torch can use, else the CPU.
    """
    device = choice.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        raise UsageError(f"engine.device is {device}, and torch {torch.__version__} has no GPU")
    known = ("fp16", "bf16", "f32") if on_gpu else ("f32", "bf16", "fp16")
    if choice.threads is not None:
        torch.set_num_threads(choice.threads)
    precision = chosen_precision(choice, "torch", known)
    settings = TorchSettings(
        precision=precision,
        device=device,
        sizes=buckets(choice.batch or (GPU_BATCH if on_gpu else 1)),
        compiled=choice.compiled,
    )
    shape = from_plain(bundle.network, str(bundle.path / MODEL))
    network = build(shape)
    load(network, bundle)
    return TorchDenoiser(network, shape, bundle.preconditioning, settings)
