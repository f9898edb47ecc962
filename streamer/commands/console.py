"""What a command says: results to standard output, everything else to standard error."""

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping

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


def stop_signal() -> threading.Event:
    """Return what SIGINT and SIGTERM set from now on, even where a shell had SIGINT ignored."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def hangup_signal() -> threading.Event:
    """Return what SIGHUP sets from now on, instead of ending the process."""
    asked = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: asked.set())
    return asked


def start_log(level: int = logging.INFO) -> None:
    """Send the log to standard error, in UTC; libraries speak up only to warn."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(level=logging.WARNING, format=_FORMAT, stream=sys.stderr, force=True)
    for ours in ("streamer", "engines", "monitoring"):
        logging.getLogger(ours).setLevel(level)


def progress(total: int, unit: str) -> Callable[[int], None]:
    """Return what draws a bar at `done` of `total`; silent where nobody watches."""
    if not is_terminal():
        return lambda _: None
    started = time.monotonic()

    def draw(done: int) -> None:
        share = done / max(1, total)
        left_s = (time.monotonic() - started) * (1 / share - 1) if share else 0.0
        bar = "#" * round(30 * share)
        end = "\n" if done >= total else ""
        print(
            f"\r[{bar:30}] {done}/{total} {unit}, {left_s:.0f} s left ",
            end=end, file=sys.stderr, flush=True,
        )  # fmt: skip

    return draw
