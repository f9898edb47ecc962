"""`downscaled bundle train`: archive, coarse twin, statistics, fit, export, scores, model card."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from engines import export
from engines.bundle import Bundle, locate, open_manifest
from engines.bundle_writer import BundleParts, write_bundle
from engines.errors import UsageError
from engines.networks import NetworkSettings, to_plain
from engines.open import open_bundle
from engines.sampler import SamplerSettings
from engines.training import options
from engines.training.fit import Until, fit
from engines.training.fitted import Fitted, read_fitted, thinned
from engines.training.pairs_file import Lesson, write_pairs
from engines.training.task import PRECONDITIONING, task_of
from streamer.archive import Found, read_archive
from streamer.commands import train_start
from streamer.commands.bundle_card import card
from streamer.commands.console import is_terminal, result, say
from streamer.domain import Array, Grid
from streamer.downscale.tiles import Layout
from streamer.material import COARSE_OPERATOR, Material, gather
from streamer.skill import score

#: Levels of the golden cases, from nearly clean to nearly pure noise.
GOLDEN_SIGMA = (0.05, 0.6, 6.0)
#: Float32 engines err by 1e-6 to 2e-6 of the largest value; half precision by 1e-2.
GOLDEN_BOUND = 2e-5


def run(arguments: argparse.Namespace) -> int:
    """Fit, write the bundle, score it on the days held back, write it again with its scores."""
    shows = arguments.progress or is_terminal()
    material = _gather(arguments, shows=shows)
    lesson = material.lesson()
    if arguments.pairs_to is not None:
        return _write_pairs(arguments.pairs_to, lesson)
    start = None if arguments.start is None else open_manifest(locate(arguments.start))
    fitted = _fitted(arguments, material, lesson, start, shows=shows)
    network = fitted.module()
    model = {
        **_model(arguments, material),
        "network": to_plain(fitted.network) | {"parameters": _count(network)},
        "training": _training(material, fitted, start),
    }
    parts = _parts(network, fitted.network, material, model)
    write_bundle(arguments.output, parts)
    model["training"]["scores"] = _scores(arguments, material, shows=shows)
    write_bundle(arguments.output, replace(parts, card=card(model)))
    bundle = open_manifest(arguments.output)
    found = {"bundle": str(bundle.path), "digest": bundle.digest, **bundle.training["scores"]}
    result(found, as_json=True)
    return 0


def _gather(arguments: argparse.Namespace, *, shows: bool) -> Material:
    archive = read_archive(arguments.archive, arguments.missing_share)
    material = gather(archive, arguments.constants, arguments.coarse, arguments.hold_back_days)
    _refuse_tiles(arguments, material.archive.grid)
    if shows:
        names = ", ".join(found.name for found in archive.parameters)
        held_back = len(material.split.held_back)
        filled = f"; {archive.filled} values were missing" if archive.filled else ""
        say(f"{len(archive.keys)} states of {names}; {held_back} of them held back{filled}")
    return material


def _refuse_tiles(arguments: argparse.Namespace, grid: Grid) -> None:
    """Raise UsageError before the fit for tiles that could not cover the grid after it."""
    tile, overlap = tuple(arguments.tile), tuple(arguments.overlap)
    try:
        Layout.cover(grid.shape, tile, overlap, periodic=grid.is_periodic)
    except UsageError as error:
        raise UsageError(f"--tile, --overlap: {error}") from error


def _write_pairs(path: Path, lesson: Lesson) -> int:
    write_pairs(path, lesson)
    found = {"pairs": str(path), "bytes": path.stat().st_size, "material": lesson.material}
    result(found, as_json=True)
    return 0


def _fitted(
    arguments: argparse.Namespace,
    material: Material,
    lesson: Lesson,
    start: Bundle | None,
    *,
    shows: bool,
) -> Fitted:
    """Return the weights that were fitted elsewhere, or fit them here."""
    if arguments.weights is not None:
        fitted = read_fitted(arguments.weights)
        if fitted.material != lesson.material:
            raise UsageError(
                f"{arguments.weights} learnt from material {fitted.material[:12]}, but this "
                f"archive, split and constants make {lesson.material[:12]}"
            )
        return fitted
    task = task_of(arguments, lesson.learn)
    until = Until(
        report=(lambda progress: say(options.words(progress))) if shows else lambda _: None, say=say
    )
    checkpoint = arguments.checkpoint or Path(f"{arguments.output}.checkpoint")
    weights = None
    if start is not None:
        names = tuple(one.name for one in material.archive.parameters)
        weights = train_start.weights(start, names, tuple(material.constants), task.network)
    return fit(lesson, task, checkpoint, until, weights)


def _model(arguments: argparse.Namespace, material: Material) -> dict[str, Any]:
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
            "interpolation": material.interpolation,
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


def _parameter(found: Found, channel: int, material: Material) -> dict[str, Any]:
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


def _training(material: Material, fitted: Fitted, start: Bundle | None) -> dict[str, Any]:
    archive, split, last = material.archive, material.split, fitted.history[-1]
    return {
        "command": options.told("downscaled", sys.argv[1:]),
        "fitted_by": fitted.command,
        "start": None if start is None else train_start.told(start),
        "states": {"learnt": len(split.learn), "held_back": len(split.held_back)},
        "filled": archive.filled,
        "days": [str(day) for day in archive.days() if day not in split.days],
        "held_back_days": [str(day) for day in split.days],
        "fit": asdict(fitted.settings),
        "steps": last.step,
        "best_step": fitted.step,
        "minutes": round(last.seconds / 60, 1),
        "loss": round(last.loss, 4),
        "held_back_loss": round(fitted.held_back_loss, 4),
        "levels": [asdict(one) for one in fitted.levels],
        "history": [
            [one.step, round(one.loss, 4), round(one.held_back_loss, 4)]
            for one in thinned(fitted.history)
        ],
        "scores": {},
    }


def _parts(
    network: nn.Module, settings: NetworkSettings, material: Material, model: dict[str, Any]
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
    network: nn.Module, settings: NetworkSettings, material: Material
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


def _scores(arguments: argparse.Namespace, material: Material, *, shows: bool) -> dict[str, Any]:
    """Score the bundle as it lies on disk, on the states held back, and the regression beside."""
    bundle: Bundle = open_manifest(arguments.output)
    trial = material.trial(material.split.held_back)
    denoiser = open_bundle(bundle, threads=arguments.workers or 2)
    draws = arguments.draws
    found = score(bundle, denoiser, bundle.sampler, trial, draws, _tell_scored if shows else None)
    ridge = material.ridge()
    missed = trial.errors(ridge.predict(trial.twin))
    return {
        name: one.plain() | {"ridge_rmse": missed[channel], "ridge_penalty": ridge.penalty}
        for channel, (name, one) in enumerate(found.items())
    }


def _count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _tell_scored(done: int, states: int) -> None:
    if done == states or done * 20 // states > (done - 1) * 20 // states:
        say(f"scored {done} of {states} states")
