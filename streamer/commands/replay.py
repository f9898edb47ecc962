"""`downscaled replay`: files in, files out, through the same service, without a broker."""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from engines.errors import UsageError
from streamer.bus.record import Outgoing, Record
from streamer.commands import console
from streamer.config import Config, load
from streamer.domain import RunKey, StepKey
from streamer.feeding import describe, files_under
from streamer.grib.frame import split
from streamer.grib.identity import identify
from streamer.grib.wants import Wants
from streamer.model import Model, open_model
from streamer.rehearsal import Rehearsed, rehearse
from streamer.scoring import Results, file_name, read_known, score_results
from streamer.verify.truth import Truth

#: Where the fine GRIB lies below the output folder.
FINE = "fine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the configuration file")
    parser.add_argument("--input", type=Path, nargs="+", required=True, metavar="PATH",
                        help="GRIB files, or folders of them")  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, metavar="DIR",
                        help="where the fine GRIB goes, one file a step")  # fmt: skip
    parser.add_argument("--truth", type=Path, nargs="+", metavar="PATH",
                        help="fine GRIB to score against")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Replay; 0 when every step was answered, 1 when one failed."""
    config = load(arguments.config)
    files = find_files(arguments.input)
    output = new_folder(arguments.output)
    truth = find_files(arguments.truth) if arguments.truth else []
    model = open_model(config)
    known = read_known(truth, model.manifest) if truth else None
    plain = replay(config, model, files, output).plain()
    if known:
        plain["scores"] = _scores(config, model, Results(output / FINE, tuple(files)), known)
    console.result(plain if arguments.json else _table(plain), as_json=arguments.json)
    return 1 if plain["failed"] else 0


def replay(config: Config, model: Model, files: Iterable[Path], output: Path) -> Rehearsed:
    """Send files through the daemon; the fine GRIB and the records are left in `output`."""
    files = list(files)
    steps = steps_of(files, config)
    if not steps:
        folders = ", ".join(sorted({str(file.parent) for file in files}))
        raise UsageError(
            f"no GRIB in {folders}: found {describe(files)}, wanted messages that "
            "`input.sources` names"
        )
    with Folder(output, config) as folder:
        return rehearse(
            config,
            model,
            records_of(files, config),
            folder.keep,
            expected=lambda run: tuple(steps.get(run, ())),
            progress=console.progress(sum(len(minutes) for minutes in steps.values()), "steps"),
        )


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files that the paths name, folders searched through, in order.

    Raises UsageError for a path that is not there, and where there is no file at all.
    """
    named = list(paths)
    found = files_under(named)
    if not found:
        raise UsageError(f"{', '.join(map(str, named))}: found no file, wanted GRIB files")
    return found


def new_folder(path: Path) -> Path:
    """Return an empty folder, made if need be; raises UsageError where something is in it."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path}: exists and is not an empty folder, wanted a new one")
    path.mkdir(parents=True, exist_ok=True)
    return path


def records_of(files: Iterable[Path], config: Config) -> Iterator[Outgoing]:
    """Yield one record a message; a file with anything broken in it comes whole.

    Then the daemon decides what of it can be used, and what the dead letters say.
    """
    topic = config.input.topic
    for path in files:
        value = path.read_bytes()
        pieces = split(value, config.limits.grib)
        messages = [piece for piece in pieces if isinstance(piece, bytes)]
        for message in messages if len(messages) == len(pieces) else [value]:
            key = identify(message, config.input.sources)
            name = key.run.text if isinstance(key, StepKey) else path.name
            yield Outgoing(topic, name.encode(), message)


def steps_of(files: Iterable[Path], config: Config) -> Mapping[RunKey, set[int]]:
    """Return the lead times, in minutes, of which the files hold a field, by run."""
    steps: dict[RunKey, set[int]] = defaultdict(set)
    for path in files:
        for piece in split(path.read_bytes(), config.limits.grib):
            key = identify(piece, config.input.sources) if isinstance(piece, bytes) else None
            if isinstance(key, StepKey):
                steps[key.run].add(key.minutes)
    return steps


class Folder:
    """Keeps what is published: `fine/<step>.grib2`, `steps.jsonl`, `dead_letters.jsonl`."""

    def __init__(self, folder: Path, config: Config) -> None:
        self._output = config.output
        self._fine = folder / FINE
        self._fine.mkdir(exist_ok=True)
        self._steps = (folder / "steps.jsonl").open("w", encoding="utf-8")
        self._letters = (folder / "dead_letters.jsonl").open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.close()
        self._letters.close()

    def keep(self, record: Record) -> None:
        """Write one published record to where it belongs."""
        topic = record.partition.topic
        if topic == self._output.topic:
            name = file_name((record.key or b"-").decode())
            with (self._fine / name).open("ab") as file:
                file.write(record.value)
        elif topic == self._output.steps_topic:
            self._steps.write(record.value.decode() + "\n")
        else:
            told = {n: v.decode() for n, v in record.headers if n.startswith("dlq.")}
            key = (record.key or b"").decode(errors="replace")
            self._letters.write(json.dumps({"key": key, **told}) + "\n")


def _scores(config: Config, model: Model, results: Results, known: Truth) -> Mapping[str, Any]:
    wants = Wants(model.manifest, config.input.sources, config.limits.grib)
    scores = score_results(results, known, model.bundle, wants)
    return {parameter: score.plain() for parameter, score in scores.items()}


def _table(plain: Mapping[str, Any]) -> str:
    rows = []
    for name, value in plain.items():
        if name == "scores":
            rows += [
                f"{parameter}  "
                + "  ".join(f"{n} {v:.4g}" for n, v in scores.items() if v is not None)
                for parameter, scores in value.items()
            ]
        elif isinstance(value, Mapping):
            rows.append(f"{name:22}" + (", ".join(f"{n} {v}" for n, v in value.items()) or "none"))
        else:
            rows.append(f"{name:22}{value}")
    return "\n".join(rows)
