"""`downscaled bundle import`: from a checkpoint of IPSL-AID with its statistics to a bundle."""

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from engines import export
from engines.bundle import open_manifest
from engines.bundle_writer import BundleParts, write_bundle
from engines.errors import BundleError
from engines.importers import ipsl_aid
from engines.manifest import Normalisation
from engines.networks import to_plain
from engines.open import open_bundle
from streamer.commands.bundle_constants import read_constants
from streamer.commands.bundle_page import facts, page
from streamer.commands.console import result, say
from streamer.domain import Array
from streamer.downscale.labels import labels
from streamer.grib.known import resized_globe
from streamer.grib.manifest import read_manifest

#: Its variables, and what GRIB calls them.
PARAMETERS: Mapping[str, str] = {
    "VAR_2T": "2t",
    "VAR_10U": "10u",
    "VAR_10V": "10v",
    "VAR_TP": "tp",
    "VAR_D2M": "2d",
    "VAR_ST": "skt",
}
#: Levels of the golden cases: four inside what these networks were trained on, and where their
#: sampler starts and ends besides.
GOLDEN_SIGMA = (0.02, 0.1, 0.5, 2.0, 9.0, 80.0)
#: Float32 engines err by a few 1e-6 of the largest value.
GOLDEN_BOUND = 2e-5
#: vp's c_noise reaches 999, and Fourier features multiply it until its last bits count.
FOURIER_VP_BOUND = 1e-3
#: Valid times of the golden cases' labels, a season and an hour apart.
GOLDEN_TIMES = tuple(datetime(2020, 1 + 2 * i, 10, 4 * i, tzinfo=UTC) for i in range(6))
#: The share of a tile that neighbours have in common at least: 721 rows of 144 need six tiles.
OVERLAP = 6
#: Arguments of a checkpoint that say how it was trained, and nothing about anybody's folders.
TOLD = (
    "arch", "precond", "varnames_list", "normalization_types", "constant_varnames_list",
    "units_list", "time_normalization", "year_start", "year_end", "year_start_test",
    "year_end_test", "num_epochs", "batch_size", "learning_rate", "dtype", "tbatch", "sbatch",
)  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Read the three files, write the bundle, and let an engine prove that it is right."""
    model = ipsl_aid.read_model(arguments.checkpoint, direct=arguments.direct)
    channels = _channels(model, arguments.checkpoint)
    normalisation = ipsl_aid.normalisation(
        model, _read_json(arguments.statistics), str(arguments.statistics)
    )
    shape = (arguments.grid[0], arguments.grid[1])
    _refuse_small_grid(shape, model.settings.tile)
    constants = read_constants(arguments.constants, shape, model.constants)
    manifest = _manifest(arguments, model, channels, shape)
    # What the house cannot read is refused before the slow part.
    read_manifest(manifest["grib"])
    say(f"computing {_cases(model)} golden cases and exporting the network")
    statistics = dict(zip(channels, normalisation, strict=True))
    parts = _parts(model, manifest, statistics, constants)
    write_bundle(arguments.output, parts)
    bundle = open_manifest(arguments.output)
    spec = open_bundle(bundle).spec
    say(f"{bundle.path} reproduces its golden cases on {spec.backend} {spec.precision}")
    found = {"bundle": str(bundle.path), "digest": bundle.digest, "parameters": channels}
    result(found, as_json=True)
    return 0


def _channels(model: ipsl_aid.Model, where: Path) -> tuple[str, ...]:
    unknown = [name for name in model.variables if name not in PARAMETERS]
    if unknown:
        raise BundleError(
            f"{where}: no GRIB parameter is known for {', '.join(unknown)}; "
            f"known are {', '.join(PARAMETERS)}"
        )
    return tuple(PARAMETERS[name] for name in model.variables)


def _refuse_small_grid(shape: tuple[int, int], tile: tuple[int, int]) -> None:
    if tile[0] > shape[0] or tile[1] > shape[1]:
        raise BundleError(
            f"the network takes tiles of {tile[0]}x{tile[1]} points, "
            f"larger than the grid of {shape[0]}x{shape[1]}"
        )


def _manifest(
    arguments: argparse.Namespace,
    model: ipsl_aid.Model,
    channels: tuple[str, ...],
    shape: tuple[int, int],
) -> dict[str, Any]:
    coarse = (arguments.coarse[0], arguments.coarse[1]) if arguments.coarse else None
    sampler = asdict(model.sampler)
    count = sum(weight.numel() for weight in model.network.parameters())
    return {
        "name": arguments.output.name,
        "description": arguments.description,
        "channels": list(channels),
        "shape": list(shape),
        "tile": list(model.settings.tile),
        "overlap": [side // OVERLAP for side in model.settings.tile],
        "periodic": True,
        "preconditioning": asdict(model.preconditioning),
        "residual": "fine normalised - coarse normalised",
        "constants": [*ipsl_aid.POSITION, *model.constants],
        "labels": list(model.labels),
        "sampler": sampler | {"s_max": None if np.isinf(sampler["s_max"]) else sampler["s_max"]},
        "network": to_plain(model.settings) | {"parameters": count},
        "grib": resized_globe(channels, shape, coarse),
        "licence": arguments.licence,
        "attribution": arguments.attribution,
        "training": {
            "imported_from": "an IPSL-AID checkpoint",
            "checkpoint": arguments.checkpoint.name,
            "checkpoint_sha256": _digest(arguments.checkpoint),
            "statistics_sha256": _digest(arguments.statistics),
            "epoch": model.epoch,
            "args": {key: model.args[key] for key in TOLD if key in model.args},
        },
    }


def _parts(
    model: ipsl_aid.Model,
    manifest: dict[str, Any],
    statistics: Mapping[str, Normalisation],
    constants: Array,
) -> BundleParts:
    is_touchy = model.settings.architecture == "ncsnpp" and model.preconditioning.kind == "vp"
    return BundleParts(
        model=manifest,
        statistics=statistics,
        constants=constants,
        golden=golden(model, constants),
        golden_bound=FOURIER_VP_BOUND if is_touchy else GOLDEN_BOUND,
        network=export.to_onnx(model.network, model.settings),
        weights=export.weights(model.network),
        card=page(facts(manifest, statistics, manifest["network"]["parameters"])),
    )


def golden(model: ipsl_aid.Model, constants: Array) -> Mapping[str, Array]:
    """Return one case a level, from tiles all over the globe, as `golden.npz` has it.

    constants: (K, H, W). Coarse fields and residual are made up, smooth and of the size that
    normalised ones have; the answers are those of the PyTorch network, one tile at a time.
    """
    (height, width), channels = model.settings.tile, model.settings.outputs
    rng = np.random.default_rng(0)
    found = []
    for i in range(_cases(model)):
        sigma = np.float32(GOLDEN_SIGMA[i])
        top = i * (constants.shape[1] - height) // max(1, _cases(model) - 1)
        columns = (i * constants.shape[2] // 4 + np.arange(width)) % constants.shape[2]
        coarse = _smooth(rng, channels, (height, width))
        clean = 0.3 * _smooth(rng, channels, (height, width))
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        told = constants[:, top : top + height][..., columns]
        condition = np.concatenate([coarse, told])
        times = labels(model.labels, GOLDEN_TIMES[i])[None] if model.labels else None
        found.append(
            export.golden_cases(
                model.network,
                model.preconditioning,
                (clean + sigma * noise)[None],
                np.array([sigma]),
                condition[None],
                times,
            )
        )
    return {name: np.concatenate([case[name] for case in found]) for name in found[0]}


def _smooth(rng: np.random.Generator, channels: int, shape: tuple[int, int]) -> Array:
    """Return (C, h, w) of a few waves with random phases, of deviation 1."""
    rows, columns = (np.linspace(0.0, 2 * np.pi, side, endpoint=False) for side in shape)
    waves = np.zeros((channels, *shape))
    for number in range(1, 5):
        down, across = rng.uniform(0.0, 2 * np.pi, (2, channels, 1, 1))
        wave = np.sin(number * rows[:, None] + down) * np.sin(number * columns + across)
        waves += wave
    return waves.astype(np.float32)


def _cases(model: ipsl_aid.Model) -> int:
    """Return how many golden cases a model needs; levels mean nothing to a plain regression."""
    return 3 if model.preconditioning.kind == "direct" else len(GOLDEN_SIGMA)


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read as JSON: {error}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
