"""The configuration: one YAML file, read into frozen dataclasses, every fault listed at once.

A choice lives here, a fact about the weights in the bundle, a secret in the environment or a
file that this names.
"""

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import yaml

from engines.errors import UsageError
from streamer.bus.settings import BusSettings
from streamer.grib.packing import Packing
from streamer.grib.wants import Limits as GribLimits
from streamer.grib.wants import Source
from streamer.intake.ledger import METADATA_BYTES
from streamer.opening import EngineSettings
from streamer.outlets.settings import FileSettings, SinkSettings
from streamer.products.settings import Product, RegionChoice
from streamer.reading import read
from streamer.sampling import SamplerChoice
from streamer.steps import Steps
from streamer.verify.live import LiveSettings


class ConfigError(UsageError):
    """A configuration that cannot be used; the message lists every fault that was found."""

    reason = "config"


@dataclass(frozen=True, slots=True)
class StartAt:
    """Where a group reads from that never committed: the earliest record, the latest, or a time."""

    where: Literal["earliest", "latest", "time"] = "earliest"
    time: datetime | None = None

    @classmethod
    def from_plain(cls, found: object) -> "StartAt":
        """Read `earliest`, `latest` or an ISO 8601 time; a time without a zone is UTC."""
        if found == "earliest":
            return cls("earliest")
        if found == "latest":
            return cls("latest")
        try:
            time = found if isinstance(found, datetime) else datetime.fromisoformat(str(found))
        except ValueError:
            raise ValueError(
                f"found {found!r}, wanted earliest, latest or a time such as 2018-10-08T00:00Z"
            ) from None
        return cls("time", time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class InputSettings:
    """What is read, and when a step is given up."""

    topic: str
    steps: Steps
    #: which forecasts are meant, by any GRIB key; none: all, and their source is "-"
    sources: tuple[Source, ...] = ()
    #: where to begin when nothing was ever committed; resolved once, then committed
    start_at: StartAt = StartAt()
    #: runs whose reference time is older than this are passed by; None: none is
    max_age_h: float | None = None
    #: an incomplete step is given up this long, in record time, after its newest record
    expire_after_s: float = 3600.0
    #: for how long a published step stays closed to repeats, in record time
    repeat_horizon_h: float = 48.0
    #: what to do when retention took records that were still needed: said as an ERROR either way
    out_of_range: Literal["earliest", "latest", "stop"] = "earliest"

    def __post_init__(self) -> None:
        """Refuse times that cannot be waited for."""
        _refuse_not_positive(
            self,
            "expire_after_s",
            "repeat_horizon_h",
            *(["max_age_h"] if self.max_age_h is not None else []),
        )


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """Where the products go, and what their GRIB says of its maker."""

    topic: str
    #: records of steps and runs; `<topic>.steps` unless named
    steps_topic: str = ""
    #: what could not be used, with the reason; `<topic>.dead` unless named
    dead_letter_topic: str = ""
    packing: Packing = Packing()
    #: files that are written of every complete step, before it is published
    files: tuple[FileSettings, ...] = ()
    #: what becomes of a parameter that leaves the bundle's range: published with a flag in the
    #: step's record; left out, which the record says; or nothing, and the daemon ends
    out_of_range: Literal["flag", "drop", "stop"] = "flag"
    #: GRIB centre of the products; None keeps the input's
    centre: str | int | None = None
    #: GRIB generatingProcessIdentifier of the products; None keeps the input's
    generating_process: int | None = None

    def __post_init__(self) -> None:
        """Name the two side topics after the main one."""
        named = {"steps_topic": "steps", "dead_letter_topic": "dead"}
        for field_name, ending in named.items():
            if not getattr(self, field_name):
                object.__setattr__(self, field_name, f"{self.topic}.{ending}")


@dataclass(frozen=True, slots=True)
class BundleChoice:
    """A bundle by its name or path. weight: of its draws in statistics, beside other bundles."""

    name: str
    weight: float = 1.0

    @classmethod
    def from_plain(cls, found: object) -> "BundleChoice":
        """Read a name or path, or a mapping of it and a weight."""
        if isinstance(found, str):
            return cls(found)
        if not isinstance(found, Mapping) or set(found) - {"name", "weight"} or "name" not in found:
            raise TypeError(
                f"found {found!r}, wanted a bundle's name or path, or {{name: ..., weight: 2}}"
            )
        weight = found.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
            raise ValueError(f"weight: found {weight!r}, wanted a number above 0")
        return cls(str(found["name"]), float(weight))


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which bundles run, and how many draws of each step each makes."""

    #: one, or a list: an ensemble of models with the same output
    bundle: tuple[BundleChoice, ...]
    draws: int = 4

    def __post_init__(self) -> None:
        """Refuse no bundle at all, and numbers of draws that GRIB's 8 bits cannot count."""
        if not self.bundle:
            raise ValueError("bundle: found none, wanted at least one")
        if not 1 <= self.draws <= 255:
            raise ValueError(f"draws: found {self.draws}, wanted 1 to 255 (GRIB counts in 8 bits)")


@dataclass(frozen=True, slots=True)
class VerificationSettings:
    """Analyses that the draws are held to while the daemon runs."""

    #: GRIB in folders, whose files are read as they appear
    folders: tuple[Path, ...] = ()
    #: or a topic of GRIB
    topic: str | None = None
    #: whose draws are scored; None: those of the first product that publishes draws
    product: str | None = None
    #: between two looks for analyses
    every_s: float = 30.0
    limits: LiveSettings = LiveSettings()

    def __post_init__(self) -> None:
        """Refuse no source of analyses, or two."""
        if bool(self.folders) == bool(self.topic):
            raise ValueError("found folders and topic, or neither, wanted one of them")
        _refuse_not_positive(self, "every_s")


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where /metrics, /live and /ready are served."""

    host: str = "127.0.0.1"
    port: int = 9108
    #: /live fails when the loop made no progress for this long
    stalled_after_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the daemon will hold and accept."""

    grib: GribLimits = GribLimits()
    #: worker processes that decode
    workers: int = 2
    #: bytes that may wait between intake, engine and output before reading pauses
    waiting_bytes: int = 256 << 20
    #: bytes of incomplete steps; above, the oldest is given up
    open_bytes: int = 256 << 20
    #: bytes of prepared conditions that are kept for steps that are asked again; 0 keeps none
    condition_bytes: int = 64 << 20
    #: what the broker keeps with a committed offset, its `offset.metadata.max.bytes`
    metadata_bytes: int = METADATA_BYTES
    #: how long a stop may take to finish what it has begun
    stop_budget_s: float = 20.0


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


def _refuse_not_positive(settings: typing.Any, *names: str) -> None:
    wrong: Mapping[str, object] = {
        name: getattr(settings, name) for name in names if not getattr(settings, name) > 0
    }
    if wrong:
        raise ValueError(
            "; ".join(f"{name}: found {v}, wanted more than 0" for name, v in wrong.items())
        )
