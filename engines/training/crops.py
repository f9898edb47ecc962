"""Random tiles of known states as tensors, with what a network is told of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.training.settings import Array, Pairs


@dataclass(frozen=True, slots=True)
class Crop:
    """B tiles: clean (B, C, h, w), and what a network is told of them.

    condition: (B, K + M, h, w), constants last. weights: (B, 1, h, 1). labels: (B, L), or None
    for a network without any.
    """

    clean: Tensor
    condition: Tensor
    weights: Tensor
    labels: Tensor | None


class Cropper:
    """Pairs on a device, and what cuts tiles of them."""

    def __init__(self, pairs: Pairs, device: str = "cpu", labels: Array | None = None) -> None:
        """Take pairs and their states' labels, (N, L), or None where the network wants none."""
        self._residual, self._condition, self._constants, self._rows = (
            torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)
            for values in (pairs.residual, pairs.condition, pairs.constants, pairs.row_weights)
        )
        self._labels = None
        if labels is not None:
            self._labels = torch.from_numpy(np.asarray(labels, dtype=np.float32)).to(device)
        self._is_periodic = pairs.periodic
        #: the root mean square of all residuals, rows counting by their weights
        self.deviation = pairs.deviation

    def draw(self, size: int, tile: tuple[int, int], rng: np.random.Generator) -> Crop:
        """Return `size` random tiles; the same ones for a generator in the same state.

        First rows are drawn a little beyond both edges and moved inside, so that the edge itself
        is met more often than once in H tiles.
        """
        states, _, rows, columns = self._residual.shape
        height, width = tile
        spare = height // 8
        last = columns if self._is_periodic else columns - width + 1
        chosen = rng.integers(states, size=size)
        tops = np.clip(rng.integers(-spare, rows - height + spare + 1, size), 0, rows - height)
        lefts = rng.integers(last, size=size)
        clean, condition, weights = [], [], []
        for state, top, left in zip(chosen.tolist(), tops.tolist(), lefts.tolist(), strict=True):
            down = slice(top, top + height)
            across = torch.arange(left, left + width, device=self._rows.device) % columns
            clean.append(self._residual[state, :, down][..., across])
            told = (self._condition[state, :, down], self._constants[:, down])
            condition.append(torch.cat(told)[..., across])
            weights.append(self._rows[down][None, :, None])
        labels = None if self._labels is None else self._labels[torch.from_numpy(chosen)]
        return Crop(torch.stack(clean), torch.stack(condition), torch.stack(weights), labels)
