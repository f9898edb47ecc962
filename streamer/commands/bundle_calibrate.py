"""`downscaled bundle calibrate`: fit few-call samplers, measure what they cost, write the table."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engines.backends.torch_network import open_network
from engines.bundle import CARD, DENOISER, MODEL, TUNED, Bundle, open_manifest, read_model
from engines.bundle_writer import rewrite
from engines.calibration import Calibration, to_plain
from engines.denoiser import EngineSpec
from engines.errors import UsageError
from engines.multistep import MultistepSettings
from engines.open import open_bundle
from engines.sampler import Sampler
from engines.training import options
from engines.training.crops import Cropper
from engines.training.multistep_fit import FitSettings, MultistepFit
from streamer.calibrating import REFERENCE, Candidate, calibration, heun_at, measure
from streamer.calibration_states import (
    Days,
    fit_states,
    labels_of,
    pairs_of,
    split_days,
    trial_on,
    units_of,
)
from streamer.commands.bundle_table import section
from streamer.commands.console import is_terminal, progress, result, say
from streamer.downscale.labels import refuse_unknown
from streamer.feeding import files_under
from streamer.grib.manifest import read_manifest
from streamer.truth_states import TruthStates, find_truth


@dataclass(frozen=True, slots=True)
class Found:
    """What a fit gave: samplers by rising cost, and the deviation of the residuals fitted on."""

    samplers: tuple[MultistepSettings, ...]
    deviation: float
    states: int


def run(arguments: argparse.Namespace) -> int:
    """Fit on early days, measure on the last ones, write the bundle again with its table."""
    bundle = open_manifest(arguments.bundle)
    _refuse(bundle, arguments)
    manifest = read_manifest(bundle.grib)
    truth = find_truth(files_under(arguments.truth), manifest, bundle.channels)
    days = split_days(truth.days(), arguments.hold_back_days, arguments.fit_days)
    found = _fit(bundle, truth, days, arguments)
    table = _measure(bundle, truth, days, found, arguments)
    written = _write(bundle, table, arguments.output or bundle.path)
    if arguments.json:
        told = {"bundle": str(written.path), "digest": written.digest, **to_plain(table)}
        result(told, as_json=True)
        return 0
    result(f"{section(table)}\n\nWritten into {written.path}, digest {written.digest}.")
    return 0


def _refuse(bundle: Bundle, arguments: argparse.Namespace) -> None:
    """Raise UsageError for what no calibration can come of, before anything is read."""
    if bundle.preconditioning.kind == "direct":
        raise UsageError(
            f"{bundle.name} is a plain regression: one call a tile and no levels, so there is "
            "nothing to calibrate"
        )
    for name, least in (("draws", 2), ("states", 1), ("hold_back_days", 1), ("fit_days", 0)):
        if getattr(arguments, name) < least:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is {getattr(arguments, name)}, want at least {least}")
    refuse_unknown(bundle.labels)


def _fit(bundle: Bundle, truth: TruthStates, days: Days, arguments: argparse.Namespace) -> Found:
    how = _how(bundle, arguments)
    network = open_network(bundle, how.device)
    keys = fit_states(truth, days.fit, bundle)
    croppers = []
    for part in (keys, fit_states(truth, days.choose, bundle)):
        trial = trial_on(truth, part, bundle)
        croppers.append(Cropper(pairs_of(trial, bundle), how.device, labels_of(trial, bundle)))
    tiles = (croppers[0], croppers[1])
    fitting = MultistepFit(network, bundle.preconditioning, tiles, how, units_of(bundle))
    if _shows(arguments):
        say(f"fitting on {len(keys)} states of {_span(days.fit)}")
    fitted: list[MultistepSettings] = []
    for calls in arguments.calls:
        report = reporter(f"through the network, {calls} a draw", arguments)
        found = fitting.fit(calls, fitted[-1] if fitted else None, report)
        fitted.append(found.sampler)
        if _shows(arguments):
            say(f"{calls} calls: loss {found.loss:.4f}, {found.started:.4f} at the start")
    return Found(tuple(fitted), croppers[0].deviation, len(keys))


def _how(bundle: Bundle, arguments: argparse.Namespace) -> FitSettings:
    wanted = arguments.fit_tile or [min(64, side) for side in bundle.tile]
    multipliers = bundle.network.get("multipliers", (1,))
    divisor = 2 ** (len(multipliers) - 1)
    if any(side % divisor or not 0 < side <= most
           for side, most in zip(wanted, bundle.shape, strict=True)):  # fmt: skip
        raise UsageError(
            f"--fit-tile is {wanted[0]}x{wanted[1]}, want sides divisible by {divisor} that fit "
            f"the grid of {bundle.shape[0]}x{bundle.shape[1]}"
        )
    how = FitSettings(tile=(wanted[0], wanted[1]), seed=arguments.seed, device=arguments.device)
    if arguments.fit_steps is not None:
        how = replace(how, steps=arguments.fit_steps)
    if arguments.fit_tiles is not None:
        how = replace(how, tiles=arguments.fit_tiles)
    return how


def _measure(
    bundle: Bundle, truth: TruthStates, days: Days, found: Found, arguments: argparse.Namespace
) -> Calibration:
    candidates = _candidates(bundle, found, arguments.calls)
    engines = {
        name: (bundle.of(name), open_bundle(
            bundle.of(name), arguments.backend, device=arguments.device
        ))
        for name in dict.fromkeys(one.network for one in candidates)
    }  # fmt: skip
    keys = truth.on(days.measure, arguments.states)
    trial = trial_on(truth, keys, bundle)
    if _shows(arguments):
        say(f"measuring {len(candidates)} samplers on {len(keys)} states of {_span(days.measure)}")
    report = reporter("network calls a tile and draw", arguments)
    rows = measure(candidates, engines, trial, arguments.draws, report)
    spec = engines[DENOISER][1].spec
    told = _told(spec, days, found, len(keys), arguments)
    before = bundle.calibration
    if before is not None and TUNED in before.told and any(row.network == TUNED for row in rows):
        told[TUNED] = before.told[TUNED]
    return calibration(rows, told, before)


def _candidates(bundle: Bundle, found: Found, costs: Sequence[int]) -> list[Candidate]:
    """Return the reference, the bundle's own sampler, Heun's at the same costs, what was fitted."""
    samplers: list[Sampler] = [
        REFERENCE,
        bundle.sampler,
        *heun_at(costs, found.deviation),
        *found.samplers,
    ]
    candidates = [Candidate(sampler) for sampler in dict.fromkeys(samplers)]
    if bundle.calibration is not None and TUNED in bundle.networks:
        tuned = [row.sampler for row in bundle.calibration.rows if row.network == TUNED]
        candidates += [Candidate(sampler, TUNED) for sampler in tuned]
    return candidates


def _told(
    spec: EngineSpec, days: Days, found: Found, states: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    return {
        "measured": f"{states} states of {_span(days.measure)}, {arguments.draws} draws each",
        "fitted": f"{found.states} states of {_span(days.fit)}",
        "engine": f"{spec.backend} {spec.version} {spec.precision} on {spec.device}",
        "command": options.told("downscaled", sys.argv[1:]),
    }


def _write(bundle: Bundle, table: Calibration, output: Path) -> Bundle:
    """Write the bundle again with its table in `model.json` and on its card."""
    model = {**read_model(bundle), "calibration": to_plain(table)}
    card = with_section((bundle.path / CARD).read_text(encoding="utf-8"), section(table))
    changes = {
        MODEL: (json.dumps(model, indent=2) + "\n").encode(),
        CARD: card.encode(),
    }
    rewrite(bundle.path, output, changes)
    return open_manifest(output)


def with_section(card: str, text: str) -> str:
    """Return a card with a section, in the place of an older one of the same heading, if any."""
    heading = text.partition("\n")[0]
    before, found, after = card.partition(f"{heading}\n")
    rest = ""
    if found:
        _, more, tail = after.partition("\n## ")
        rest = f"\n## {tail}" if more else ""
    return f"{before.rstrip()}\n\n{text.rstrip()}\n{rest}"


def _span(days: Sequence[object]) -> str:
    return f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _shows(arguments: argparse.Namespace) -> bool:
    return bool(arguments.progress) or is_terminal()


def reporter(unit: str, arguments: argparse.Namespace) -> Callable[[int, int], None] | None:
    """Return what shows how much is done: a bar on a terminal, a line for each tenth in a pipe."""
    if not _shows(arguments):
        return None
    bars: list[Callable[[int], None]] = []
    tenths: list[int] = []

    def report(done: int, total: int) -> None:
        if is_terminal():
            if not bars:
                bars.append(progress(total, unit))
            bars[0](done)
        elif 10 * done // total not in tenths:
            tenths.append(10 * done // total)
            say(f"{done}/{total} {unit}")

    return report
