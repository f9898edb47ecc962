"""Averaged networks beside the one that learns, and the best of them so far."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from engines.training.schedule import keep


class Averages:
    """Some averages of a network's state, of longer and shorter memory, and the best ever seen."""

    def __init__(self, network: nn.Module, widths: Sequence[float]) -> None:
        self._live = network.state_dict()
        self._widths = tuple(widths)
        self._all = [_copy(self._live) for _ in widths]
        self.best: Mapping[str, Tensor] = _copy(self._live)
        self.best_loss = float("inf")
        self.best_step = 0
        self.best_share = 0.0

    def blend(self, step: int) -> None:
        """Take the network's weights after `step`, counted from 1, into every average."""
        values = list(self._live.values())
        for width, average in zip(self._widths, self._all, strict=True):
            take = get_ema_multi_avg_fn(keep(step, width))  # type: ignore[no-untyped-call]
            take(list(average.values()), values, step)

    def states(self) -> Sequence[Mapping[str, Tensor]]:
        """Return the averages as they stand."""
        return self._all

    def judge(self, losses: Sequence[float], step: int, share: float) -> bool:
        """Remember the average with the lowest loss if it beats all before; whether it does."""
        best = min(range(len(losses)), key=losses.__getitem__)
        if not losses[best] < self.best_loss:
            return False
        self.best = _copy(self._all[best])
        self.best_loss, self.best_step, self.best_share = losses[best], step, share
        return True

    def plain(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "all": self._all,
            "best": self.best,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "best_share": self.best_share,
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        for average, kept in zip(self._all, plain["all"], strict=True):
            _fill(average, kept)
        self.best = plain["best"]
        self.best_loss, self.best_step = plain["best_loss"], plain["best_step"]
        self.best_share = plain["best_share"]

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Let every average begin as `weights`."""
        for average in self._all:
            _fill(average, weights)


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _fill(state: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        value.copy_(values[name])
