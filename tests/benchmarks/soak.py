"""An hour of any company, swaps and failures: `python -m tests.benchmarks soak`.

Daemons on the bus in memory downscale the same steps with the bundle's network again and again,
each on another runtime with another number of tiles in a call, in another order. Meanwhile the
bundle's link moves to another bundle or to a broken one, and calls fail, find no memory or give
no numbers. Every step must end once; a complete one must hold the values that its bundle gave on
single tiles, and with `engine.reproducible` the bytes of its first time; and memory must stay.
"""

import ctypes
import gc
import hashlib
import json
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from engines.bundle import locate, open_manifest
from engines.bundle_writer import seal
from engines.denoiser import Array, Denoiser, EngineSpec
from engines.errors import EngineError, OutOfMemory
from streamer import opening
from streamer.allocator import give_back_freed_memory
from streamer.bus.memory import MemoryBus
from streamer.bus.memory_broker import MemoryBroker
from streamer.composition import Around, composed, open_meters, open_workers
from streamer.config import Config, parse
from streamer.grib.codes import opened
from streamer.headers import STEP_TYPE
from streamer.intake.events import Outcome
from streamer.model import Model, open_model
from streamer.records import StepRecord
from streamer.records import parse as parse_record
from streamer.service import Service
from tests.benchmarks import forecast

STEPS, DRAWS, LEVELS = 6, 2, 2
#: Runtimes: backend, tiles in a call, and whether every call has that size.
WAYS = (
    ("openvino", 1, True),
    ("torch", 1, True),
    ("torch", 2, True),
    ("torch", 4, True),
    ("torch", 8, False),
    ("onnxruntime", 1, True),
)
#: Largest error of a value, in units of its field's deviation: packing to 16 bits, and runtimes.
BOUND = 5e-4
#: How likely a fault or another bundle is, in each turn of the loop.
SELDOM = 7e-4
FAULTS = ("error", "memory", "nan")


@dataclass
class Saboteur:
    """Makes the next call of any engine fail, once."""

    wanted: str = ""
    made: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> str:
        """Return what the call that asks must suffer."""
        with self.lock:
            taken, self.wanted = self.wanted, ""
            if taken:
                self.made[taken] += 1
            return taken


class Frail:
    """An engine that a saboteur can reach."""

    def __init__(self, engine: Denoiser, saboteur: Saboteur) -> None:
        self._engine = engine
        self._saboteur = saboteur

    @property
    def spec(self) -> EngineSpec:
        return self._engine.spec

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        match self._saboteur.take():
            case "error":
                raise EngineError("made to fail")
            case "memory":
                raise OutOfMemory("made to find no memory")
            case "nan":
                return np.full_like(x, np.nan)
        return self._engine.denoise(x, sigma, condition, labels)


@dataclass
class Soak:
    """What has been seen so far."""

    home: Path
    messages: list[list[bytes]]
    rng: random.Random
    saboteur: Saboteur = field(default_factory=Saboteur)
    values: dict[tuple[str, str], Array] = field(default_factory=dict)
    digests: dict[tuple[str, ...], str] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    #: after each round, MiB: what the process has of the system, and what its heaps have lent
    resident: list[float] = field(default_factory=list)
    lent: list[float] = field(default_factory=list)
    worst: float = 0.0
    #: the decoding processes, which outlive a daemon
    workers: Any = None


def run(folder: Path, bundle: str, home: Path, minutes: float = 60.0, seed: int = 0) -> None:
    """Run for some time and print what was seen; ends with an error at the first wrong field."""
    _write_bundles(bundle, home)
    soak = Soak(home, list(forecast.steps(folder, STEPS)), random.Random(seed))
    until = time.monotonic() + 60 * minutes
    try:
        with _sabotaged(soak.saboteur):
            for name in ("one", "two"):
                _round(soak, WAYS[0], name, is_calm=True)
            while time.monotonic() < until:
                _round(soak, soak.rng.choice(WAYS), soak.rng.choice(("one", "two")))
                # Its models have left, as a bundle does that a running daemon lets go.
                give_back_freed_memory()
                soak.resident.append(_resident_mib())
                soak.lent.append(_lent_mib())
                if len(soak.resident) % 10 == 0:
                    _tell(soak)
        _tell(soak)
    finally:
        if soak.workers is not None:
            soak.workers.close()


def _write_bundles(bundle: str, home: Path) -> None:
    for name in ("one", "two", "broken"):
        shutil.copytree(locate(bundle), home / name)
    statistics = json.loads((home / "two" / "statistics.json").read_text())
    for part in statistics.values():
        part["residual_std"] *= 1.25
    (home / "two" / "statistics.json").write_text(json.dumps(statistics))
    seal(home / "two")
    (home / "broken" / "denoiser.onnx").write_bytes(b"not what was sealed")


def _config(soak: Soak, backend: str, batch: int, *, reproducible: bool) -> Config:
    engine = {"backend": backend, "batch": batch, "reproducible": reproducible, "threads": 2}
    plain: dict[str, Any] = {
        "bus": {"memory": True, "group_id": "soak"},
        "input": {"topic": "in", "steps": "0"},
        "output": {"topic": "out"},
        "model": {"bundle": str(soak.home / "current"), "draws": DRAWS},
        "sampler": {"steps": LEVELS},
        "engine": {**engine, "cache": str(soak.home / "cache")},
        "limits": {"workers": 1},
    }
    return parse(plain, "the soak")


@contextmanager
def _sabotaged(saboteur: Saboteur) -> Iterator[None]:
    """Let all engines that are opened in the block be frail."""
    whole = vars(opening)["open_bundle"]
    vars(opening)["open_bundle"] = lambda *a, **k: Frail(whole(*a, **k), saboteur)
    try:
        yield
    finally:
        vars(opening)["open_bundle"] = whole


def _point(soak: Soak, name: str) -> None:
    beside = soak.home / "current.new"
    beside.symlink_to(name)
    beside.replace(soak.home / "current")


def _round(soak: Soak, way: tuple[str, int, bool], name: str, *, is_calm: bool = False) -> None:
    """Let one daemon answer all steps while things happen to it, and look at what it made."""
    _point(soak, name)
    shortages = soak.saboteur.made["memory"]
    config = _config(soak, way[0], way[1], reproducible=way[2])
    model, broker = open_model(config), MemoryBroker()
    broker.create("in")
    for topic in ("out", "out.steps", "out.dead"):
        broker.create(topic)
    meters, change = open_meters(config, model), threading.Event()
    with (
        _workers(soak, config, model) as workers,
        composed(
            config,
            model,
            lambda revoked, lost: MemoryBus(broker, ["in"], revoked=revoked, lost=lost),
            meters,
            Around(workers=workers, change=change),
        ) as service,
    ):
        _feed(soak, broker, service, is_calm=is_calm)
        service.stop(60)
    for outcome in ("taken", "refused"):
        labels = {"outcome": outcome}
        name = "downscaled_bundle_changes_total"
        soak.changes[outcome] += int(meters.metrics.registry.get_sample_value(name, labels) or 0)
    # A lack of memory halves the calls, and so may change the last bits, as the docs say.
    is_repeat = way[2] and (way[1] == 1 or soak.saboteur.made["memory"] == shortages)
    _judge(soak, broker, way, is_repeat=is_repeat, is_calm=is_calm)


@contextmanager
def _workers(soak: Soak, config: Config, model: Model) -> Iterator[Any]:
    """Lend the decoding processes, made for the first daemon."""
    if soak.workers is None:
        soak.workers = open_workers(config, model)
    yield soak.workers
    while soak.workers.pending:
        soak.workers.finished(1.0)


def _feed(soak: Soak, broker: MemoryBroker, service: Service, *, is_calm: bool) -> None:
    """Hand the steps over in any order and lots, with faults and other bundles between."""
    waiting = list(soak.messages)
    soak.rng.shuffle(waiting)
    while waiting or not service.is_drained:
        if waiting and soak.rng.random() < 0.05:
            for messages in [
                waiting.pop() for _ in range(min(len(waiting), soak.rng.choice((1, 2, 3))))
            ]:
                broker.append(forecast.records("in", messages))
        if not is_calm and soak.rng.random() < SELDOM:
            _point(soak, soak.rng.choice(("one", "two", "broken")))
        if not is_calm and soak.rng.random() < SELDOM:
            soak.saboteur.wanted = soak.rng.choice(FAULTS)
        service.turn()


def _judge(
    soak: Soak,
    broker: MemoryBroker,
    way: tuple[str, int, bool],
    *,
    is_repeat: bool,
    is_calm: bool,
) -> None:
    """Compare all that was published with what must be; raises SystemExit for what is wrong."""
    made_by: dict[str, str] = {}
    for record in broker.read("out.steps"):
        if dict(record.headers)["ce_type"].decode() != STEP_TYPE:
            continue
        ended = parse_record(record.value)
        assert isinstance(ended, StepRecord)
        _demand(ended.key.text not in made_by, f"{ended.key.text} ended twice")
        made_by[ended.key.text] = ended.bundle or ""
        soak.outcomes[ended.outcome.value] += 1
        is_allowed = ended.outcome is Outcome.FAILED and not is_calm
        _demand(
            ended.outcome is Outcome.COMPLETE or is_allowed, f"{ended.key.text}: {ended.reason}"
        )
    _demand(len(made_by) == STEPS, f"{len(made_by)} of {STEPS} steps ended")
    for record in broker.read("out"):
        headers = {name: value.decode() for name, value in record.headers}
        step = (record.key or b"").decode()
        found = (step, headers["ce_id"], made_by[step])
        _compare_values(soak, found, record.value, is_calm=is_calm)
        if is_repeat:
            seen = hashlib.sha256(record.value).hexdigest()
            first = soak.digests.setdefault((*found, way[0], str(way[1])), seen)
            _demand(seen == first, f"{found} on {way}: other bytes than the first time")


def _compare_values(
    soak: Soak, found: tuple[str, str, str], message: bytes, *, is_calm: bool
) -> None:
    with opened(message) as handle:
        values = handle.values().astype(np.float32)
    key = (found[1], found[2])
    if is_calm:
        soak.values[key] = values
        return
    wanted = soak.values[key]
    error = float(np.abs(values - wanted).max() / wanted.std())
    soak.worst = max(soak.worst, error)
    _demand(error <= BOUND, f"{found}: differs by {error:.2e} deviations")


def _demand(is_so: bool, text: str) -> None:
    if not is_so:
        raise SystemExit(f"wrong: {text}")


def _resident_mib() -> float:
    return float(psutil.Process().memory_info().rss / 2**20)


class _Heaps(ctypes.Structure):
    """What glibc's `mallinfo2` tells, in bytes; all heaps together."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    )  # fmt: skip


def _lent_mib() -> float:
    """Return what is in use: freed memory that a heap keeps is resident, and no leak."""
    gc.collect()
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Heaps
    found = ask()
    return float((found.uordblks + found.hblkhd) / 2**20)


def _by_quarter(values: list[float]) -> list[int]:
    quarter = max(1, len(values) // 4)
    parts = [values[n * quarter :][:quarter] for n in range(4)]
    return [round(median(part)) for part in parts if part]


def _tell(soak: Soak) -> None:
    bundles = len({open_manifest(soak.home / name).digest for name in ("one", "two")})
    print(
        f"{len(soak.resident)} rounds on {len(WAYS)} ways, {bundles} bundles; steps "
        f"{dict(soak.outcomes)}; bundles {dict(soak.changes)}; faults {dict(soak.saboteur.made)}; "
        f"largest difference {soak.worst:.1e} deviations; MiB by quarter, resident "
        f"{_by_quarter(soak.resident)}, lent {_by_quarter(soak.lent)}",
        flush=True,
    )
