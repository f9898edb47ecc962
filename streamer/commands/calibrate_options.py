"""What `downscaled bundle calibrate` takes; needs no torch, so that any parser may declare it."""

import argparse
import re
from pathlib import Path

from engines.choice import BACKENDS

#: More calls than this are no saving.
MOST_CALLS = 16


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="a folder, or a name that ships")
    add("--truth", type=Path, nargs="+", required=True, metavar="PATH",
        help="GRIB on the bundle's fine grid, files or folders, several days of it")  # fmt: skip
    add("--output", type=Path, metavar="DIR", help="the new bundle (default: in place)")
    add("--calls", type=calls, default=tuple(range(2, 9)), metavar="FIRST..LAST",
        help="network calls a tile to fit samplers for (default: 2..8)")  # fmt: skip
    add("--hold-back-days", type=int, default=2, metavar="DAYS",
        help="last calendar days, measured on and never fitted on (default: 2)")  # fmt: skip
    add("--fit-days", type=int, default=0, metavar="DAYS",
        help="days before them to fit on (default: all)")  # fmt: skip
    add("--states", type=int, default=8, help="to measure on, spread over their days (default: 8)")
    add("--draws", type=int, default=4, help="a state, at least 2 (default: 4)")
    add("--seed", type=int, default=1, help="of the tiles and the noise that are fitted on")
    add("--fit-steps", type=int, help="of each fit (default: 36, at least 3)")
    add("--fit-tiles", type=int, help="in a step (default: 4)")
    add("--fit-tile", type=int, nargs=2, metavar=("ROWS", "COLUMNS"),
        help="their size (default: 64 64, or the bundle's where that is smaller)")  # fmt: skip
    add("--device", choices=("cpu", "cuda"), default="cpu", help="to fit and to measure on")
    add("--backend", choices=BACKENDS, default="auto", help="engine to measure on")
    add("--progress", action="store_true", help="show progress in a pipe too")
    add("--json", action="store_true", help="one JSON object instead of the table")


def calls(text: str) -> tuple[int, ...]:
    """Read `2..8`, or one number. Raises argparse's error for anything else."""
    matched = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text)
    if matched is not None:
        first = int(matched[1])
        last = int(matched[2]) if matched[2] else first
        if 1 <= first <= last <= MOST_CALLS:
            return tuple(range(first, last + 1))
    raise argparse.ArgumentTypeError(
        f"{text!r} is no number of calls, wanted such as 4 or 2..8, within 1 to {MOST_CALLS}"
    )
