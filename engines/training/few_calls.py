"""A network together with its few-call sampler, as one module to be learnt from its draws."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from engines.errors import UsageError
from engines.multistep import MultistepSettings
from engines.precondition import Around
from engines.training.loss import HALVES
from engines.training.unrolled import surrounded, unrolled

#: The largest share of the last level's noise that may stay.
MOST_REMAINS = 0.9


class FewCalls(nn.Module):
    """A raw network, and the levels and coefficients that it is called with.

    The sampler's own parameters are ln s_1, the logarithms of the decrements of ln s, so that
    levels keep falling whatever is learnt, k and r.
    """

    def __init__(
        self,
        network: nn.Module,
        sampler: MultistepSettings,
        around: Around,
        precision: str = "f32",
    ) -> None:
        super().__init__()
        if around.kind == "direct":
            raise UsageError("a direct network makes one call without noise, so nothing to tune")
        logs = [math.log(level) for level in sampler.levels]
        self.network = network
        self.first = nn.Parameter(torch.tensor(logs[0]))
        self.steps = nn.Parameter(torch.tensor([math.log(a - b) for a, b in pairwise(logs)]))
        self.beyond = nn.Parameter(torch.tensor(sampler.extrapolations))
        self.stays = nn.Parameter(torch.tensor(sampler.remainder))
        self._around, self._precision = around, precision

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        """Return draws (B, D, C, h, w) of noise the same, conditions (B, K, h, w)."""
        count = noise.shape[1]
        given = condition.repeat_interleave(count, dim=0)
        drawn = unrolled(
            surrounded(_Inner(self.network, self._precision), self._around, given),
            noise.flatten(0, 1),
            self.levels(),
            self.beyond,
            self._remainder(),
            self._around.sigma_data,
        )
        return drawn.reshape(-1, count, *drawn.shape[1:])

    def levels(self) -> Tensor:
        """Return the levels, (N,), falling."""
        falls = torch.cat([self.steps.new_zeros(1), self.steps.exp().cumsum(0)])
        return (self.first - falls).exp()

    def sampler(self) -> MultistepSettings:
        """Return the sampler as it now stands."""
        with torch.no_grad():
            return MultistepSettings(
                levels=tuple(_short(level) for level in self.levels()),
                extrapolations=tuple(_short(k) for k in self.beyond),
                remainder=_short(self._remainder()),
            )

    def own(self) -> list[nn.Parameter]:
        """Return the sampler's parameters."""
        return [self.first, self.steps, self.beyond, self.stays]

    def _remainder(self) -> Tensor:
        return self.stays.clamp(0.0, MOST_REMAINS)


def _short(value: Tensor) -> float:
    """Return a number of float32 without the digits that it never had."""
    return float(f"{float(value):.6g}")


class _Inner(nn.Module):
    """A network whose inner arithmetic may be half precision, and whose answer never is."""

    def __init__(self, network: nn.Module, precision: str) -> None:
        super().__init__()
        self.network, self._precision = network, precision

    def forward(self, inputs: Tensor, c_noise: Tensor, labels: Tensor | None) -> Tensor:
        """Return the raw answer, (B, C, h, w) float32."""
        half = HALVES.get(self._precision)
        with torch.autocast(inputs.device.type, half, enabled=half is not None):
            raw: Tensor = self.network(inputs, c_noise, labels)
        return raw.float()
