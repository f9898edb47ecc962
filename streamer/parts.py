"""What the loop turns, as its composition root hands it over."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from engines.errors import DownscaledError
from monitoring.metrics import Metrics
from monitoring.probes import Status
from streamer.announcements import Announcer
from streamer.filing import Filing
from streamer.intake.assembly import Assembler
from streamer.lines import Lines
from streamer.reception import Reception
from streamer.succession import Succession


class ServiceError(DownscaledError):
    """The daemon cannot go on."""

    reason = "service"


@dataclass(frozen=True, slots=True)
class Meters:
    """What the daemon tells of itself."""

    metrics: Metrics
    status: Status


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loop turns; made by a composition root."""

    reception: Reception
    lines: Lines
    assembler: Assembler
    announcer: Announcer
    meters: Meters
    wake: threading.Event
    now: Callable[[], datetime]
    filing: Filing
    succession: Succession | None = None
