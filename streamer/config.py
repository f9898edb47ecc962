"""The configuration: one YAML file, read into frozen dataclasses, every fault listed at once.

A choice lives here, a fact about the weights in the bundle, a secret in the environment or a
file that this names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from engines.errors import UsageError
from streamer.bus.settings import BusSettings
from streamer.opening import EngineSettings
from streamer.outlets.settings import SinkSettings
from streamer.products.settings import Product, RegionChoice
from streamer.reading import read
from streamer.sampling import SamplerChoice
from streamer.sections import (
    InputSettings,
    Limits,
    MetricsSettings,
    ModelSettings,
    OutputSettings,
    VerificationSettings,
)


class ConfigError(UsageError):
    """A configuration that cannot be used; the message lists every fault that was found."""

    reason = "config"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration of one daemon."""

    bus: BusSettings
    input: InputSettings
    output: OutputSettings
    model: ModelSettings
    sampler: SamplerChoice = SamplerChoice()
    products: tuple[Product, ...] = (Product(),)
    #: the user's own, by name, beside those that ship
    regions: Mapping[str, RegionChoice] = field(default_factory=dict)
    engine: EngineSettings = field(default_factory=EngineSettings)
    metrics: MetricsSettings = MetricsSettings()
    limits: Limits = field(default_factory=Limits)
    verification: VerificationSettings | None = None
    #: what `downscaled sink` writes; the daemon has no use for it
    sink: SinkSettings | None = None

    @property
    def drawn_products(self) -> tuple[str, ...]:
        """The names of the products whose draws are published."""
        return tuple(
            one.name for one in self.products if any(told.statistic is None for told in one.of)
        )


def load(path: Path) -> Config:
    """Read a configuration file.

    Raises ConfigError that lists every fault, each with its place, what was found and wanted.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the configuration cannot be read: {error}") from None
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: this is not YAML: {error}") from None
    return parse(plain, str(path))


def parse(plain: object, where: str) -> Config:
    """Read a configuration from plain values; `where` names its origin in messages."""
    faults: list[str] = []
    config = read(Config, plain, "", faults)
    if config is not None:
        faults += _contradictions(config)
    if config is None or faults:
        many = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
        raise ConfigError(f"{where}: {many}\n" + "\n".join(f"  {fault}" for fault in faults))
    return config


def _contradictions(config: Config) -> list[str]:
    output = config.output
    topics = {
        "input.topic": config.input.topic,
        "output.topic": output.topic,
        "output.steps_topic": output.steps_topic,
        "output.dead_letter_topic": output.dead_letter_topic,
    }
    named: dict[str, str] = {}
    faults = []
    for place, topic in topics.items():
        if topic in named:
            faults.append(f"{place}: found {topic!r}, which is {named[topic]} already")
        named.setdefault(topic, place)
    for place, named_ones in (
        ("input.sources", config.input.sources),
        ("products", config.products),
    ):
        names = [one.name for one in named_ones]
        if len(set(names)) < len(names):
            faults.append(f"{place}: found the names {', '.join(names)}, wanted each once")
    faults += _verification_faults(config)
    if not config.products:
        faults.append("products: found none, wanted at least one, or no such key for all draws")
    return faults


def _verification_faults(config: Config) -> list[str]:
    settings = config.verification
    if settings is None:
        return []
    drawn = config.drawn_products
    if settings.product is not None and settings.product not in drawn:
        found = f"found {settings.product}"
    elif not drawn:
        found = "found no product that publishes draws"
    else:
        return []
    return [f"verification.product: {found}, wanted one of draws ({', '.join(drawn) or 'none'})"]
