"""`downscaled engine`: build and prove engines, list those that are kept, measure them all."""

import argparse
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engines.build import forget
from engines.bundle import NETWORKS, Bundle, open_manifest
from engines.cache import default_cache, private_folder
from engines.choice import BACKENDS, PRECISIONS
from engines.denoiser import EngineSpec
from engines.errors import EngineError
from engines.open import open_bundle
from engines.proof import Kept, kept
from streamer.commands import engine_bench
from streamer.commands.console import result, say
from streamer.sampling import SamplerChoice


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    verbs = parser.add_subparsers(dest="what", required=True, metavar="build|list|bench")
    build = verbs.add_parser("build", help="build an engine and prove it, as a daemon's start does")
    listed = verbs.add_parser("list", help="what is kept, for which device, proven when")
    bench = verbs.add_parser("bench", help="one bundle on every backend that runs here")
    _configure_build(build)
    for one in (build, listed):
        one.add_argument("--cache", type=Path, metavar="FOLDER", help="where engines are kept")
    engine_bench.configure(bench)
    for one in (build, listed, bench):
        one.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; 0 when it was done."""
    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "build": _build,
        "list": _list,
        "bench": engine_bench.run,
    }
    return verbs[arguments.what](arguments)


def _configure_build(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    backends = [name for name in BACKENDS if name != "gaussian"]
    add("bundle", metavar="BUNDLE", help="a folder, or a name that ships")
    add("--backend", choices=backends, default="auto", help="auto: the fastest of this machine")
    words = ["auto", *PRECISIONS]
    add("--precision", choices=words, help="auto tries; default: f32 on a CPU, half on a GPU")
    add("--device", help="cpu, cuda or cuda:1; default: a GPU if there is one")
    add("--batch", type=int, help="the most tiles in one call")
    add("--threads", type=int, help="of one call on a CPU; default: every core")
    add("--network", choices=list(NETWORKS), help="of the bundle; default: the one that serves")
    add("--again", action="store_true", help="forget first what is kept of this bundle")


def _build(arguments: argparse.Namespace) -> int:
    bundle = open_manifest(arguments.bundle)
    # What a daemon opens that is told nothing else.
    bundle = bundle.of(arguments.network or SamplerChoice().chosen(bundle).network)
    cache = _cache(arguments)
    if arguments.again:
        say(f"forgot {forget(bundle, cache)} engines of {bundle.name}")
    say(f"building and proving {bundle.name}; a wide network on TensorRT takes minutes")
    denoiser = open_bundle(
        bundle,
        arguments.backend,
        arguments.precision,
        arguments.threads,
        cache,
        arguments.device,
        arguments.batch,
    )
    made = _made(kept(cache), bundle, denoiser.spec)
    text = _told(made, datetime.now(UTC))
    result(_plain(made) if arguments.json else text, as_json=arguments.json)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    cache = _cache(arguments)
    found = kept(cache)
    if arguments.json:
        result({"cache": str(cache), "engines": [_plain(one) for one in found]}, as_json=True)
        return 0
    now = datetime.now(UTC)
    result("\n".join([f"{len(found)} engines in {cache}", *(_told(one, now) for one in found)]))
    return 0


def _cache(arguments: argparse.Namespace) -> Path:
    return private_folder(arguments.cache or default_cache(os.environ))


def _made(engines: list[Kept], bundle: Bundle, spec: EngineSpec) -> Kept:
    """Return the newest engine of this bundle, backend and precision."""
    for one in engines:
        key = one.proof.key
        found = key.bundle, key.network, key.backend, key.precision
        wanted = bundle.digest, bundle.network_name, spec.backend, spec.precision
        if found == wanted and not one.proof.fault:
            return one
    raise EngineError(f"{spec.backend} {spec.precision} was opened, but left no proof")


def _plain(engine: Kept) -> Mapping[str, Any]:
    proof, key = engine.proof, engine.proof.key
    return {
        "bundle": proof.bundle,
        "digest": key.bundle,
        "network": key.network,
        "backend": key.backend,
        "version": key.version,
        "precision": key.precision,
        "device": key.device,
        "batch": key.batch,
        "threads": key.threads,
        "proven_at": proof.proven_at,
        "error": proof.error,
        "bound": proof.bound,
        "seconds_a_call": {str(tiles): value for tiles, value in proof.seconds.items()},
        "seconds_to_open": proof.opened_s,
        "peak_bytes": proof.peak_bytes,
        "fault": proof.fault,
        "folder": str(engine.folder),
        "size_bytes": engine.size_bytes,
    }


def _told(engine: Kept, now: datetime) -> str:
    proof, key = engine.proof, engine.proof.key
    age = _age(now - datetime.fromisoformat(proof.proven_at))
    name = f"{proof.bundle} ({key.bundle[:12]}, {key.network})"
    head = f"{name} on {key.backend} {key.precision}, {key.device}"
    if proof.fault:
        return f"{head}: refused {age} ago: {proof.fault}"
    calls = ", ".join(
        f"{value:.3g} s for {tiles} tile{'s' if tiles > 1 else ''}"
        for tiles, value in proof.seconds.items()
    )
    return (
        f"{head}: proven {age} ago to {proof.error:.1e} of the largest value, bound "
        f"{proof.bound:.0e}; {calls}; {key.version}; {engine.size_bytes / 1e6:.1f} MB"
    )


def _age(age: timedelta) -> str:
    seconds = max(0.0, age.total_seconds())
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
