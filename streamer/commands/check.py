"""`downscaled check CONFIG [--connect]`: every fault of config, bundle and topics at once."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from engines.errors import DownscaledError, UsageError
from streamer.bus.requirements import Requirements, faults, remarks
from streamer.bus.topics import ClusterFacts, ask
from streamer.commands import console
from streamer.config import Config, load
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.grib.packing import MOST_BITS, Packing
from streamer.model import open_bundles, plan_for
from streamer.opening import missing_parts

T = TypeVar("T")

#: What a GRIB message has beside its values, bytes; ours take about 300.
_GRIB_HEADER_BYTES = 1000


@dataclass(slots=True)
class Findings:
    """What was found: `faults` keep the daemon from working, `remarks` may surprise."""

    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def attempt(self, place: str, call: Callable[[], T]) -> T | None:
        """Return what a call gives, or note its error as a fault of `place` and go on."""
        try:
            return call()
        except DownscaledError as error:
            text = str(error)
            self.faults.append(text if text.startswith(place) else f"{place}: {text}")
            return None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the configuration file")
    parser.add_argument(
        "--connect", action="store_true", help="ask the broker about topics, sizes and rights, too"
    )
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Check everything; 0 when the daemon may start. Raises UsageError with the list of faults."""
    config = load(arguments.config)
    findings = Findings()
    field_bytes = _check_bundle(config, findings)
    findings.faults += missing_parts(config.engine)
    _check_secrets(config, findings)
    if arguments.connect:
        _check_cluster(config, field_bytes, findings)
    for remark in findings.remarks:
        console.say(f"note: {remark}")
    if arguments.json:
        told = {"faults": findings.faults, "remarks": findings.remarks, **findings.facts}
        console.result(told, as_json=True)
    if findings.faults:
        raise UsageError(_listed(arguments.config, findings.faults))
    if not arguments.json:
        words = "; ".join(f"{name} {value}" for name, value in findings.facts.items())
        console.result(f"{arguments.config}: no fault found ({words})")
    return 0


def largest_field_bytes(packing: Packing, manifest: GribManifest) -> int:
    """Return how large an encoded field may become, from the grid and the parameters' ranges."""
    bits = max(
        math.ceil(min(MOST_BITS, packing.bits_for(p.name, p.low, p.high)))
        for p in manifest.parameters
    )
    return math.ceil(manifest.grid.rows * manifest.grid.columns * bits / 8) + _GRIB_HEADER_BYTES


def _check_bundle(config: Config, findings: Findings) -> int | None:
    bundles = findings.attempt("model.bundle", lambda: open_bundles(config))
    if bundles is None:
        return None
    findings.facts["bundle"] = " and ".join(f"{one.name} ({one.digest[:12]})" for one in bundles)
    first = bundles[0]
    chosen = findings.attempt("sampler", lambda: config.sampler.chosen(first))
    findings.facts["sampler"] = chosen and chosen.told(first.preconditioning.kind)
    manifest = findings.attempt("model.bundle", lambda: read_manifest(first.grib))
    if manifest is None:
        return None
    planned = findings.attempt("products", lambda: plan_for(config, bundles))
    for way in planned[0].ways if planned else ():
        findings.attempt("sampler.profile", partial(bundles[way.bundle].of, way.network))
    size = largest_field_bytes(config.output.packing, manifest)
    findings.facts["largest_field_bytes"] = size
    return size


def _check_secrets(config: Config, findings: Findings) -> None:
    security = config.bus.security
    for secret in (security.password, security.key_password):
        findings.attempt("bus.security", secret)


def _check_cluster(config: Config, field_bytes: int | None, findings: Findings) -> None:
    if config.bus.memory:
        findings.faults.append("bus.memory is true, so there is nothing to connect to")
        return
    output = config.output
    needs = Requirements(
        settings=config.bus,
        input_topic=config.input.topic,
        output_topic=output.topic,
        steps_topic=output.steps_topic,
        dead_letter_topic=output.dead_letter_topic,
        field_bytes=field_bytes or 0,
        horizon_h=config.input.repeat_horizon_h,
    )
    topics = [config.input.topic, output.topic, output.steps_topic, output.dead_letter_topic]
    found = findings.attempt("bus", lambda: ask(config.bus, topics))
    if found is None:
        return
    findings.faults += faults(needs, found)
    findings.remarks += remarks(needs, found)
    findings.facts["broker"] = config.bus.address
    findings.facts["partitions"] = _partitions(found)


def _partitions(found: ClusterFacts) -> str:
    return ", ".join(f"{name}: {topic.partitions}" for name, topic in found.topics.items())


def _listed(config: Path, faults: list[str]) -> str:
    many = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
    return f"{config}: {many}\n" + "\n".join(f"  {fault}" for fault in faults)
