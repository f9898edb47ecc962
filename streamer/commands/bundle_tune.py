"""`downscaled bundle tune`: tune the network through its few calls, judge it, add it to the bundle.

The tuned network stands beside the one it came from, which stays for every other sampler.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engines.backends.torch_network import open_network
from engines.bundle import DENOISER, TUNED, Bundle, open_manifest
from engines.bundle_writer import rewrite
from engines.calibration import Row, sampler_to_plain
from engines.errors import EngineError, UsageError
from engines.multistep import MultistepSettings
from engines.open import open_bundle
from engines.training import options
from engines.training.crops import Cropper
from engines.training.multistep_fit import FitSettings, MultistepFit
from engines.training.pairs_file import Lesson
from engines.training.tune import Start, Tuned, Until, sampler_of, tune
from engines.training.tune_settings import TuneProgress
from streamer.calibrating import REFERENCE, Candidate, measure
from streamer.calibration_states import trial_on, units_of
from streamer.commands import tune_options
from streamer.commands.bundle_calibrate import reporter
from streamer.commands.console import is_terminal, result, say
from streamer.commands.tuned_bundle import network_files, table_files
from streamer.feeding import files_under
from streamer.grib.manifest import read_manifest
from streamer.truth_states import TruthStates, find_truth
from streamer.tuning import Rule, placed, rules
from streamer.tuning_states import TuningDays, lesson_of, tuning_days


def run(arguments: argparse.Namespace) -> int:
    """Tune on early days, choose and measure on those held back, write what keeps all rules."""
    bundle = open_manifest(arguments.bundle)
    start = bundle.of(TUNED if arguments.again else DENOISER)
    _refuse(bundle, arguments)
    paths = files_under(arguments.truth)
    truth = find_truth(paths, read_manifest(bundle.grib), bundle.channels)
    held_back = bundle.training.get("held_back_days", ())
    days = tuning_days(truth.days(), held_back, arguments.hold_back_days)
    tuned = _tuned(start, lesson_of(truth, days, bundle), arguments)
    with tempfile.TemporaryDirectory(prefix="downscaled-tune-") as folder:
        trial = Path(folder) / bundle.path.name
        rewrite(bundle.path, trial, network_files(bundle, tuned))
        rows = _measured(open_manifest(trial), truth, days, tuned, arguments)
        found = rules(rows[1].measured, rows[0].measured)
        told = _told(start, days, tuned, found, arguments)
        is_kept = all(rule.is_kept for rule in found)
        if is_kept or arguments.keep:
            table = placed(bundle.calibration, rows, told, serves=is_kept)
            output = arguments.output or bundle.path
            rewrite(trial, output, table_files(open_manifest(trial), table, told))
    return _say(bundle, rows[1], found, arguments)


def _refuse(bundle: Bundle, arguments: argparse.Namespace) -> None:
    """Raise UsageError for what no tuning can come of, before anything is read."""
    if bundle.preconditioning.kind == "direct":
        raise UsageError(
            f"{bundle.name} is a plain regression: it makes one call without noise, so there is "
            "nothing to tune"
        )
    for name, least in (("calls", 1), ("measured_draws", 2), ("states", 1), ("report_every", 1)):
        if getattr(arguments, name) < least:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is {getattr(arguments, name)}, want at least {least}")


def _tuned(bundle: Bundle, lesson: Lesson, arguments: argparse.Namespace) -> Tuned:
    """Return the bundle's network, tuned. Raises EngineError where none was better than it."""
    shows = arguments.progress or is_terminal()
    settings = tune_options.settings(arguments, bundle.overlap)
    checkpoint = arguments.checkpoint or Path(
        f"{arguments.output or bundle.path}.tuning.checkpoint"
    )
    # A resumed tuning goes on from where it started, and not from a second fit of its sampler.
    sampler = sampler_of(checkpoint) or _sampler(bundle, lesson, arguments, shows=shows)
    made = f"{bundle.digest} {bundle.network_name}"
    start = Start(open_network(bundle), sampler, bundle.preconditioning, made)
    if shows:
        levels = " ".join(f"{level:.4g}" for level in sampler.levels)
        say(f"tuning {arguments.calls} calls, from levels {levels}")

    def report(progress: TuneProgress) -> None:
        if shows:
            say(tune_options.words(progress))

    tuned = tune(lesson, start, settings, checkpoint, Until(report=report))
    if tuned.step == 0:
        raise EngineError(
            "on the days held back no network was better than the start, in "
            f"{tuned.history[-1].step} steps; a smaller --learning-rate may help"
        )
    return tuned


def _sampler(
    bundle: Bundle, lesson: Lesson, arguments: argparse.Namespace, *, shows: bool
) -> MultistepSettings:
    """Return the sampler to start from: the table's, or one that is fitted here."""
    for row in bundle.calibration.rows if bundle.calibration else ():
        is_it = row.network == bundle.network_name and row.calls == arguments.calls
        if is_it and isinstance(row.sampler, MultistepSettings):
            return row.sampler
    if shows:
        say(f"fitting a sampler of {arguments.calls} calls, since the bundle has none")
    tile = arguments.training_tile
    how = FitSettings(tile=(tile[0], tile[1]), seed=arguments.seed, device=arguments.device)
    tiles = Cropper(lesson.learn, how.device), Cropper(lesson.held_back, how.device)
    network = open_network(bundle, how.device)
    fitting = MultistepFit(network, bundle.preconditioning, tiles, how, units_of(bundle))
    return fitting.fit(arguments.calls).sampler


def _measured(
    bundle: Bundle,
    truth: TruthStates,
    days: TuningDays,
    tuned: Tuned,
    arguments: argparse.Namespace,
) -> tuple[Row, Row]:
    """Return the reference and the tuned row, measured in pairs on the days held back."""
    engines = {
        name: (
            bundle.of(name),
            open_bundle(bundle.of(name), arguments.backend, device=arguments.device),
        )
        for name in (DENOISER, TUNED)
    }
    trial = trial_on(truth, truth.on(days.held_back, arguments.states), bundle)
    candidates = Candidate(REFERENCE), Candidate(tuned.sampler, TUNED)
    report = reporter("network calls a tile and draw, measured", arguments)
    reference, row = measure(candidates, engines, trial, arguments.measured_draws, report)
    return reference, row


def _told(
    start: Bundle,
    days: TuningDays,
    tuned: Tuned,
    found: Sequence[Rule],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Return what people may want to know of how it came about, the tuning before included."""
    last = tuned.history[-1]
    before = start.calibration.told.get(TUNED) if start.calibration and arguments.again else None
    return {
        **({"before": before} if before else {}),
        "command": options.told("downscaled", sys.argv[1:]),
        "days": [str(day) for day in days.learn],
        "held_back_days": [str(day) for day in days.held_back],
        "states": arguments.states,
        "draws": arguments.measured_draws,
        "settings": asdict(tune_options.settings(arguments, start.overlap)),
        "steps": last.step,
        "best_step": tuned.step,
        "minutes": round(last.seconds / 60, 1),
        "history": [
            [one.step, round(one.held_back_loss, 4), round(one.crps, 4), round(one.spread_skill, 3)]
            for one in tuned.history
        ],
        "rules": [rule.plain() for rule in found],
    }


def _say(bundle: Bundle, row: Row, found: Sequence[Rule], arguments: argparse.Namespace) -> int:
    """Tell how it ended: 0 where the network serves from now on, 1 where it broke a rule."""
    broken = [rule for rule in found if not rule.is_kept]
    output = arguments.output or bundle.path
    is_written = not broken or arguments.keep
    if arguments.json:
        told = {
            "bundle": str(output) if is_written else None,
            "digest": open_manifest(output).digest if is_written else None,
            "serves": not broken,
            "rules": [rule.plain() for rule in found],
            "sampler": sampler_to_plain(row.sampler),
            "measured": row.measured,
        }
        result(told, as_json=True)
        return 1 if broken else 0
    lines = [f"{'kept  ' if rule.is_kept else 'BROKEN'}  {rule.words}" for rule in found]
    if not broken:
        end = f"{row.calls} calls of the tuned network are `fast` and the default in {output}"
    elif is_written:
        end = f"written into {output}, where no profile names it, since rules are broken"
    else:
        names = ", ".join(rule.name for rule in broken)
        end = f"refused, and nothing is written: {names}"
    result("\n".join([*lines, end]))
    return 1 if broken else 0
