"""The door to NVIDIA's physicsnemo: an independent implementation of the same networks.

Its networks name their modules by height alone, keep attention in a part of its own, know no
network without noise, and, outside training, normalise with the unbiased variance.
"""

import re
import sys
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engines.networks import NetworkSettings

# Imported for reading models from buckets, which nothing here does.
sys.modules.setdefault("s3fs", types.ModuleType("s3fs"))
from physicsnemo.models.diffusion import DhariwalUNet, SongUNet  # noqa: E402 - only now

#: What SongUNet is told to be one or the other.
SONG: Mapping[str, Mapping[str, Any]] = {
    "ddpmpp": {},
    "ncsnpp": {
        "embedding_type": "fourier",
        "channel_mult_noise": 2,
        "encoder_type": "residual",
        "resample_filter": [1, 3, 3, 1],
    },
}


class Silence(nn.Module):
    """Noise features of a network that knows no noise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def forward(self, c_noise: Tensor) -> Tensor:
        """Return zeros for each tile."""
        return c_noise.new_zeros(len(c_noise), self._width)


def reference(network: nn.Module, settings: NetworkSettings, *, biased: bool = False) -> Any:
    """Return their network with the weights of ours.

    biased: let its norms divide by the number of values, as it does in training.
    """
    theirs = _fresh(settings)
    state = {_their_name(name): value for name, value in network.state_dict().items()}
    if settings.direct:
        theirs.map_noise = Silence(theirs.map_layer0.in_features)
    if settings.direct and settings.architecture == "adm":
        # Whatever the unused layers hold, ours tells its blocks of the labels alone.
        state |= {name: torch.zeros_like(state[name]) for name in state if "map_layer1" in name}
    # Their own note of where a network lies.
    state["device_buffer"] = theirs.device_buffer
    theirs.load_state_dict(state, strict=True)
    theirs.eval()
    for module in theirs.modules():
        if type(module).__name__ == "GroupNorm":
            module.train(biased)
    return theirs


def _fresh(settings: NetworkSettings) -> Any:
    height, width = settings.tile
    assert height <= width, "their attention looks at the height"
    shared = {
        "in_channels": settings.inputs,
        "out_channels": settings.outputs,
        "label_dim": settings.labels,
        "model_channels": settings.width,
        "channel_mult": list(settings.multipliers),
        "num_blocks": settings.blocks,
        "attn_resolutions": list(settings.attention),
    }
    if settings.architecture == "adm":
        return DhariwalUNet(img_resolution=height, **shared)
    return SongUNet(img_resolution=[height, width], **shared, **SONG[settings.architecture])


def _their_name(name: str) -> str:
    """Return `dec.2x2_in0.attn.norm.bias` for `dec.2x3_in0.norm2.bias`."""
    name = re.sub(r"(\d+)x\d+_", r"\1x\1_", name)
    name = name.replace(".norm2.", ".attn.norm.")
    return re.sub(r"\.(qkv|proj)\.", r".attn.\1.", name)
