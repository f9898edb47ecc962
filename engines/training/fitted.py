"""What a fit hands over: averaged weights and how they came about, one file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import nn

from engines.errors import UsageError
from engines.networks import NetworkSettings, build
from engines.training.files import replace_whole
from engines.training.settings import Array, LevelLoss, Progress, TrainingSettings, revive

FORMAT = "downscaled weights 1"
#: What keeps the whole story of a long fit within a few kilobytes.
HISTORY_KEPT = 60


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The best averaged network of a fit.

    weights: by name. step: when they were best. held_back_loss: how good that was. material:
    the digest of what was learnt from, so that weights meet their own statistics again.
    command: what somebody typed to make them, where that was another command than the bundle's.
    """

    network: NetworkSettings
    settings: TrainingSettings
    weights: Mapping[str, Array]
    step: int
    held_back_loss: float
    history: tuple[Progress, ...]
    levels: tuple[LevelLoss, ...]
    material: str
    is_finished: bool
    command: str = ""

    def module(self) -> nn.Module:
        """Return the network, ready to be asked."""
        network = build(self.network)
        network.load_state_dict(
            {name: torch.from_numpy(np.float32(value)) for name, value in self.weights.items()}
        )
        return network.eval()


def write_fitted(path: Path, fitted: Fitted, *, half: bool = False) -> None:
    """Write a fit's result, whole or not at all; `half` rounds the weights to float16."""
    kind = np.float16 if half else np.float32
    told = asdict(fitted) | {"format": FORMAT}
    del told["weights"]
    told["history"] = [asdict(one) for one in thinned(fitted.history)]
    raw = save(
        {name: np.ascontiguousarray(value, kind) for name, value in fitted.weights.items()},
        metadata={"fit": json.dumps(told)},
    )
    replace_whole(path, lambda beside: beside.write_bytes(raw))


def read_fitted(path: Path) -> Fitted:
    """Read a fit's result; raises UsageError for anything else."""
    try:
        with safe_open(path, framework="np") as file:
            told: dict[str, Any] = json.loads((file.metadata() or {}).get("fit", "{}"))
            weights = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as weights of a fit: {error}") from error
    if told.get("format") != FORMAT:
        raise UsageError(f"{path} is of format {told.get('format')!r}, want {FORMAT!r}")
    return Fitted(
        network=revive(NetworkSettings, told["network"]),
        settings=revive(TrainingSettings, told["settings"]),
        weights=weights,
        step=told["step"],
        held_back_loss=told["held_back_loss"],
        history=tuple(revive(Progress, one) for one in told["history"]),
        levels=tuple(revive(LevelLoss, one) for one in told["levels"]),
        material=told["material"],
        is_finished=told["is_finished"],
        command=told["command"],
    )


def thinned(history: tuple[Progress, ...]) -> tuple[Progress, ...]:
    """Return at most `HISTORY_KEPT` reports, evenly, the last one among them."""
    every = -(-len(history) // HISTORY_KEPT)
    return tuple(one for i, one in enumerate(reversed(history)) if i % max(1, every) == 0)[::-1]
