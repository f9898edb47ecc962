"""`downscaled run CONFIG`: the daemon, until it is told to stop."""

import argparse
import logging
import threading
from pathlib import Path

from engines.errors import UsageError
from monitoring.probes import Probes
from streamer.bus.kafka import KafkaBus
from streamer.commands import console
from streamer.composition import Around, composed, open_meters
from streamer.config import Config, load
from streamer.model import open_model

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
    model = open_model(config)
    for denoiser in model.denoisers:
        log.info("bundle %s (%.12s) on %s", model.bundle.name, model.bundle.digest, denoiser.spec)
    meters = open_meters(config, model)
    output = config.output
    with (
        Probes(meters.metrics, meters.status, config.metrics.host, config.metrics.port) as probes,
        composed(
            config,
            model,
            lambda revoked, lost: KafkaBus(
                config.bus,
                [config.input.topic],
                writes=[output.topic, output.steps_topic, output.dead_letter_topic],
                revoked=revoked,
                lost=lost,
            ),
            meters,
            Around(change=change),
        ) as service,
    ):
        log.info("metrics and probes on %s:%d", config.metrics.host, probes.port)
        service.run(stop.is_set)
