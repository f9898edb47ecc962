"""Measures what surrounds a real network: `python -m tests.benchmarks inference`.

Real steps of four draws go through the whole daemon in memory on OpenVINO. The wall time from the
first record to the last commit is divided by the calls times the seconds of one call, measured
alone in the same process afterwards.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from streamer.bus.record import Outgoing, Record
from streamer.config import Config, parse
from streamer.model import open_model
from streamer.rehearsal import Rehearsed, rehearse
from tests.benchmarks import forecast

DRAWS = 4


@dataclass(slots=True)
class Peak:
    """The most resident memory that was seen, bytes: main process, and all its workers."""

    main: int = 0
    workers: int = 0
    total: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look every quarter of a second until it is over."""
        me = psutil.Process()
        while not self._over.wait(0.25):
            main = me.memory_info().rss
            workers = sum(child.memory_info().rss for child in me.children(recursive=True))
            self.main, self.workers = max(self.main, main), max(self.workers, workers)
            self.total = max(self.total, main + workers)

    def end(self) -> None:
        """Look no more."""
        self._over.set()


def config(bundle: str) -> Config:
    """Return the daemon's configuration: the network with the bundle's own sampler."""
    return parse(
        {
            "bus": {"memory": True},
            "input": {"topic": "in", "steps": "0"},
            "output": {"topic": "out"},
            "model": {"bundle": bundle, "draws": DRAWS},
        },
        "inference",
    )


def measure(folder: Path, bundle: str, steps: int) -> tuple[Rehearsed, str]:
    """Send steps through the daemon; return what came of it, and the engine in words."""
    settings = config(bundle)
    model = open_model(settings)
    spec = model.spec
    outcome = rehearse(settings, model, _records(folder, steps), _forget, expected=lambda _: (0,))
    return outcome, f"{spec.backend} {spec.version} {spec.precision}"


def run(folder: Path, bundle: str, steps: int = 20) -> None:
    """Measure once and print the figures."""
    with _peak() as peak:
        outcome, engine = measure(folder, bundle, steps)
    alone = outcome.engine_seconds_alone
    print(
        f"{outcome.plain()['published']} steps of {DRAWS} draws on {engine}: "
        f"{outcome.seconds:.1f} s, {outcome.calls} calls, alone {1e3 * alone / outcome.calls:.2f} "
        f"ms each: ratio {outcome.seconds / alone:.3f} (within calls "
        f"{outcome.engine_seconds / alone:.3f})"
    )
    print(
        f"  most memory: {peak.total / 2**20:.0f} MiB, of which the main process "
        f"{peak.main / 2**20:.0f} and its workers {peak.workers / 2**20:.0f}"
    )


def _records(folder: Path, steps: int) -> Iterator[Outgoing]:
    for messages in forecast.steps(folder, steps):
        yield from forecast.records("in", messages)


def _forget(record: Record) -> None:
    """Read nothing of what is published: subscribers are somebody else's processes."""


@contextmanager
def _peak() -> Iterator[Peak]:
    peak = Peak()
    thread = threading.Thread(target=peak.watch)
    thread.start()
    try:
        yield peak
    finally:
        peak.end()
        thread.join()
