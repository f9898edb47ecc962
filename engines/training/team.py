"""One step's gradients: replicas on the threads of a CPU, or one network on a GPU, compiled."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import torch
from torch import Tensor, nn

from engines.training.batches import Batch

#: The mean loss of a part of a batch, which gradients flow through.
Loss = Callable[[nn.Module, Batch], Tensor]


class Team:
    """Replicas of one network that share its weights; each works on its part of a batch.

    notes: what did not work as wished and was done otherwise, in words.
    """

    def __init__(
        self, network: nn.Module, loss: Loss, *, workers: int, device: str, precision: str
    ) -> None:
        self._network, self._loss = network, loss
        self._scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
        self._networks = [network, *(_replica(network) for _ in range(workers - 1))]
        self._pool = ThreadPoolExecutor(workers)
        self.notes: list[str] = []

    def compile(self, example: Batch) -> None:
        """Compile the network; where the machine lacks what that needs, go on without."""
        compiled = torch.compile(self._network)
        assert isinstance(compiled, nn.Module)
        try:
            self._one(compiled, example)
        except (RuntimeError, OSError, ImportError) as error:
            lines = str(error).strip().splitlines() or [""]
            self.notes.append(f"goes on without compiling: {type(error).__name__}: {lines[0]}")
        else:
            self._networks = [compiled]
        self._network.zero_grad(set_to_none=True)

    def learn(self, batch: Batch, optimiser: torch.optim.Optimizer, clip: float) -> Tensor:
        """Take one step and return the batch's loss, on the device."""
        parts = batch.split(len(self._networks))
        if len(parts) == 1:
            losses = [self._one(self._networks[0], parts[0])]
        else:
            losses = list(self._pool.map(self._one, self._networks, parts))
            self._gather()
        self._scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(self._network.parameters(), clip)
        self._scaler.step(optimiser)
        self._scaler.update()
        return torch.stack(losses).mean()

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()

    def _gather(self) -> None:
        """Leave the mean of all gradients in the first network."""
        first, *others = (list(network.parameters()) for network in self._networks)
        for i, weight in enumerate(first):
            if weight.grad is None:
                # Frozen, or no part of the loss.
                continue
            for other in others:
                weight.grad += other[i].grad  # type: ignore[arg-type]
            weight.grad /= len(self._networks)

    def _one(self, network: nn.Module, part: Batch) -> Tensor:
        network.zero_grad(set_to_none=True)
        loss = self._loss(network, part)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def _replica(network: nn.Module) -> nn.Module:
    """Return a network with gradients of its own over the very same weights and buffers."""
    replica = deepcopy(network)
    for module, other in zip(network.modules(), replica.modules(), strict=True):
        for key, weight in module.named_parameters(recurse=False):
            setattr(other, key, nn.Parameter(weight.data, weight.requires_grad))
        for key, buffer in module.named_buffers(recurse=False):
            setattr(other, key, buffer)
    return replica
