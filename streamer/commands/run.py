"""`downscaled run CONFIG`: the daemon, until it is told to stop."""

import argparse
import logging
import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from engines.errors import UsageError
from monitoring.probes import Probes
from streamer.bus.kafka import KafkaBus
from streamer.bus.record import Bus, Revoked
from streamer.commands import console
from streamer.composition import Around, composed, open_meters
from streamer.config import Config, load
from streamer.model import open_model
from streamer.parts import Meters
from streamer.service import Service

log = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the configuration file")


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon; 0 after SIGTERM or SIGINT, an error otherwise."""
    config = load(arguments.config)
    if config.bus.memory:
        raise UsageError(
            f"{arguments.config}: bus.memory is true, but a daemon needs a broker that others "
            "reach; `downscaled demo` and `downscaled replay` run in memory"
        )
    serve(config, console.stop_signal(), console.hangup_signal())
    return 0


def serve(config: Config, stop: threading.Event, change: threading.Event) -> None:
    """Run the daemon on Kafka until `stop` is set; `change` has another bundle looked for."""
    meters, daemon = _prepared(config, change)
    with (
        Probes(meters.metrics, meters.status, config.metrics.host, config.metrics.port) as probes,
        daemon as service,
    ):
        log.info("metrics and probes on %s:%d", config.metrics.host, probes.port)
        service.run(stop.is_set)


def _prepared(
    config: Config, change: threading.Event
) -> tuple[Meters, AbstractContextManager[Service]]:
    """Return a daemon whose engines are warm. Only it holds them, so they can leave."""
    model = open_model(config)
    for bundle, engines in model.networks.values():
        for denoiser in engines:
            log.info("bundle %s (%.12s) on %s", bundle.name, bundle.digest, denoiser.spec)
    meters, output = open_meters(config, model), config.output

    def open_bus(revoked: Revoked, lost: Revoked) -> Bus:
        return KafkaBus(
            config.bus,
            [config.input.topic],
            writes=[output.topic, output.steps_topic, output.dead_letter_topic],
            revoked=revoked,
            lost=lost,
        )

    def open_analyses() -> Bus:
        # Every instance has draws of its own, so each reads all analyses.
        group = f"{config.bus.group_id}.verification.{config.bus.instance}"
        topic = config.verification.topic if config.verification else None
        return KafkaBus(replace(config.bus, group_id=group), [topic] if topic else [])

    around = Around(change=change, open_analyses=open_analyses)
    return meters, composed(config, model, open_bus, meters, around)
