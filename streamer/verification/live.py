"""Scores while the daemon runs: its draws are held to analyses that arrive hours later.

A room of its own beside the daemon: whatever goes wrong in here is said and counted, and costs no
step. Analyses come from folders or from a topic, and are read on a thread of their own.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np

from engines.bundle import Bundle
from engines.errors import DownscaledError
from monitoring.metrics import Metrics
from streamer.bus.record import Bus
from streamer.domain import Array, Step
from streamer.downscale import regions
from streamer.downscale.condition import interpolated
from streamer.grib.manifest import GribManifest
from streamer.intake.accumulation import rates
from streamer.products.ensemble import Ensemble
from streamer.verification.catalogue import Entry, catalogue, entries_of
from streamer.verify.live import LiveScores, LiveSettings, Published
from streamer.verify.sums import PointScores
from streamer.watching import Arrivals, look_at

log = logging.getLogger(__name__)

_POLL_S = 1.0


class Source(Protocol):
    """Where analyses come from; belongs to one thread."""

    def arrived(self, now: datetime) -> Iterator[Entry]:
        """Yield what has come since the last time."""
        ...

    def close(self) -> None:
        """Let go of what it reads from."""
        ...


class FolderSource:
    """Files of GRIB that appear in folders; each is read once nobody writes to it any more."""

    def __init__(self, folders: Sequence[Path], manifest: GribManifest) -> None:
        self._folders = tuple(folders)
        self._manifest = manifest
        self._arrivals = Arrivals()

    def arrived(self, now: datetime) -> Iterator[Entry]:
        """Yield the fields of files that are complete and were not before."""
        paths = [path for folder in self._folders for path in sorted(folder.rglob("*"))]
        looks = look_at(path for path in paths if path.is_file())
        for path, look in self._arrivals.complete(looks, round(now.timestamp() * 1e9)):
            self._arrivals.done(path, look)
            yield from catalogue([path], self._manifest)

    def close(self) -> None:
        """Files need no closing."""


class TopicSource:
    """A topic whose records hold GRIB; read from some hours ago on, never committed."""

    def __init__(
        self, open_bus: Callable[[], Bus], manifest: GribManifest, since: datetime
    ) -> None:
        self._bus = open_bus()
        self._manifest = manifest
        self._since_ms = round(since.timestamp() * 1000)

    def arrived(self, now: datetime) -> Iterator[Entry]:
        """Yield the fields of what the topic has now."""
        while True:
            polled = self._bus.poll(_POLL_S)
            for assignment in polled.assigned:
                partition = assignment.partition
                self._bus.start(partition, self._bus.offset_at(partition, self._since_ms))
            for partition, _ in polled.out_of_range:
                self._bus.start(partition, self._bus.beginning_offset(partition))
            for record in polled.records:
                where = f"{record.partition.topic}@{record.partition.number}:{record.offset}"
                yield from entries_of(record.value or b"", where, self._manifest)
            if not polled.records and not polled.assigned:
                return

    def close(self) -> None:
        """Leave the topic."""
        self._bus.close()


class LiveVerification:
    """Takes draws from any thread, and analyses on its own, and sets the gauges.

    product: whose draws are scored. bundle: for the interpolated coarse field beside them.
    """

    def __init__(
        self,
        settings: LiveSettings,
        product: str,
        manifest: GribManifest,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self.product = product
        self._names = {one.name for one in manifest.parameters if not one.accumulated}
        self._metrics, self._now = metrics, now
        self._scores = LiveScores(settings)
        self._told = (0, 0, 0)
        self._lock = threading.Lock()
        for parameter in sorted(self._names):
            for name in _SCORES:
                metrics.verification_score.labels(parameter=parameter, score=name).set(float("nan"))

    def take(self, step: Step, ensemble: Ensemble, bundle: Bundle) -> None:
        """Keep the draws of a step until their analyses come; amounts are not scored."""
        making = ensemble.making
        base = regions.cropped(_baseline(step, bundle), making.window)
        for parameter in ensemble.parameters:
            if parameter not in self._names or None not in making.told[parameter]:
                continue
            found = Published(
                step.key,
                parameter,
                step.key.valid_time,
                making.grid,
                ensemble.draws(parameter),
                base[bundle.channels.index(parameter)],
            )
            with self._lock:
                self._scores.publish(found, self._now())

    def look(self, source: Source) -> None:
        """Take the analyses that have come, and tell the scores."""
        for entry in source.arrived(self._now()):
            if entry.name in self._names and entry.statistic is None:
                self._analyse(entry)
        self._tell()

    def _analyse(self, entry: Entry) -> None:
        try:
            values, grid = entry.values(), entry.grid
            assert grid is not None
            with self._lock:
                self._scores.analyse(
                    entry.name,
                    entry.moment.valid_time,
                    grid,
                    values.astype("float32"),
                    self._now(),
                )
        except (DownscaledError, ValueError) as error:
            log.warning("an analysis cannot be used: %s", error)

    def _tell(self) -> None:
        with self._lock:
            found = self._scores.scores(self._now())
            counts = self._scores.counts
            told = counts.matched, counts.let_go, counts.unfit
        for outcome, many, before in zip(_OUTCOMES, told, self._told, strict=True):
            self._metrics.verification_steps.labels(outcome=outcome).inc(many - before)
        self._told = told
        for parameter in self._names:
            for name, take in _SCORES.items():
                scores = found.get(parameter)
                value = None if scores is None else take(scores)
                gauge = self._metrics.verification_score.labels(parameter=parameter, score=name)
                gauge.set(float("nan") if value is None else value)


class LiveThread:
    """Looks for analyses now and then until it is closed."""

    def __init__(self, live: LiveVerification, source: Source, every_s: float) -> None:
        self._live, self._source, self._every_s = live, source, every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="verification", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after what it is doing."""
        self._stopping.set()
        self._thread.join(2 * _POLL_S)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._look()
                self._stopping.wait(self._every_s)
        finally:
            self._source.close()

    def _look(self) -> None:
        try:
            self._live.look(self._source)
        except (DownscaledError, OSError) as error:
            log.warning("verification goes on later: %s", error)
        except Exception:
            log.exception("a fault of ours in verification; the daemon goes on")


def _baseline(step: Step, bundle: Bundle) -> Array:
    """Return the coarse fields on the fine grid, (C, H, W), the mean of a pooled step's members."""
    fields = [interpolated(rates(one, bundle.channels), bundle) for one in step.members]
    mean: Array = np.mean(fields, axis=0, dtype=np.float32)
    return mean


def _baseline_mae(scores: PointScores) -> float | None:
    return None if scores.baseline is None else scores.baseline.mae


def _baseline_rmse(scores: PointScores) -> float | None:
    return None if scores.baseline is None else scores.baseline.rmse


#: The gauges, by the label `score`.
_SCORES: dict[str, Callable[[PointScores], float | None]] = {
    "crps": lambda scores: scores.crps,
    "mae": lambda scores: scores.mean.mae,
    "rmse": lambda scores: scores.mean.rmse,
    "bias": lambda scores: scores.mean.bias,
    "r2": lambda scores: scores.mean.r2,
    "spread_skill": lambda scores: scores.spread_skill,
    "gain": lambda scores: scores.gain,
    "baseline_mae": _baseline_mae,
    "baseline_rmse": _baseline_rmse,
    "states": lambda scores: float(scores.states),
}
_OUTCOMES = ("matched", "let_go", "unfit")
