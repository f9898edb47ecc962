"""`downscaled bundle`: make, import, verify and tell what a model on disk is."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from engines.bundle import Bundle, open_manifest, weight_shapes
from engines.choice import BACKENDS, PRECISIONS
from engines.errors import UsageError
from engines.golden import Case, cases, read_golden
from engines.open import open_bundle
from engines.training import options
from streamer.commands import bundle_info, calibrate_options, tune_options
from streamer.commands.console import result
from streamer.downscale.labels import refuse_unknown
from streamer.grib.manifest import read_manifest

_HEAD = "network  case       sigma     error     bound"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    verbs = parser.add_subparsers(dest="what", required=True, metavar="VERB")
    train = verbs.add_parser("train", help="from a folder of fine GRIB to a verified bundle")
    _configure_train(train)
    _configure_import(verbs.add_parser("import", help="from an IPSL-AID checkpoint to a bundle"))
    calibrate_options.configure(
        verbs.add_parser("calibrate", help="fit few-call samplers, and measure what they cost")
    )
    tune_options.configure(
        verbs.add_parser("tune", help="tune the network through its own few calls")
    )
    verify = verbs.add_parser("verify", help="sums, shapes, GRIB part, and the golden vectors")
    verify.add_argument("--backend", default="auto", choices=BACKENDS, help="engine to be held")
    verify.add_argument("--precision", choices=PRECISIONS, help="of its arithmetic")
    info = verbs.add_parser("info", help="a page with every fact that decides its numbers")
    bundle_info.configure(info)
    for one in (verify, info):
        one.add_argument("bundle", metavar="BUNDLE", help="a folder, or a name that ships")
        one.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; 0 when it was done."""
    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "train": _with_torch,
        "import": _with_torch,
        "calibrate": _with_torch,
        "tune": _with_torch,
        "verify": _verify,
        "info": bundle_info.run,
    }
    return verbs[arguments.what](arguments)


def _verify(arguments: argparse.Namespace) -> int:
    bundle = open_manifest(arguments.bundle)
    _refuse_misfits(bundle)
    proven = {name: _proven(bundle.of(name), arguments) for name in bundle.networks}
    engine = next(iter(proven.values()))[0]
    answers = [(name, case) for name, (_, found) in proven.items() for case in found]
    found = {
        "bundle": bundle.name,
        "digest": bundle.digest,
        "engine": engine,
        "networks": list(proven),
        "golden_cases": len(answers),
        "largest_error": max(case.error for _, case in answers),
        "bound": max(case.bound for _, case in answers),
        "cases": [{"network": name, **asdict(case)} for name, case in answers],
    }
    verdict = (
        f"{bundle.name} ({bundle.digest[:12]}) is sound: {engine} reproduces {len(answers)} golden "
        f"cases of {' and '.join(proven)}; errors are relative to the largest value"
    )
    text = "\n".join([_HEAD, *(_line(name, case) for name, case in answers), verdict])
    result(found if arguments.json else text, as_json=arguments.json)
    return 0


def _proven(bundle: Bundle, arguments: argparse.Namespace) -> tuple[str, tuple[Case, ...]]:
    """Return the engine of one network in words, and how it answers its golden cases."""
    golden = read_golden(bundle)
    # Opening holds the engine against the golden cases and refuses a wrong one.
    asked = {} if arguments.precision is None else {"precision": arguments.precision}
    denoiser = open_bundle(bundle, arguments.backend, **asked)
    spec = denoiser.spec
    if spec.backend == "gaussian":
        raise UsageError("--backend gaussian has no network that golden vectors could prove")
    weight_shapes(bundle)
    engine = f"{spec.backend} {spec.version} {spec.precision} on {spec.device}"
    return engine, tuple(cases(denoiser, golden))


def _refuse_misfits(bundle: Bundle) -> None:
    """Hold the parts that only the house reads against the rest; raises UsageError."""
    manifest = read_manifest(bundle.grib)
    if manifest.grid.shape != bundle.shape:
        raise UsageError(
            f"{bundle.path}: grib.grid is {manifest.grid.shape}, but shape is {bundle.shape}"
        )
    named = {parameter.name for parameter in manifest.parameters}
    unnamed = [name for name in bundle.channels if name not in named]
    if unnamed:
        raise UsageError(f"{bundle.path}: grib.parameters lacks {', '.join(unnamed)}")
    refuse_unknown(bundle.labels)


def _line(network: str, answer: Case) -> str:
    numbers = f"{answer.index:4d} {answer.sigma:11g} {answer.error:9.1e} {answer.bound:9.0e}"
    return f"{network:8s} {numbers}"


def _with_torch(arguments: argparse.Namespace) -> int:
    """Run a verb that makes networks: torch is heavy, and nothing else here needs it."""
    try:
        module = import_module(f"streamer.commands.bundle_{arguments.what}")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"bundle {arguments.what} needs {error.name}, which is not installed: "
            "pip install 'downscaled[torch]'"
        ) from error
    return int(module.run(arguments))


def _configure_import(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a *_best_model.pth.tar")
    add("--statistics", type=Path, required=True, help="JSON, entries such as VAR_2T_fine")
    add("--constants", type=Path, required=True, help="NetCDF 3 with z and lsm on the fine grid")
    add("--output", type=Path, required=True, help="folder of the new bundle; its name is the name")
    add(
        "--grid", type=int, nargs=2, default=[721, 1440], metavar=("ROWS", "COLUMNS"),
        help="of the fine grid, which spans the globe from 90 N, 0 E (default: 721 1440)",
    )  # fmt: skip
    add(
        "--coarse", type=int, nargs=2, metavar=("ROWS", "COLUMNS"),
        help="to which coarse fields were resized in training (default: 80 128 of 721 1440)",
    )  # fmt: skip
    add("--direct", action="store_true", help="insist on a plain regression, one call a tile")
    add("--description", default="A network of IPSL-AID, imported.", help="one sentence")
    add("--licence", default="not stated", help="of the weights")
    add("--attribution", default="not stated", help="whose data it was made from")


def _configure_train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("archive", type=Path, metavar="FOLDER", help="fine GRIB, several days of it")
    add("--constants", type=Path, required=True, help="NetCDF 3 with orography z and land mask lsm")
    add("--output", type=Path, required=True, help="folder of the new bundle; its name is the name")
    add("--description", default="A downscaling model.", help="one sentence for the model card")
    add("--licence", default="not stated", help="of the weights")
    add("--attribution", default="not stated", help="whose data it was made from")
    add("--coarse", type=float, default=4.0, help="spacing of the coarse grid, degrees")
    add("--hold-back-days", type=int, default=2, help="last calendar days, kept for the scores")
    add("--missing-share", type=float, default=0.01, help="of a field's values, at most")
    add("--overlap", type=int, nargs=2, default=[24, 24], help="least that two tiles share")
    add("--checkpoint", type=Path, help="where to continue from (default: OUTPUT.checkpoint)")
    add("--start", metavar="BUNDLE", help="begin with its weights; it may know fewer constants")
    add("--pairs-to", type=Path, help="write what the network learns from here, and stop")
    add("--weights", type=Path, help="take the weights that were fitted to those pairs elsewhere")
    add("--sampler-steps", type=int, default=6, help="levels of the recommended sampler")
    add("--sigma-min", type=float, default=0.1, help="its lowest level")
    add("--sigma-max", type=float, default=14.0, help="its highest level")
    add("--rho", type=float, default=5.0, help="its crowding towards the lowest level")
    add("--draws", type=int, default=4, help="draws a state for the scores, at least 2")
    add("--progress", action="store_true", help="show progress in a pipe too")
    options.configure(parser)
