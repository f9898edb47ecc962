"""`downscaled feed CONFIG PATH...`: GRIB files to the input topic, one message a record, keyed."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.errors import UsageError
from streamer.bus.record import BusError
from streamer.bus.writer import Writer
from streamer.commands import console
from streamer.config import load
from streamer.feeding import FileContent, Label, describe, files_under, read_file
from streamer.watching import Arrivals, Look, look_at

#: How often `--watch` looks for new files.
_LOOK_S = 1.0
#: How long a file that ends inside a message may still be growing.
_GROWING_S = 60.0
#: How many files without GRIB are named; the others are only counted.
_NAMED_SKIPS = 20


@dataclass(slots=True)
class Tally:
    """What has been done so far."""

    files: int = 0
    messages: int = 0
    bytes: int = 0
    unwanted: int = 0
    skipped: int = 0
    broken: int = 0

    def note(self, content: FileContent) -> None:
        """Count one file that was read."""
        self.broken += len(content.broken) if content.is_grib else 0
        self.unwanted += content.unwanted
        self.messages += len(content.records)
        self.bytes += sum(len(record.value) for record in content.records)
        self.files += content.is_grib
        self.skipped += not content.is_grib

    @property
    def words(self) -> str:
        """The tally in a line."""
        text = f"{self.messages} messages ({self.bytes / 1e6:.1f} MB) from {self.files} files"
        for count, what in (
            (self.unwanted, "messages match none of `input.sources`"),
            (self.broken, "pieces were no sound GRIB"),
            (self.skipped, "files without GRIB were skipped"),
        ):
            text += f"; {count} {what}" if count else ""
        return text


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the configuration file")
    parser.add_argument("paths", type=Path, metavar="PATH", nargs="+", help="files or folders")
    parser.add_argument("--watch", action="store_true", help="go on with files that arrive later")
    parser.add_argument(
        "--again",
        metavar="NAME",
        default="",
        help="publish once more what is published already, as a forecast of this name",
    )
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Feed the files; 0 when all that was named went in, 1 when some of it was no sound GRIB."""
    config = load(arguments.config)
    if config.bus.memory:
        raise UsageError(f"{arguments.config}: bus.memory is true, but feeding needs a broker")
    files = files_under(arguments.paths)
    if not files and not arguments.watch:
        raise _no_grib(arguments.paths, files)
    label = Label(config.input.topic, config.input.sources, arguments.again)
    with Writer(config.bus, label.topic) as writer:
        feeder = _Feeder(writer, label, set(arguments.paths))
        if arguments.watch:
            feeder.watch(arguments.paths)
        else:
            feeder.feed_all(files)
    if not feeder.tally.files and not arguments.watch:
        raise _no_grib(arguments.paths, files)
    feeder.tell(label.topic, as_json=arguments.json)
    return 1 if feeder.is_faulty else 0


def _no_grib(paths: Sequence[Path], files: Sequence[Path]) -> UsageError:
    names = ", ".join(str(path) for path in paths)
    return UsageError(f"no GRIB in {names}: found {describe(files)}")


class _Feeder:
    """Reads files, writes their records, and keeps the tally."""

    def __init__(self, writer: Writer, label: Label, named: set[Path]) -> None:
        self.tally = Tally()
        self.is_faulty = False
        self._writer, self._label, self._named = writer, label, named

    def feed_all(self, files: Sequence[Path]) -> None:
        """Feed files that are complete."""
        for number, path in enumerate(files, 1):
            self._send(read_file(path, self._label))
            self._show_progress(f"{number} of {len(files)} files read: {self.tally.words}")
        self._writer.flush()
        self._show_progress("")

    def watch(self, paths: Sequence[Path]) -> None:
        """Feed what is there and what arrives, until SIGINT or SIGTERM."""
        arrivals, stop = Arrivals(), console.stop_signal()
        console.say(f"watching {', '.join(str(path) for path in paths)}; interrupt to end")
        while not stop.is_set():
            looks = look_at(files_under(paths))
            for path, look in arrivals.complete(looks, time.time_ns()):
                self._feed_arrived(path, look, arrivals)
            stop.wait(_LOOK_S)
        self._writer.flush()

    def _feed_arrived(self, path: Path, look: Look, arrivals: Arrivals) -> None:
        content = read_file(path, self._label)
        if content.is_cut and time.time_ns() - look.modified_ns < _GROWING_S * 1e9:
            return
        self._send(content)
        self._writer.flush()
        arrivals.done(path, look)
        console.say(f"{path}: {len(content.records)} messages")

    def _send(self, content: FileContent) -> None:
        try:
            for record in content.records:
                self._writer.write(record)
        except BusError as error:
            raise BusError(f"{content.path}: {error}") from error
        self.tally.note(content)
        if not content.is_grib:
            self.is_faulty |= content.path in self._named
            if self.tally.skipped <= _NAMED_SKIPS:
                console.say(f"{content.path}: skipped, {content.broken[0]}")
        else:
            for why in content.broken:
                console.say(f"{content.path}: {why}")
                self.is_faulty = True

    def _show_progress(self, text: str) -> None:
        if console.is_terminal():
            print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)

    def tell(self, topic: str, *, as_json: bool) -> None:
        """Say what was done."""
        tally = self.tally
        if not as_json:
            console.result(f"{topic}: {tally.words}")
            return
        console.result(
            {
                "topic": topic,
                "files": tally.files,
                "messages": tally.messages,
                "bytes": tally.bytes,
                "unwanted": tally.unwanted,
                "broken": tally.broken,
                "skipped_files": tally.skipped,
            },
            as_json=True,
        )
