"""The command `downscaled`: one verb a module, one place where errors become exit statuses."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from engines.errors import DownscaledError, UsageError
from streamer.commands import bundle, check, console, demo, engine, feed, replay, run, sink, verify

_VERBS: dict[str, tuple[ModuleType, str]] = {
    "demo": (demo, "the whole daemon in memory, with pictures and scores"),
    "run": (run, "the daemon"),
    "check": (check, "every fault of config, bundle and topics at once"),
    "feed": (feed, "GRIB files to the input topic, one message a record, keyed"),
    "replay": (replay, "files in, files out, the same service, no broker needed"),
    "verify": (verify, "published forecasts held to analyses: scores, pictures"),
    "sink": (sink, "what is published to NetCDF, GeoTIFF, Zarr or GRIB files"),
    "bundle": (bundle, "train, verify and explain a model on disk"),
    "engine": (engine, "build and prove engines, list them, measure them"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0: done, 1: it failed at work, 2: wrong use, config or bundle."""
    parsed = _parser().parse_args(arguments)
    console.start_log(logging.DEBUG if parsed.verbose else logging.INFO)
    try:
        status: int = _VERBS[parsed.verb][0].run(parsed)
        return status
    except BrokenPipeError:
        # The reader of our result went away: nothing is wrong, but Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UsageError as error:
        console.say(f"downscaled {parsed.verb}: {error}")
        return 2
    except (DownscaledError, OSError) as error:
        console.say(f"downscaled {parsed.verb}: {error}")
        return 1
    except KeyboardInterrupt:
        console.say(f"downscaled {parsed.verb}: interrupted")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="downscaled", description="Coarse forecasts in, high-resolution forecasts out."
    )
    parser.add_argument("--verbose", action="store_true", help="log every record")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (module, purpose) in _VERBS.items():
        module.configure(verbs.add_parser(name, help=purpose, description=purpose))
    return parser


if __name__ == "__main__":
    sys.exit(main())
