"""Makes lines: a model at work for one daemon, and the one that follows it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scipy.sparse import csr_array

from engines.bundle import open_manifest
from engines.errors import BundleError
from monitoring.metrics import Metrics
from streamer.bus.record import Bus
from streamer.config import Config
from streamer.dispatch import Dispatch
from streamer.downscale.engine_room import EngineRoom
from streamer.grib.box_means import box_means
from streamer.grib.encode import Imprint, refuse_unknown
from streamer.grib.manifest import GribManifest
from streamer.lines import Lines
from streamer.model import Model, digest_of, open_model, refuse_other_input
from streamer.products.order import Order
from streamer.succession import Succession
from streamer.verification.live import LiveVerification

#: The group of a daemon in memory, where the configuration names none.
_MEMORY = "memory"


class Factory:
    """Puts lines together for one daemon; one model after another, on any thread."""

    def __init__(
        self,
        config: Config,
        bus: Bus,
        pool: ThreadPoolExecutor,
        metrics: Metrics,
        wake: threading.Event,
        live: LiveVerification | None,
    ) -> None:
        self.config = config
        self.metrics = metrics
        self.group = config.bus.group_id or _MEMORY
        self._live = live
        self._pool = pool
        self._wake = wake
        # Asked once: the bus belongs to the loop's thread.
        self._record_limit = bus.record_limit(config.output.topic)
        self._imprint = Imprint(config.output.centre, config.output.generating_process)
        refuse_unknown(self._imprint)

    def line(self, model: Model) -> Dispatch:
        """Return a line that works with a model, its engines' threads started."""
        reproducible = self.config.engine.reproducible
        rooms = {
            name: EngineRoom(engines, self._wake.set, reproducible=reproducible)
            for name, (_, engines) in model.networks.items()
        }
        for room in rooms.values():
            room.start()
        order = self._order(model)
        shared = self._pool, self.metrics, self._wake.set, self._live
        return Dispatch(order, model.spec, rooms, *shared)

    def _order(self, model: Model) -> Order:
        config, output, sampler = self.config, self.config.output, self.config.sampler
        return Order(
            bundles={name: bundle for name, (bundle, _) in model.networks.items()},
            digest=model.digest,
            plan=model.plan,
            seed=sampler.seed,
            noise=sampler.noise,
            topic=output.topic,
            group=self.group,
            packing=output.packing,
            imprint=self._imprint,
            record_limit=self._record_limit,
            constraints=model.manifest.constraints,
            boxes=_boxes(model.manifest),
            out_of_range=output.out_of_range,
            fusion=config.engine.fusion,
            condition_bytes=config.limits.condition_bytes,
        )


def _boxes(manifest: GribManifest) -> tuple[csr_array, csr_array] | None:
    """Return the coarse operator where a parameter is conserved; the network needs none."""
    if not manifest.constraints.conservation:
        return None
    return box_means(manifest.coarse, manifest.grid)


@dataclass(frozen=True, slots=True)
class _Next:
    """A line that is ready to take over, and whom to tell."""

    line: Dispatch
    model: Model
    lines: Lines
    metrics: Metrics

    @property
    def digest(self) -> str:
        """The model's."""
        return self.model.digest

    def take_over(self) -> None:
        """Give the next steps to the line, and tell of its engines."""
        self.lines.succeed(self.line)
        self.metrics.describe_engine(self.model.told)


def succession(factory: Factory, model: Model, lines: Lines, change: threading.Event) -> Succession:
    """Return what brings the next bundle to work, on a line of the factory's.

    model: the one at work; a bundle whose fields are decoded otherwise is refused. change: set by
    whoever wants it looked for now.
    """
    # Not the model itself, which must be free to leave.
    first, fusion = model.bundles, factory.config.engine.fusion
    needed = model.plan.needed(fusion)

    def open_next(folders: tuple[Path, ...]) -> _Next:
        bundles = tuple(open_manifest(folder) for folder in folders)
        refuse_other_input(first[0], bundles[0])
        successor = open_model(factory.config, bundles)
        if needed is not None and successor.plan.needed(fusion) != needed:
            raise BundleError(
                f"{bundles[0].path}: its tiles need other parts of the globe than those of "
                f"{first[0].name}, and fields are decoded for these; that takes a restart"
            )
        return _Next(factory.line(successor), successor, lines, factory.metrics)

    named = tuple(one.name for one in factory.config.model.bundle)
    serving = tuple(bundle.path for bundle in first), digest_of(first)
    return Succession(named, serving, open_next, factory.metrics, change)
