"""`downscaled verify`: published forecasts held to analyses, the interpolated input beside them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.bundle import open_manifest
from engines.errors import UsageError
from streamer.commands import console
from streamer.commands.replay import find_files
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.steps import StepsError, parse_list
from streamer.verification.analyses import Truth
from streamer.verification.baselines import Baseline, BundleFiles, CoarseFiles, CoarsenedTruth
from streamer.verification.catalogue import catalogue
from streamer.verification.forecasts import Outcome, Wish, verify
from streamer.verify.report import page
from streamer.verify.table import table


@dataclass(frozen=True, slots=True)
class Files:
    """What is read. coarse: None where none was named."""

    forecasts: tuple[Path, ...]
    truth: tuple[Path, ...]
    coarse: tuple[Path, ...] | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("forecasts", type=Path, nargs="+", metavar="FORECAST",
                        help="fine GRIB as published, or folders of it")  # fmt: skip
    parser.add_argument("--truth", type=Path, nargs="+", required=True, metavar="PATH",
                        help="analyses on the same points, matched by valid time")  # fmt: skip
    parser.add_argument("--coarse", type=Path, nargs="+", metavar="PATH",
                        help="the coarse forecasts, to be interpolated and scored too")  # fmt: skip
    parser.add_argument("--bundle", metavar="DIR",
                        help="names, units and interpolation of this bundle; without --coarse "
                        "the truth coarsened as it does it")  # fmt: skip
    parser.add_argument("--parameters", nargs="+", default=(), metavar="NAME",
                        help="only these; default: all")  # fmt: skip
    parser.add_argument("--steps", metavar="LIST", help="only these, such as 0/to/24/by/3")
    parser.add_argument("--above", action="append", default=[], metavar="NAME=VALUE",
                        help="score how well it is known that this is exceeded")  # fmt: skip
    parser.add_argument("--html", type=Path, metavar="FILE",
                        help="write a report with pictures, too")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Verify; 0 when something was."""
    manifest = read_manifest(open_manifest(arguments.bundle).grib) if arguments.bundle else None
    wish = Wish(
        thresholds=thresholds(arguments.above),
        names=tuple(arguments.parameters),
        minutes=_minutes(arguments.steps),
    )
    files = Files(
        tuple(find_files(arguments.forecasts)),
        tuple(find_files(arguments.truth)),
        None if arguments.coarse is None else tuple(find_files(arguments.coarse)),
    )
    truth = Truth(catalogue(files.truth, manifest))
    forecasts = catalogue(files.forecasts, manifest)
    baseline = _baseline(files.coarse, truth, manifest)
    outcome = verify(forecasts, truth, baseline, wish)
    if baseline is None:
        console.say("neither --coarse nor --bundle: errors are told, skill is not")
    for text in outcome.remarks:
        console.say(f"note: {text}")
    if arguments.html is not None:
        facts = _facts(files, arguments.bundle, outcome)
        arguments.html.write_text(
            page(outcome.results, facts, outcome.statistics), encoding="utf-8"
        )
        console.say(f"report: {arguments.html}")
    plain, told = outcome.plain(), table(outcome.results, outcome.statistics)
    console.result(plain if arguments.json else told, as_json=arguments.json)
    return 0


def thresholds(wanted: list[str]) -> dict[str, tuple[float, ...]]:
    """Read `NAME=VALUE` texts; UsageError for any other."""
    found: dict[str, tuple[float, ...]] = {}
    for text in wanted:
        name, _, value = text.partition("=")
        try:
            found[name] = (*found.get(name, ()), float(value))
        except ValueError:
            raise UsageError(f"--above: found {text!r}, wanted such as 10si=17.2") from None
    return found


def _minutes(steps: str | None) -> tuple[int, ...]:
    if steps is None:
        return ()
    try:
        return parse_list(steps)
    except StepsError as error:
        raise UsageError(f"--steps: {error}") from error


def _baseline(
    coarse: Sequence[Path] | None, truth: Truth, manifest: GribManifest | None
) -> Baseline | None:
    if coarse is None:
        return None if manifest is None else CoarsenedTruth(truth, manifest)
    entries = catalogue(coarse, manifest)
    return CoarseFiles(entries) if manifest is None else BundleFiles(entries, manifest)


def _facts(files: Files, bundle: str | None, outcome: Outcome) -> dict[str, str]:
    """Return what a reader must know of where the scores come from."""
    days = outcome.days
    if files.coarse is not None:
        how = f"as {bundle} does it" if bundle else "bicubic, or linear where that cannot be"
        beside = f"{_places(files.coarse)}, interpolated {how}"
    else:
        beside = f"the truth, coarsened and interpolated as {bundle} does it" if bundle else "none"
    return {
        "Forecasts": _places(files.forecasts),
        "Truth": _places(files.truth),
        "Interpolated coarse field": beside,
        "Valid": f"{days[0]} to {days[-1]}, {len(days)} days" if days[1:] else str(days[0]),
        **({"Left out": "; ".join(outcome.remarks)} if outcome.remarks else {}),
    }


def _places(files: Sequence[Path]) -> str:
    folders = ", ".join(sorted({str(file.parent) for file in files}))
    return f"{len(files)} files in {folders}"
