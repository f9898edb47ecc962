"""`downscaled verify`: published forecasts held to analyses, the interpolated input beside them."""

import argparse
from pathlib import Path

from engines.bundle import open_manifest
from engines.errors import UsageError
from streamer.baselines import Baseline, BundleFiles, CoarseFiles, CoarsenedTruth
from streamer.catalogue import catalogue
from streamer.commands import console
from streamer.commands.replay import find_files
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.steps import parse_list
from streamer.verification import Truth, Wish, verify
from streamer.verify.table import table


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
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Verify; 0 when something was."""
    manifest = read_manifest(open_manifest(arguments.bundle).grib) if arguments.bundle else None
    wish = Wish(
        thresholds=thresholds(arguments.above),
        names=tuple(arguments.parameters),
        minutes=parse_list(arguments.steps) if arguments.steps else (),
    )
    truth = Truth.of(catalogue(find_files(arguments.truth), manifest))
    forecasts = catalogue(find_files(arguments.forecasts), manifest)
    baseline = _baseline(arguments.coarse, truth, manifest)
    outcome = verify(forecasts, truth, baseline, wish)
    if baseline is None:
        console.say("neither --coarse nor --bundle: errors are told, skill is not")
    console.result(outcome.plain() if arguments.json else table(outcome.results),
                   as_json=arguments.json)  # fmt: skip
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


def _baseline(
    coarse: list[Path] | None, truth: Truth, manifest: GribManifest | None
) -> Baseline | None:
    if coarse is None:
        return None if manifest is None else CoarsenedTruth(truth, manifest)
    entries = catalogue(find_files(coarse), manifest)
    return CoarseFiles(entries) if manifest is None else BundleFiles(entries, manifest)
