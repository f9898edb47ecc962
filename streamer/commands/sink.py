"""`downscaled sink CONFIG`: the output topic to files, until it is told to stop."""

import argparse
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from engines.errors import UsageError
from monitoring.metrics import SinkMetrics
from monitoring.probes import Probes, Status
from streamer.bus.kafka import KafkaBus
from streamer.bus.record import Bus, Partition, Revoked
from streamer.bus.settings import BusSettings
from streamer.commands import console
from streamer.composition import our_version
from streamer.config import Config, load
from streamer.outlets.open import open_outlets
from streamer.outlets.settings import SinkSettings
from streamer.sink.service import Sink, SinkParts

log = logging.getLogger(__name__)

OpenBus = Callable[[Revoked, Revoked], Bus]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the configuration file")


def run(arguments: argparse.Namespace) -> int:
    """Write files; 0 after SIGTERM or SIGINT, an error otherwise."""
    config = load(arguments.config)
    if config.sink is None:
        raise UsageError(
            f"{arguments.config}: found no section `sink`, wanted one with `files: [{{format: "
            "netcdf, folder: ...}]`, as docs/files.md has it"
        )
    if config.bus.memory:
        raise UsageError(
            f"{arguments.config}: bus.memory is true, but a sink needs a broker that the daemon "
            "reaches, too"
        )
    serve(config, config.sink, console.stop_signal())
    return 0


def serve(config: Config, settings: SinkSettings, stop: threading.Event) -> None:
    """Run the sink on Kafka until `stop` is set."""
    bus_settings = sink_bus(config.bus, settings)

    def open_bus(revoked: Revoked, lost: Revoked) -> Bus:
        return KafkaBus(
            bus_settings,
            [config.output.topic],
            writes=[config.output.steps_topic],
            revoked=revoked,
            lost=lost,
        )

    metrics = SinkMetrics(formats={one.format for one in settings.files})
    metrics.describe_build({"version": our_version()})
    status = Status(config.metrics.stalled_after_s)
    with (
        Probes(metrics, status, config.metrics.host, settings.port) as probes,
        opened(config, settings, open_bus, metrics, status) as sink,
    ):
        log.info("metrics and probes on %s:%d", config.metrics.host, probes.port)
        sink.run(stop.is_set)


def sink_bus(bus: BusSettings, settings: SinkSettings) -> BusSettings:
    """Return who the sink is on the bus: a group of its own, beside the daemon's."""
    return replace(bus, group_id=settings.group_id or f"{bus.group_id}.sink")


@contextmanager
def opened(
    config: Config,
    settings: SinkSettings,
    open_bus: OpenBus,
    metrics: SinkMetrics,
    status: Status,
) -> Iterator[Sink]:
    """Put a sink together around a bus, which is closed with the block."""
    # The folders come first: what cannot be written must not be read.
    writer = sink_bus(config.bus, settings).transactional_id
    outlets = open_outlets(settings.files, config.input.steps, writer)
    made: list[Sink] = []

    def revoked(partitions: Sequence[Partition]) -> None:
        made[0].revoked(partitions)

    def lost(partitions: Sequence[Partition]) -> None:
        made[0].lost(partitions)

    bus = open_bus(revoked, lost)
    try:
        made.append(
            Sink(
                SinkParts(
                    bus,
                    outlets,
                    metrics,
                    status,
                    config.output.steps_topic,
                    settings.waiting_bytes,
                    from_end=settings.start_at == "latest",
                )
            )
        )
        yield made[0]
    finally:
        bus.close()
