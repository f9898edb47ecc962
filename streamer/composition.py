"""Puts a daemon together from its configuration; what the commands share."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from engines.bundle import Bundle, open_manifest
from engines.denoiser import Denoiser, EngineSpec
from monitoring.metrics import Metrics
from monitoring.probes import Status
from streamer.allocator import keep_freed_memory
from streamer.announcements import Announcer
from streamer.bus.record import Bus, Revoked
from streamer.config import Config
from streamer.dispatch import Dispatch, Order
from streamer.domain import Reason
from streamer.downscale.engine_room import EngineRoom
from streamer.downscale.labels import refuse_unknown as refuse_unknown_labels
from streamer.downscale.tiles import Layout
from streamer.grib.decode import decode, prepare
from streamer.grib.encode import Imprint, refuse_unknown
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.grib.regrid import default_cache
from streamer.grib.wants import Wants
from streamer.grib.workers import Workers
from streamer.intake.assembly import Assembler, AssemblySettings
from streamer.intake.runs import Expected
from streamer.opening import open_engines
from streamer.parts import Meters, Parts
from streamer.reception import DeadLetters, Reception
from streamer.service import Service

OpenBus = Callable[[Revoked, Revoked], Bus]


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle on its engines, proven and warm, with what the house reads of its manifest.

    Two of them may stand side by side: nothing of a model is shared or global.
    """

    bundle: Bundle
    manifest: GribManifest
    denoisers: tuple[Denoiser, ...]

    @property
    def spec(self) -> EngineSpec:
        """What the engines are; they differ in their devices only."""
        return self.denoisers[0].spec

    @property
    def devices(self) -> str:
        """Where the engines are, each device once."""
        return ", ".join(dict.fromkeys(denoiser.spec.device for denoiser in self.denoisers))

    @property
    def layout(self) -> Layout:
        """The tiles that the bundle's network takes; a closed form takes the whole grid at once."""
        if self.spec.backend == "gaussian":
            return Layout.whole(self.bundle.shape)
        bundle = self.bundle
        return Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic)


def utc_now() -> datetime:
    """Return the wall clock's time; the only place that looks at it."""
    return datetime.now(UTC)


def open_model(config: Config) -> Model:
    """Open the configured bundle on the configured engines; BundleError, EngineError."""
    bundle = open_manifest(config.model.bundle)
    refuse_unknown_labels(bundle.labels)
    return Model(bundle, read_manifest(bundle.grib), open_engines(bundle, config.engine))


def open_meters(config: Config, model: Model) -> Meters:
    """Return the meters of one daemon, with what runs already told."""
    metrics = Metrics(reasons=[reason.value for reason in Reason])
    spec = model.spec
    metrics.describe(
        build={"version": our_version()},
        engine={
            "backend": spec.backend,
            "precision": spec.precision,
            "device": model.devices,
            "version": spec.version,
            "bundle": model.bundle.name,
            "digest": model.bundle.digest,
        },
    )
    return Meters(metrics, Status(config.metrics.stalled_after_s))


def our_version() -> str:
    """Return the version of this installation."""
    try:
        return version("downscaled")
    except PackageNotFoundError:
        return "0"


@contextmanager
def composed(
    config: Config,
    model: Model,
    open_bus: OpenBus,
    meters: Meters,
    now: Callable[[], datetime] = utc_now,
    expected: Expected | None = None,
    workers: Workers | None = None,
) -> Iterator[Service]:
    """Open a whole daemon around a bus; its processes and threads end with the block.

    expected: the lead times of a run, in minutes, where the configuration does not decide.
    workers: idle ones that outlive the block, for whoever opens one daemon after another.
    """
    keep_freed_memory()
    wake = threading.Event()
    with ExitStack() as stack:
        # The bus calls these only while it is polled, and that is done by the service.
        bus = open_bus(
            lambda gone: service.revoked(gone),  # noqa: PLW0108 - made before the service is
            lambda gone: service.lost(gone),  # noqa: PLW0108
        )
        stack.callback(bus.close)
        workers = workers or stack.enter_context(open_workers(config, model))
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count() or 2, "encoder"))
        room = EngineRoom(model.denoisers, wake.set, reproducible=config.engine.reproducible)
        stack.callback(room.close, 5.0)
        room.start()
        workers.warm()
        order = _order(config, model, bus)
        assembler = Assembler(_assembly(config, model, expected))
        parts = Parts(
            _reception(config, bus, workers, assembler, meters.metrics, now),
            Dispatch(order, room, pool, meters.metrics, wake.set),
            assembler,
            Announcer(order, config.output.steps_topic, model.spec, assembler),
            room,
            meters,
            wake,
            now,
        )
        service = Service(config, bus, parts)
        stack.callback(service.close)
        yield service


def open_workers(config: Config, model: Model) -> Workers:
    """Start the processes that decode; they get warm beside the caller."""
    cache = config.engine.cache
    return Workers(
        decode,
        Wants(model.manifest, config.input.sources, config.limits.grib),
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


def _order(config: Config, model: Model, bus: Bus) -> Order:
    output, sampler = config.output, config.sampler
    imprint = Imprint(output.centre, output.generating_process)
    refuse_unknown(imprint)
    return Order(
        bundle=model.bundle,
        grid=model.manifest.grid,
        layout=model.layout,
        settings=sampler.settings(model.bundle.sampler),
        draws=config.model.draws,
        seed=sampler.seed,
        noise=sampler.noise,
        product=config.products[0].name,
        topic=output.topic,
        group=config.bus.group_id or "memory",
        packing=output.packing,
        imprint=imprint,
        record_limit=bus.record_limit(output.topic),
        fusion=config.engine.fusion,
        condition_bytes=config.limits.condition_bytes,
    )


def _assembly(config: Config, model: Model, expected: Expected | None) -> AssemblySettings:
    steps = config.input.steps
    return AssemblySettings(
        parameters=model.bundle.channels,
        expected=expected or (lambda run: steps.of(run.reference_time)),
        expire_after_s=config.input.expire_after_s,
        repeat_horizon_h=config.input.repeat_horizon_h,
        max_age_h=config.input.max_age_h,
    )
