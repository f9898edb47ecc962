"""What files and live scores cost of a daemon at work, and `downscaled verify` beside it.

One model in one process, one daemon after another with the same steps: each kind of files, and the
live scores, between two daemons without, so that a drift of the machine cancels. A daemon's figure
is the seconds a step from the end of its first step to that of its last, in which nothing starts.
What a format takes to start is told apart: opening it in a process of its own, and its first step.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitoring.metrics import Metrics
from streamer.bus.memory import MemoryBus
from streamer.bus.memory_broker import MemoryBroker
from streamer.bus.record import Outgoing
from streamer.composition import Around, composed, open_meters
from streamer.config import Config, parse
from streamer.grib.frame import split
from streamer.grib.wants import Limits
from streamer.headers import read_identity
from streamer.intake.events import EndedStep, Outcome
from streamer.model import Model, open_model
from streamer.service import Service
from tests.benchmarks import forecast

FORMATS = ("grib", "netcdf", "geotiff", "zarr")
LIVE = "live scores"
_PATIENCE_S = 30.0
_STOP_S = 60.0
#: Seconds of a processor to open a format, once everything else of a daemon is there.
_OPENING = """
import sys, time, streamer.composition
from pathlib import Path
from streamer.outlets.open import open_outlets
from streamer.outlets.settings import FileSettings
from streamer.steps import Steps
started = time.process_time()
open_outlets([FileSettings(sys.argv[1], Path(sys.argv[2]))], Steps.from_plain("0"), "opening")
print(time.process_time() - started)
"""


@dataclass(frozen=True)
class Case:
    """A bundle, and steps for it, a file each.

    minutes: lead times of a run. draws: numbers of them to tell memory by. drawn: of each step
    where shares are measured.
    """

    title: str
    home: Path
    bundle: Path
    steps: Sequence[Path]
    minutes: tuple[int, ...]
    draws: Sequence[int]
    drawn: int


@dataclass(frozen=True)
class Spent:
    """What a command took: seconds, and the most memory that its process had."""

    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Worked:
    """A daemon at work. step_s: a step. files_s: within files a step, the first one apart."""

    step_s: float
    files_s: float
    first_files_s: float


def configuration(case: Case, draws: int, of: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return a daemon's configuration, files and verification in `more`."""
    hours = "/".join(str(one // 60) for one in case.minutes)
    return {
        "bus": {"memory": True, "group_id": "products"},
        "input": {"topic": "coarse", "steps": hours},
        "output": {"topic": "fine", "files": more.get("files", [])},
        "model": {"bundle": str(case.bundle), "draws": draws},
        "products": [{"name": "all", "of": list(of)}],
        "engine": {"cache": str(case.home / "cache")},
        "limits": {"workers": 1},
        **({"verification": more["verification"]} if "verification" in more else {}),
    }


def print_shares(case: Case, spent: Callable[[Sequence[str]], Spent]) -> None:
    """Print a line for each format, for live scores and for the verb; spent: runs a verb."""
    model = open_model(parse(configuration(case, case.drawn, ["draws"]), "products"))
    plain = [_worked(case, model)]
    print(
        f"\n{case.drawn} draws a step, {len(case.steps) - 1} steps.\n"
        "\n| | s a step without | with | share | files, s a step | first step | opening, CPU s |"
        "\n|---|---|---|---|---|---|---|"
    )
    for name in (*FORMATS, LIVE):
        found = _worked(case, model, name)
        plain.append(_worked(case, model))
        without = (plain[-2].step_s + plain[-1].step_s) / 2
        files = (
            f"{found.files_s:.3f} | {found.first_files_s:.2f} | {_opening_s(case, name):.2f}"
            if name in FORMATS
            else "| |"
        )
        share = found.step_s / without - 1
        print(
            f"| {name} | {without:.2f} | {found.step_s:.2f} | {share:+.1%} | {files} |", flush=True
        )
    alone = sorted(one.step_s for one in plain)
    print(f"\nWithout any, {len(alone)} times: {alone[0]:.2f} to {alone[-1]:.2f} s a step.")
    _print_verb(case, spent, sum(alone) / len(alone))


def _print_verb(case: Case, spent: Callable[[Sequence[str]], Spent], step_s: float) -> None:
    """Tell `downscaled verify` of what the daemon wrote as GRIB files."""
    written = sorted((case.home / "files" / "grib").rglob("*.grib2"))
    truth = ["--truth", *map(str, case.steps)]
    first, everything, again = (
        spent(["verify", *map(str, few), *truth]) for few in (written[:1], written, written[:1])
    )
    one_s = (first.seconds + again.seconds) / 2
    each = (everything.seconds - one_s) / (len(written) - 1)
    print(
        f"`downscaled verify` of {len(written)} steps: {each:.2f} s a step, {each / step_s:.1%} of "
        f"its making, {one_s - each:.1f} s to start, {everything.peak_mib:.0f} MiB.",
        flush=True,
    )


def _worked(case: Case, model: Model, name: str = "") -> Worked:
    """Send all steps through a daemon that writes a format, scores, or does neither."""
    more: dict[str, Any] = {}
    if name in FORMATS:
        more["files"] = [{"format": name, "folder": str(case.home / "files" / name)}]
    elif name == LIVE:
        # What is true is the input itself; whatever the clock says, draws wait for it.
        limits = {"patience_h": 1e6}
        folders = [str(case.home / "input")]
        more["verification"] = {"folders": folders, "every_s": 0.5, "limits": limits}
    config = parse(configuration(case, case.drawn, ["draws"], **more), "products")
    output = config.output
    topics = ("coarse", output.topic, output.steps_topic, output.dead_letter_topic)
    broker = MemoryBroker(dict.fromkeys(topics, 1))
    meters = open_meters(config, model)
    with composed(
        config,
        model,
        lambda revoked, lost: MemoryBus(broker, ["coarse"], revoked=revoked, lost=lost),
        meters,
        Around(expected=lambda _: case.minutes),
    ) as service:
        broker.append(_records(case))
        ends, files = _turned(config, broker, service, meters.metrics, len(case.steps))
        if name == LIVE:
            _expect_scores(service, meters.metrics, len(case.steps))
        service.stop(_STOP_S)
    later = len(ends) - 1
    return Worked((ends[-1] - ends[0]) / later, (files[-1] - files[0]) / later, files[0])


def _records(case: Case) -> list[Outgoing]:
    pieces = [split(path.read_bytes(), Limits()) for path in case.steps]
    messages = [[piece for piece in lot if isinstance(piece, bytes)] for lot in pieces]
    return [record for lot in messages for record in forecast.records("coarse", lot)]


def _turned(
    config: Config, broker: MemoryBroker, service: Service, metrics: Metrics, steps: int
) -> tuple[list[float], list[float]]:
    """Return when each step ended, and the seconds within files until then."""
    ends: list[float] = []
    files: list[float] = []
    while len(ends) < steps:
        service.turn()
        broker.take("fine")
        for record in broker.take(config.output.steps_topic):
            ended = read_identity(record.headers)
            if isinstance(ended, EndedStep):
                if ended.outcome != Outcome.COMPLETE:
                    raise SystemExit(f"a step ended {ended.outcome}")
                ends.append(time.perf_counter())
                files.append(_sample(metrics, "stage_seconds_sum", {"stage": "files"}))
    return ends, files


def _expect_scores(service: Service, metrics: Metrics, steps: int) -> None:
    """Wait until all draws were held to an analysis; SystemExit where they were not."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        service.turn()
        if _sample(metrics, "verification_steps_total", {"outcome": "matched"}) >= 2 * steps:
            return
    raise SystemExit("draws were not scored while the daemon ran")


def _sample(metrics: Metrics, name: str, labels: Mapping[str, str]) -> float:
    return metrics.registry.get_sample_value(f"downscaled_{name}", dict(labels)) or 0.0


def _opening_s(case: Case, name: str) -> float:
    command = [sys.executable, "-c", _OPENING, name, str(case.home / "opened" / name)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)
