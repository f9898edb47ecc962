"""`downscaled bundle`: train a model on disk from fine GRIB, verify one, tell what it is."""

import argparse
from collections.abc import Callable
from pathlib import Path

from engines.bundle import CARD, open_manifest
from engines.errors import UsageError
from engines.golden import check, read_golden
from engines.open import open_bundle
from engines.sampler import calls
from streamer.commands.console import result
from streamer.grib.manifest import read_manifest


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    verbs = parser.add_subparsers(dest="what", required=True, metavar="train|verify|info")
    train = verbs.add_parser("train", help="from a folder of fine GRIB to a verified bundle")
    _configure_train(train)
    verify = verbs.add_parser("verify", help="sums, shapes, GRIB part, and the golden vectors")
    info = verbs.add_parser("info", help="the model card, and how large it is on disk")
    for one in (verify, info):
        one.add_argument("bundle", metavar="BUNDLE", help="a folder, or a name that ships")
        one.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; 0 when it was done."""
    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "train": _train,
        "verify": _verify,
        "info": _info,
    }
    return verbs[arguments.what](arguments)


def _verify(arguments: argparse.Namespace) -> int:
    bundle = open_manifest(arguments.bundle)
    manifest = read_manifest(bundle.grib)
    if manifest.grid.shape != bundle.shape:
        raise UsageError(
            f"{bundle.path}: grib.grid is {manifest.grid.shape}, but shape is {bundle.shape}"
        )
    golden = read_golden(bundle)
    denoiser = open_bundle(bundle)
    error = check(denoiser, golden, str(bundle.path))
    spec = denoiser.spec
    found = {
        "bundle": bundle.name,
        "digest": bundle.digest,
        "engine": f"{spec.backend} {spec.version} {spec.precision} on {spec.device}",
        "golden_cases": len(golden.sigma),
        "largest_error": error,
        "bound": golden.bound,
    }
    text = (
        f"{bundle.name} ({bundle.digest[:12]}) is sound: {found['engine']} reproduces "
        f"{len(golden.sigma)} golden cases to {error:.1e} of the largest value, "
        f"bound {golden.bound:.0e}"
    )
    result(found if arguments.json else text, as_json=arguments.json)
    return 0


def _info(arguments: argparse.Namespace) -> int:
    bundle = open_manifest(arguments.bundle)
    size_bytes = sum(path.stat().st_size for path in bundle.path.iterdir())
    if arguments.json:
        found = {
            "name": bundle.name,
            "digest": bundle.digest,
            "parameters": bundle.channels,
            "shape": bundle.shape,
            "tile": bundle.tile,
            "calls": calls(bundle.sampler),
            "size_bytes": size_bytes,
            "licence": bundle.licence,
            "attribution": bundle.attribution,
            "scores": bundle.training.get("scores", {}),
        }
        result(found, as_json=True)
        return 0
    page = (bundle.path / CARD).read_text(encoding="utf-8").rstrip()
    result(f"{page}\n\n## On disk\n{size_bytes / 1e6:.1f} MB, digest {bundle.digest}.")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    try:
        # torch is heavy, and only training needs it.
        from streamer.commands import bundle_train  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"training needs {error.name}, which is not installed: pip install 'downscaled[torch]'"
        ) from error
    return bundle_train.run(arguments)


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
    add("--tile", type=int, nargs=2, default=[104, 144], help="rows and columns of the engine")
    add("--overlap", type=int, nargs=2, default=[24, 24], help="least that two tiles share")
    add("--width", type=int, default=32, help="channels of the network's finest level")
    add("--multipliers", type=int, nargs="+", default=[1, 2, 2], help="of width, one a level")
    add("--blocks", type=int, default=2, help="blocks a level")
    add("--steps", type=int, default=2000, help="training steps of 8 tiles")
    add(
        "--training-tile",
        type=int,
        nargs=2,
        default=[64, 72],
        help="rows, columns of a step's tiles",
    )
    add("--precision", choices=("f32", "bf16"), default="f32", help="bf16 where it is faster")
    add("--seed", type=int, default=1)
    add("--workers", type=int, choices=(1, 2, 4, 8), default=2, help="threads; share each batch")
    add("--checkpoint", type=Path, help="where to continue from (default: OUTPUT.checkpoint)")
    add("--sampler-steps", type=int, default=6, help="levels of the recommended sampler")
    add("--sigma-min", type=float, default=0.1, help="its lowest level")
    add("--sigma-max", type=float, default=14.0, help="its highest level")
    add("--rho", type=float, default=5.0, help="its crowding towards the lowest level")
    add("--draws", type=int, default=4, help="draws a state for the scores, at least 2")
    add("--progress", action="store_true", help="show progress in a pipe too")
