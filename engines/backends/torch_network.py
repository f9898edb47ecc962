"""A bundle's network as PyTorch runs it: on its device, in its precision."""

from collections.abc import Mapping

import torch
from safetensors.numpy import load_file
from torch import Tensor, nn
from torch.nn import functional

from engines.bundle import MODEL, Bundle
from engines.denoiser import Array
from engines.errors import BundleError, UsageError
from engines.networks import build, from_plain
from engines.networks.layers import Conv
from engines.networks.lowered import EMBEDDING

DTYPES = {"f32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class FloatNorm(nn.Module):
    """A group norm whose statistics are float32, whatever its input is."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W); the answer has the type of `x`."""
        normal = functional.group_norm(x.float(), self.groups, self.weight, self.bias, self.eps)
        return normal.to(x.dtype)


def prepared(network: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """Return `network` on `device`, channels last, the layers of its blocks in `dtype`.

    Norms, and the layers that embed noise and labels, stay float32: they cost little and lose much.
    """
    network = network.eval().requires_grad_(requires_grad=False)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if dtype == torch.float32:
        return network
    for path, module in list(network.named_modules()):
        if isinstance(module, Conv | nn.Linear) and not path.startswith(EMBEDDING):
            module.to(dtype)
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, FloatNorm(child))
    return network


def read_weights(bundle: Bundle) -> Mapping[str, Array]:
    """Return a bundle's weights by name. Raises BundleError for a file that holds none."""
    try:
        return dict(load_file(bundle.weights_path))
    except (OSError, ValueError) as error:
        raise BundleError(f"{bundle.weights_path}: cannot be read as weights: {error}") from error


def load(network: nn.Module, bundle: Bundle) -> None:
    """Fill a network with a bundle's weights, strictly. Raises BundleError where they misfit."""
    found = read_weights(bundle)
    try:
        network.load_state_dict({name: torch.from_numpy(found[name]) for name in found})
    except (ValueError, RuntimeError) as error:
        path = bundle.weights_path
        raise BundleError(f"{path}: does not fit the bundle's network: {error}") from error


def open_network(bundle: Bundle, device: str = "cpu") -> nn.Module:
    """Return a bundle's raw network with its weights, frozen, in float32, on a device.

    Raises BundleError where the two do not fit, UsageError where there is no such device.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device is {device}, but PyTorch finds no NVIDIA GPU here")
    network = build(from_plain(bundle.network, str(bundle.path / MODEL)))
    load(network, bundle)
    return prepared(network, torch.float32, device_of(device))


def device_of(name: str) -> torch.device:
    """Return a device by its word; `cuda` is the first GPU."""
    device = torch.device(name)
    return torch.device("cuda", 0) if device.type == "cuda" and device.index is None else device


def settle(device: torch.device) -> None:
    """Settle what torch leaves open on a GPU, for the whole process: float32 means float32.

    The same kernels at every start: picking them by a race would change the last bits.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
