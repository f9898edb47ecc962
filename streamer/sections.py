"""The sections of the configuration that belong to no other room: input, output, model, limits.

What contradicts itself within a section is refused here; `config` looks at them together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from streamer.grib.packing import Packing
from streamer.grib.wants import Limits as GribLimits
from streamer.grib.wants import Source
from streamer.intake.ledger import METADATA_BYTES
from streamer.outlets.settings import FileSettings
from streamer.steps import Steps
from streamer.verify.live import LiveSettings


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


def _refuse_not_positive(settings: Any, *names: str) -> None:
    wrong: Mapping[str, object] = {
        name: getattr(settings, name) for name in names if not getattr(settings, name) > 0
    }
    if wrong:
        raise ValueError(
            "; ".join(f"{name}: found {v}, wanted more than 0" for name, v in wrong.items())
        )
