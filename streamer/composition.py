"""Puts a daemon together from its configuration; what the commands share."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version

from engines.errors import UsageError
from monitoring.metrics import Metrics
from monitoring.probes import Status
from streamer.allocator import keep_freed_memory
from streamer.announcements import Announcer
from streamer.bus.record import Bus, Revoked
from streamer.config import Config
from streamer.domain import Reason
from streamer.factory import Factory, succession
from streamer.filing import Filing
from streamer.grib.decode import decode, prepare
from streamer.grib.regrid import default_cache
from streamer.grib.wants import Wants
from streamer.grib.workers import Workers
from streamer.intake.assembly import Assembler
from streamer.intake.runs import Expected
from streamer.intake.settings import AssemblySettings
from streamer.lines import Lines
from streamer.model import Model
from streamer.outlets.open import open_outlets
from streamer.parts import Meters, Parts
from streamer.reception import DeadLetters, Reception
from streamer.service import Service
from streamer.verification.live import (
    FolderSource,
    LiveThread,
    LiveVerification,
    Source,
    TopicSource,
)

OpenBus = Callable[[Revoked, Revoked], Bus]


def utc_now() -> datetime:
    """Return the wall clock's time; the only place that looks at it."""
    return datetime.now(UTC)


def open_meters(config: Config, model: Model) -> Meters:
    """Return the meters of one daemon, with what runs already told."""
    metrics = Metrics(reasons=[reason.value for reason in Reason])
    metrics.describe_build({"version": our_version()})
    metrics.describe_engine(model.told)
    return Meters(metrics, Status(config.metrics.stalled_after_s))


def our_version() -> str:
    """Return the version of this installation."""
    try:
        return version("downscaled")
    except PackageNotFoundError:
        return "0"


@dataclass(frozen=True, slots=True)
class Around:
    """What a daemon shares with the world around it.

    expected: the lead times of a run, in minutes, where the configuration does not decide.
    workers: idle ones that outlive the daemon, for whoever opens one after another.
    change: set by whoever wants another bundle looked for; None keeps to the model.
    open_analyses: opens the bus that analyses come from, on a group of its own.
    """

    now: Callable[[], datetime] = utc_now
    expected: Expected | None = None
    workers: Workers | None = None
    change: threading.Event | None = None
    open_analyses: Callable[[], Bus] | None = None


@contextmanager
def composed(
    config: Config, model: Model, open_bus: OpenBus, meters: Meters, around: Around | None = None
) -> Iterator[Service]:
    """Open a whole daemon around a bus; its processes and threads end with the block.

    A model that another one has followed is freed, unless the caller holds it.
    """
    keep_freed_memory()
    around = around or Around()
    wake = threading.Event()
    # The folders come first: what cannot be written must not be read.
    outlets = open_outlets(config.output.files, config.input.steps, config.bus.transactional_id)
    with ExitStack() as stack:
        # The bus calls these only while it is polled, and that is done by the service.
        bus = open_bus(
            lambda gone: service.revoked(gone),  # noqa: PLW0108 - made before the service is
            lambda gone: service.lost(gone),  # noqa: PLW0108
        )
        stack.callback(bus.close)
        workers = around.workers or stack.enter_context(open_workers(config, model))
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count() or 2, "encoder"))
        workers.warm()
        live = _live(config, model, meters.metrics, around, stack)
        factory = Factory(config, bus, pool, meters.metrics, wake, live)
        lines = Lines(factory.line(model))
        stack.callback(lines.close, 5.0)
        assembler = Assembler(_assembly(config, model, around.expected))
        parts = Parts(
            _reception(config, bus, workers, assembler, meters.metrics, around.now),
            lines,
            assembler,
            Announcer(factory.group, config.output.steps_topic, assembler),
            meters,
            wake,
            around.now,
            Filing(outlets, meters.metrics),
            succession(factory, model, lines, around.change) if around.change else None,
        )
        # The line has its engines, and they must end with it: nobody else may hold them.
        del model
        service = Service(config, bus, parts)
        stack.callback(service.close)
        yield service


def _live(
    config: Config, model: Model, metrics: Metrics, around: Around, stack: ExitStack
) -> LiveVerification | None:
    """Open the room of verification, if the configuration has one; it ends with the stack."""
    settings, manifest = config.verification, model.manifest
    if settings is None:
        return None
    product = settings.product or config.drawn_products[0]
    live = LiveVerification(settings.limits, product, manifest, metrics, around.now)
    source: Source
    if settings.topic is None:
        source = FolderSource(settings.folders, manifest)
    elif around.open_analyses is None:
        raise UsageError("verification.topic needs a broker; here only folders can be looked at")
    else:
        since = around.now() - timedelta(hours=settings.limits.window_h)
        source = TopicSource(around.open_analyses, manifest, since)
    stack.callback(LiveThread(live, source, settings.every_s).close)
    return live


def open_workers(config: Config, model: Model) -> Workers:
    """Start the processes that decode; they get warm beside the caller."""
    cache = config.engine.cache
    needed = model.plan.needed(config.engine.fusion)
    return Workers(
        decode,
        Wants(model.manifest, config.input.sources, config.limits.grib, needed),
        config.limits.workers,
        prepare=prepare,
        cache=cache / "mir" if cache else default_cache(os.environ),
    )


def _reception(
    config: Config,
    bus: Bus,
    workers: Workers,
    assembler: Assembler,
    metrics: Metrics,
    now: Callable[[], datetime],
) -> Reception:
    topic = config.output.dead_letter_topic
    letters = DeadLetters(topic, bus.record_limit(topic))
    return Reception(workers, assembler, letters, metrics, now, config.limits.metadata_bytes)


def _assembly(config: Config, model: Model, expected: Expected | None) -> AssemblySettings:
    steps = config.input.steps
    return AssemblySettings(
        parameters=model.bundle.channels,
        expected=expected or (lambda run: steps.of(run.reference_time)),
        expire_after_s=config.input.expire_after_s,
        repeat_horizon_h=config.input.repeat_horizon_h,
        max_age_h=config.input.max_age_h,
        accumulated={
            one.name: one.from_minutes for one in model.manifest.parameters if one.accumulated
        },
        pools={one.name: one.pool.members for one in config.input.sources if one.pool},
    )
