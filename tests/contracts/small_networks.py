"""Bundles of small networks, one of each way to be asked, with the answers they must give."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engines.bundle import Bundle, open_manifest
from engines.bundle_writer import BundleParts, write_bundle
from engines.export import golden_cases, to_onnx, weights
from engines.manifest import Normalisation, Preconditioning
from engines.networks import NetworkSettings, build, to_plain

TILE, CHANNELS, CONSTANTS = (16, 24), ("10u", "10v"), ("z",)
LABELS = ("cos_hour", "sin_hour")
BESIDE = len(CHANNELS) + len(CONSTANTS)

#: By name: what the network is, what surrounds it, and its labels.
SMALL = {
    "plain": ("ddpmpp", "edm", ()),
    "labelled": ("adm", "vp", LABELS),
    "direct": ("ncsnpp", "direct", LABELS),
}
LEVELS = np.array([0.05, 0.6, 6.0], dtype=np.float32)
BOUND = 1e-5


@pytest.fixture(scope="session", params=list(SMALL))
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of a small network; the tests run on each of them."""
    return open_manifest(written(request.param, tmp_path_factory.mktemp(request.param)))


def written(name: str, folder: Path) -> Path:
    """Write one of the bundles and return where it lies."""
    architecture, kind, labels = SMALL[name]
    is_direct = kind == "direct"
    settings = NetworkSettings(
        inputs=BESIDE + (0 if is_direct else len(CHANNELS)),
        outputs=len(CHANNELS),
        tile=TILE,
        architecture=architecture,
        width=16,
        multipliers=(1, 2),
        blocks=1,
        attention=(8,),
        labels=len(labels),
        direct=is_direct,
    )
    network, around = stirred(settings), Preconditioning(kind, 1.0)
    model = {
        "name": name,
        "channels": list(CHANNELS),
        "shape": list(TILE),
        "tile": list(TILE),
        "overlap": [0, 0],
        "periodic": False,
        "constants": list(CONSTANTS),
        "labels": list(labels),
        "preconditioning": {"kind": kind, "sigma_data": 1.0},
        "sampler": {"steps": 4, "sigma_min": 0.05, "sigma_max": 20.0, "s_max": None},
        "network": to_plain(settings),
        "grib": {"grid": {"rows": TILE[0]}},
        "licence": "Apache-2.0",
        "attribution": "made by a test",
        "training": {"states": 0},
    }
    parts = BundleParts(
        model=model,
        statistics={name: Normalisation(0.0, 1.0, 0.0, 1.0, 0.5) for name in CHANNELS},
        constants=np.ones((len(CONSTANTS), *TILE), np.float32),
        golden=golden_cases(network, around, *tiles(LEVELS, len(labels))),
        golden_bound=BOUND,
        network=to_onnx(network, settings),
        weights=weights(network),
        card="# A small network\n",
    )
    write_bundle(folder / name, parts)
    return folder / name


def stirred(settings: NetworkSettings) -> nn.Module:
    """Return a network none of whose layers gives nothing, as fresh ones do."""
    torch.manual_seed(1)
    network = build(settings)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return network.eval()


def tiles(
    sigma: np.ndarray[tuple[int], np.dtype[np.float32]], labels: int, seed: int = 3
) -> tuple[
    np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None,
]:
    """Return x, sigma, condition and labels of as many tiles as there are levels."""
    rng = np.random.default_rng(seed)
    count = len(sigma)
    x = rng.standard_normal((count, len(CHANNELS), *TILE), dtype=np.float32)
    x *= np.sqrt(1.0 + sigma**2)[:, None, None, None]
    condition = rng.standard_normal((count, BESIDE, *TILE), dtype=np.float32)
    told = rng.standard_normal((count, labels), dtype=np.float32) if labels else None
    return x, sigma, condition, told
