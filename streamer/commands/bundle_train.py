"""`downscaled bundle train`: archive, coarse twin, statistics, fit, export, scores, model card."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from engines import export
from engines.bundle import Bundle, open_manifest
from engines.bundle_writer import BundleParts, write_bundle
from engines.manifest import Normalisation, Preconditioning
from engines.networks import NetworkSettings
from engines.open import open_bundle
from engines.sampler import SamplerSettings
from engines.training import Pairs, Progress, TrainingSettings, fit
from streamer import training_set
from streamer.archive import Archive, Found, Split, read_archive, split_by_day
from streamer.commands.bundle_card import card
from streamer.commands.console import is_terminal, result, say
from streamer.domain import Array
from streamer.grib.manifest import Coarse, lattice
from streamer.skill import Trial, score
from streamer.verify.scores import area_weights

COARSE_OPERATOR = "grid-box-average"
INTERPOLATION = "structured-bicubic"
PRECONDITIONING = Preconditioning("edm", sigma_data=1.0)
#: Rows near the poles count little in the scores, but not nothing in the loss.
POLAR_FLOOR = 0.15
#: Levels of the golden cases, from nearly clean to nearly pure noise.
GOLDEN_SIGMA = (0.05, 0.6, 6.0)
#: Float32 engines err by 1e-6 to 2e-6 of the largest value; half precision by 1e-2.
GOLDEN_BOUND = 2e-5


@dataclass(frozen=True, slots=True, eq=False)
class _Material:
    """All that the fit, the bundle and the scores are made from."""

    archive: Archive
    split: Split
    coarse: Coarse
    twin: Array
    statistics: tuple[Normalisation, ...]
    constants: Mapping[str, Array]
    residual: Array
    condition: Array

    def pairs(self, states: Sequence[int]) -> Pairs:
        """Return the pairs of some states."""
        cosine = np.cos(np.deg2rad(self.archive.grid.latitudes))
        return Pairs(
            residual=self.residual[list(states)],
            condition=self.condition[list(states)],
            constants=np.stack(list(self.constants.values())),
            row_weights=(POLAR_FLOOR + (1 - POLAR_FLOOR) * cosine).astype(np.float32),
            periodic=self.archive.grid.is_periodic,
        )


def run(arguments: argparse.Namespace) -> int:
    """Fit, write the bundle, score it on the days held back, write it again with its scores."""
    shows = arguments.progress or is_terminal()
    material = _gather(arguments, shows=shows)
    network_settings = _network_settings(arguments, material)
    settings = TrainingSettings(
        steps=arguments.steps,
        tile=tuple(arguments.training_tile),
        precision=arguments.precision,
        workers=arguments.workers,
        seed=arguments.seed,
    )
    network, history = fit(
        material.pairs(material.split.learn),
        material.pairs(material.split.held_back),
        network_settings,
        settings,
        PRECONDITIONING,
        arguments.checkpoint or Path(f"{arguments.output}.checkpoint"),
        _tell if shows else lambda _: None,
    )
    model = {
        **_model(arguments, material),
        "network": asdict(network_settings) | {"parameters": _count(network)},
        "training": _training(material, settings, history),
    }
    parts = _parts(network, network_settings, material, model)
    write_bundle(arguments.output, parts)
    model["training"]["scores"] = _scores(arguments, material, shows=shows)
    write_bundle(arguments.output, replace(parts, card=card(model)))
    bundle = open_manifest(arguments.output)
    found = {"bundle": str(bundle.path), "digest": bundle.digest, **bundle.training["scores"]}
    result(found, as_json=True)
    return 0


def _gather(arguments: argparse.Namespace, *, shows: bool) -> _Material:
    archive = read_archive(arguments.archive)
    split = split_by_day(archive, arguments.hold_back_days)
    if shows:
        names = ", ".join(found.name for found in archive.parameters)
        say(f"{len(archive.keys)} states of {names}; {len(split.held_back)} of them held back")
    coarse = Coarse(lattice(arguments.coarse, arguments.coarse, None), COARSE_OPERATOR)
    twin = training_set.interpolated_twin(archive.fine, archive.grid, coarse, INTERPOLATION)
    learn = list(split.learn)
    statistics = training_set.normalisation(archive.fine[learn], twin[learn], archive.grid)
    residual, condition = training_set.normalise(archive.fine, twin, statistics)
    constants = {
        **training_set.position(archive.grid),
        **training_set.surface(arguments.constants, archive.grid),
    }
    return _Material(archive, split, coarse, twin, statistics, constants, residual, condition)


def _network_settings(arguments: argparse.Namespace, material: _Material) -> NetworkSettings:
    channels = material.residual.shape[1]
    return NetworkSettings(
        inputs=2 * channels + len(material.constants),
        outputs=channels,
        tile=tuple(arguments.tile),
        width=arguments.width,
        multipliers=tuple(arguments.multipliers),
        blocks=arguments.blocks,
        attention=(),
        # Attention sees the whole tile, so that tiles of one field would fit together worse.
        bottleneck_attention=False,
    )


def _model(arguments: argparse.Namespace, material: _Material) -> dict[str, Any]:
    grid, found = material.archive.grid, material.archive.parameters
    return {
        "name": arguments.output.name,
        "description": arguments.description,
        "channels": [one.name for one in found],
        "shape": list(grid.shape),
        "tile": arguments.tile,
        "overlap": arguments.overlap,
        "periodic": grid.is_periodic,
        "preconditioning": asdict(PRECONDITIONING),
        "residual": "(fine normalised - coarse normalised) / residual_std, of deviation 1",
        "constants": list(material.constants),
        "labels": [],
        "sampler": asdict(_sampler(arguments)) | {"s_max": None},
        "grib": {
            "grid": {key: getattr(grid, key) for key in grid.__dataclass_fields__},
            "coarse": {
                "method": "mir",
                "grid": [arguments.coarse, arguments.coarse],
                "interpolation": COARSE_OPERATOR,
            },
            "interpolation": INTERPOLATION,
            "parameters": {one.name: _parameter(one, i, material) for i, one in enumerate(found)},
        },
        "licence": arguments.licence,
        "attribution": arguments.attribution,
    }


def _sampler(arguments: argparse.Namespace) -> SamplerSettings:
    return SamplerSettings(
        steps=arguments.sampler_steps,
        sigma_min=arguments.sigma_min,
        sigma_max=arguments.sigma_max,
        rho=arguments.rho,
    )


def _parameter(found: Found, channel: int, material: _Material) -> dict[str, Any]:
    """Return what the manifest says of a parameter; sound values reach one span further."""
    low = float(material.archive.fine[:, channel].min())
    high = float(material.archive.fine[:, channel].max())
    span = high - low
    part: dict[str, Any] = {
        "units": found.units,
        "identities": [{"paramId": found.param_id, "factor": 1.0}],
        "range": [float(f"{low - span:.3g}"), float(f"{high + span:.3g}")],
        "fill_missing": None,
    }
    names = {one.name for one in material.archive.parameters}
    for mine, other in (("u", "v"), ("v", "u")):
        partner = found.name[:-1] + other
        if found.name.endswith(mine) and partner in names:
            part["vector"] = {"partner": partner, "component": mine}
    return part


def _training(
    material: _Material, settings: TrainingSettings, history: Sequence[Progress]
) -> dict[str, Any]:
    archive, split = material.archive, material.split
    return {
        "command": f"downscaled {shlex.join(sys.argv[1:])}",
        "states": {"learnt": len(split.learn), "held_back": len(split.held_back)},
        "days": [str(day) for day in archive.days() if day not in split.days],
        "held_back_days": [str(day) for day in split.days],
        "fit": asdict(settings),
        "minutes": round(history[-1].seconds / 60, 1),
        "loss": round(history[-1].loss, 4),
        "held_back_loss": round(history[-1].held_back_loss, 4),
        "scores": {},
    }


def _parts(
    network: nn.Module, settings: NetworkSettings, material: _Material, model: dict[str, Any]
) -> BundleParts:
    names = model["channels"]
    return BundleParts(
        model=model,
        statistics=dict(zip(names, material.statistics, strict=True)),
        constants=np.stack(list(material.constants.values())),
        golden=_golden(network, settings, material),
        golden_bound=GOLDEN_BOUND,
        network=export.to_onnx(network, settings),
        weights=export.weights(network),
        card=card(model),
    )


def _golden(
    network: nn.Module, settings: NetworkSettings, material: _Material
) -> Mapping[str, Array]:
    """Return one case a level from states held back: both edges, and over the date line."""
    (height, width), (rows, columns) = settings.tile, material.archive.grid.shape
    rng = np.random.default_rng(0)
    constants = np.stack(list(material.constants.values()))
    x, condition = [], []
    for i, sigma in enumerate(GOLDEN_SIGMA):
        state = material.split.held_back[i % len(material.split.held_back)]
        top = i * (rows - height) // (len(GOLDEN_SIGMA) - 1)
        down = slice(top, top + height)
        across = (columns - width // 2 + i * columns // len(GOLDEN_SIGMA)) % columns
        if not material.archive.grid.is_periodic:
            across = min(across, columns - width)
        taken = (across + np.arange(width)) % columns
        clean = material.residual[state, :, down][..., taken]
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        x.append(clean + np.float32(sigma) * noise)
        given = np.concatenate([material.condition[state], constants])
        condition.append(given[:, down][..., taken])
    levels = np.array(GOLDEN_SIGMA, dtype=np.float32)
    return export.golden_cases(network, PRECONDITIONING, np.stack(x), levels, np.stack(condition))


def _scores(arguments: argparse.Namespace, material: _Material, *, shows: bool) -> dict[str, Any]:
    """Score the bundle as it lies on disk, on the states held back."""
    bundle: Bundle = open_manifest(arguments.output)
    held = list(material.split.held_back)
    trial = Trial(
        keys=tuple(material.archive.keys[i] for i in held),
        truth=material.archive.fine[held],
        twin=material.twin[held],
        condition=material.condition[held],
        rows=area_weights(material.archive.grid.latitudes),
    )
    denoiser = open_bundle(bundle, threads=arguments.workers)
    draws = arguments.draws
    found = score(bundle, denoiser, bundle.sampler, trial, draws, _tell_scored if shows else None)
    return {name: one.plain() | {"gain": one.gain} for name, one in found.items()}


def _count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _tell_scored(done: int, states: int) -> None:
    say(f"scored {done} of {states} states")


def _tell(progress: Progress) -> None:
    left = progress.seconds * (progress.steps / progress.step - 1)
    say(
        f"step {progress.step} of {progress.steps}: loss {progress.loss:.4f}, "
        f"held back {progress.held_back_loss:.4f}, {left / 60:.0f} min left"
    )
