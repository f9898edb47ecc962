"""What a command says: results to standard output, everything else to standard error."""

import json
import logging
import sys
import time
from collections.abc import Mapping

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


def say(text: str) -> None:
    """Tell the person at the terminal; never part of the result."""
    print(text, file=sys.stderr, flush=True)


def result(value: Mapping[str, object] | str, *, as_json: bool = False) -> None:
    """Print a result to standard output: one JSON object, or text as it is."""
    print(json.dumps(value, default=str) if as_json else value, flush=True)


def is_terminal() -> bool:
    """Whether somebody watches standard error, so that progress is worth drawing."""
    return sys.stderr.isatty()


def start_log(level: int = logging.INFO) -> None:
    """Send the log to standard error, in UTC; libraries speak up only to warn."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(level=logging.WARNING, format=_FORMAT, stream=sys.stderr, force=True)
    for ours in ("streamer", "engines", "monitoring"):
        logging.getLogger(ours).setLevel(level)
