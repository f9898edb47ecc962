"""`downscaled demo`: the whole daemon in memory, with pictures and scores, on a rough day."""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.errors import UsageError
from streamer.bus.record import Record
from streamer.commands import console
from streamer.commands.demo_report import Heard, Report, save_pictures
from streamer.commands.replay import FINE, Folder, find_files, steps_of
from streamer.config import Config, parse
from streamer.demo.messages import Journey, coarse_step, rough_journey, synthetic_step
from streamer.demo.weather import amplitudes, load
from streamer.domain import StepKey
from streamer.grib.identity import identify
from streamer.grib.wants import Wants
from streamer.model import Model, open_model
from streamer.rehearsal import Rehearsed, rehearse
from streamer.scoring import Results, complete_steps, file_name, read_known, score_results

#: What the demo leaves below its folder, and the sign by which it knows its own work again.
COARSE, PICTURES, SIGN = "coarse", "pictures", ".downscaled-demo"
_FILES = ("steps.jsonl", "dead_letters.jsonl", "report.txt", "report.json")

#: Lead times of the synthetic forecast: 0 to 6 h by 3, so that even two cores with neighbours
#: show them within two minutes (792 calls of the network, 0.05 s each on two idle cores).
_SPACING_H, _STEPS = 3, 3


@dataclass(frozen=True, slots=True)
class Demo:
    """What is asked for. files: real analyses; none: synthetic weather."""

    output: Path
    files: tuple[Path, ...]
    bundle: str
    steps: int | None
    draws: int
    seed: int

    @property
    def is_synthetic(self) -> bool:
        """Whether the weather is made on the spot."""
        return not self.files


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR",
                        help="where everything goes; default: demo-output")  # fmt: skip
    parser.add_argument("--from", type=Path, nargs="+", dest="files", metavar="PATH",
                        help="real fine analyses to coarsen, downscale and score")  # fmt: skip
    parser.add_argument("--bundle", default="gfs-wind-4to1", metavar="DIR",
                        help="a folder, or a name that ships; default: gfs-wind-4to1")  # fmt: skip
    parser.add_argument("--steps", type=int, metavar="N",
                        help=f"how many steps; default: {_STEPS}, or all of --from")  # fmt: skip
    parser.add_argument("--draws", type=int, default=4, metavar="N", help="draws; default: 4")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
                        help="another seed, another weather; default: 0")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Show it; 0 when every step came out complete."""
    demo = Demo(
        output=arguments.output,
        files=tuple(find_files(arguments.files or ())) if arguments.files else (),
        bundle=arguments.bundle,
        steps=arguments.steps,
        draws=arguments.draws,
        seed=arguments.seed,
    )
    for name, found, low in (("--steps", demo.steps, 1), ("--seed", demo.seed, 0)):
        if found is not None and found < low:
            raise UsageError(f"{name}: found {found}, wanted {low} or more")
    report = demonstrate(demo, open_model(_config(demo, (0,))))
    text, plain = report.text(), report.plain()
    (demo.output / "report.txt").write_text(text + "\n", encoding="utf-8")
    (demo.output / "report.json").write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    console.result(plain if arguments.json else text, as_json=arguments.json)
    return 0 if report.is_complete else 1


def demonstrate(demo: Demo, model: Model) -> Report:
    """Make or coarsen the weather, send it through the daemon, score it and draw it."""
    wants = Wants(model.manifest, _config(demo, (0,)).input.sources)
    known = read_known(demo.files, model.manifest) if demo.files else None
    renew_folder(demo.output)
    messages = list(_coarse_messages(demo, model, wants))
    coarse = _write_coarse(messages, demo.output / COARSE)
    config = _config(demo, sorted({key.minutes for key, _ in messages}))
    results = Results(demo.output / FINE, tuple(coarse))
    journey = rough_journey(
        [(key.run.text.encode(), message) for key, message in messages],
        config.input.topic,
        demo.seed,
    )
    outcome, heard = _rehearse(demo, config, model, results.inputs, journey)
    scores = score_results(results, known, model.bundle, wants) if known else {}
    console.say("drawing the pictures")
    pictures = save_pictures(results, known, model, wants, demo.output / PICTURES)
    return Report(demo.output, demo.is_synthetic, heard, outcome, scores, tuple(pictures))


def renew_folder(path: Path) -> None:
    """Empty a folder of what an earlier demo left; UsageError if something else is in it."""
    is_ours = (path / SIGN).is_file()
    if path.exists() and not is_ours and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path}: is no empty folder and no earlier demo's, wanted a new one")
    for name in (COARSE, FINE, PICTURES):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in _FILES:
        (path / name).unlink(missing_ok=True)
    for name in (COARSE, PICTURES):
        (path / name).mkdir(parents=True)
    (path / SIGN).touch()


def _config(demo: Demo, minutes: Sequence[int]) -> Config:
    """Return the daemon's configuration; `minutes` are the lead times to be expected."""
    synthetic = {"name": "synthetic", "match": {"productionStatusOfProcessedData": 2}}
    return parse(
        {
            "bus": {"memory": True, "group_id": "demo"},
            "input": {
                "topic": "forecast.coarse",
                "steps": "/".join(f"{m}m" for m in minutes),
                "sources": [synthetic] if demo.is_synthetic else [],
            },
            "output": {"topic": "forecast.fine"},
            "model": {"bundle": demo.bundle, "draws": demo.draws},
            "sampler": {"seed": demo.seed},
        },
        "the demo's configuration",
    )


def _coarse_messages(demo: Demo, model: Model, wants: Wants) -> Iterator[tuple[StepKey, bytes]]:
    """Yield every coarse message with its step. Raises UsageError where there is none."""
    if demo.is_synthetic:
        generator = load()
        lacking = set(model.bundle.channels) - set(generator.parameters)
        if lacking:
            raise UsageError(
                f"{model.bundle.name} wants {', '.join(sorted(lacking))}, the synthetic weather "
                f"has {', '.join(generator.parameters)} only: use --from"
            )
        steps_h = [_SPACING_H * i for i in range(demo.steps or _STEPS)]
        states = amplitudes(generator, demo.seed, steps_h)
        pairs = zip(states, steps_h, strict=True)
        lots: Iterator[tuple[bytes, ...]] = (synthetic_step(generator, z, h) for z, h in pairs)
    else:
        lots = _coarsened(demo, model, wants)
    for message in (message for lot in lots for message in lot):
        key = identify(message, wants.sources)
        assert isinstance(key, StepKey), f"our own message is {key}"
        yield key, message


def _coarsened(demo: Demo, model: Model, wants: Wants) -> Iterator[tuple[bytes, ...]]:
    found = 0
    for step in complete_steps(demo.files, wants):
        found += 1
        yield coarse_step(step, model.bundle, model.manifest.coarse.grid)
        if found == demo.steps:
            return
    if not found:
        names = " and ".join(model.bundle.channels)
        raise UsageError(f"--from: found no step with {names} in {len(demo.files)} files")


def _write_coarse(messages: Sequence[tuple[StepKey, bytes]], folder: Path) -> list[Path]:
    """Write one file a step; returns their paths, each once."""
    paths: dict[Path, None] = {}
    for key, message in messages:
        path = folder / file_name(key.text)
        with path.open("ab") as file:
            file.write(message)
        paths[path] = None
    return list(paths)


def _rehearse(
    demo: Demo, config: Config, model: Model, coarse: Sequence[Path], journey: Journey
) -> tuple[Rehearsed, Heard]:
    expected = steps_of(coarse, config)
    total = sum(len(minutes) for minutes in expected.values())
    console.say(f"{total} steps of {demo.draws} draws; each takes a while on a processor")
    heard = Heard()
    with Folder(demo.output, config) as folder:

        def subscriber(record: Record) -> None:
            folder.keep(record)
            heard.listen(record)

        outcome = rehearse(
            config,
            model,
            journey.records,
            subscriber,
            expected=lambda run: tuple(expected.get(run, ())),
            progress=console.progress(total, "steps"),
        )
    return outcome, heard
