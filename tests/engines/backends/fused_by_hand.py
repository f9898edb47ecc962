"""Runs the fused kernels in Triton's interpreter: started by `test_fused.py`, with its switch set.

Prints the largest error of each case, relative to the largest value, as JSON.
"""

import json

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.backends.fused_kernels import ADDED, NOTHING, SCALED, joined, normed
from engines.backends.torch_network import prepared
from engines.networks import NetworkSettings
from tests.contracts.small_networks import stirred


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted).abs().max() / wanted.abs().max())


def _norms(dtype: torch.dtype) -> dict[str, float]:
    """Hold the kernels against PyTorch's norm in float64, channels that are no power of two."""
    chance = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance)

    norm = nn.GroupNorm(6, 24, eps=1e-5).requires_grad_(requires_grad=False)
    norm.weight.copy_(normal(24))
    norm.bias.copy_(normal(24))
    exact = nn.GroupNorm(6, 24, eps=1e-5).double()
    exact.load_state_dict(norm.state_dict())
    x = (3.0 * normal(2, 24, 45, 50) + 5.0).to(dtype)
    before, added, scaled = normal(24), normal(2, 24).to(dtype), normal(2, 48).to(dtype)
    moved = x.double() + before[:, None, None]
    scale, shift = scaled.double()[..., None, None].chunk(2, dim=1)
    told = exact(moved + added.double()[..., None, None])
    wanted = {
        "nothing": (NOTHING, None, functional.silu(exact(moved))),
        "added": (ADDED, added, functional.silu(told)),
        "scaled": (SCALED, scaled, functional.silu(exact(moved) * (1.0 + scale) + shift)),
    }
    found = {
        name: _error(normed(x, norm, before, said, how), answer)
        for name, (how, said, answer) in wanted.items()
    }
    found["calm"] = _error(normed(x, norm, before, silu=False), exact(moved))
    h, beside = normal(2, 24, 9, 7).to(dtype), normal(2, 24, 9, 7).to(dtype)
    sums = (h.double() + before[:, None, None] + beside.double()) * 0.7
    return found | {"joined": _error(joined(h, beside, before, 0.7), sums)}


def _networks() -> dict[str, float]:
    """Hold whole fused networks against the plain ones."""
    found = {}
    for architecture, labels in (("ddpmpp", 0), ("adm", 2)):
        shape = NetworkSettings(
            3, 2, (8, 8), architecture, 16, (1, 2), 1, attention=(4,), labels=labels
        )
        chance = torch.Generator().manual_seed(2)
        x, c_noise = torch.randn(2, 3, 8, 8, generator=chance), torch.tensor([0.1, -0.4])
        told = torch.ones(2, 2) if labels else None
        cpu = torch.device("cpu")
        plain = prepared(stirred(shape), torch.float32, cpu)(x, c_noise, told)
        fused = prepared(stirred(shape), torch.float32, cpu, fused=True)(x, c_noise, told)
        found[architecture] = _error(fused, plain)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        print(
            json.dumps(
                {
                    "f32": _norms(torch.float32),
                    "bf16": _norms(torch.bfloat16),
                    "network": _networks(),
                }
            )
        )
