"""Writes a whole step through every outlet, and tells of it."""

import logging
import time
from collections.abc import Callable, Sequence

from monitoring.metrics import SinkMetrics
from monitoring.probes import Status
from streamer.outlets.outlet import Outlet, write_or_refuse
from streamer.sink.gathering import Ready

log = logging.getLogger(__name__)

_SECOND_MS = 1000


def write_step(
    ready: Ready,
    outlets: Sequence[Outlet],
    metrics: SinkMetrics,
    status: Status,
    now: Callable[[], float],
) -> None:
    """Write the files of a step; on return all are durable that can ever be written.

    now: seconds since 1970. Raises OSError where the disk does not take them.
    """
    record, outcome, files = ready.record, "written", 0
    started = time.monotonic()
    for outlet in outlets:
        status.progressed()
        with metrics.timed(outlet.format):
            count = write_or_refuse(outlet, record, ready.messages)
        if count is None:
            outcome = "refused"
        else:
            files += count
            metrics.files.labels(format=outlet.format).inc(count)
    metrics.steps.labels(outcome=outcome).inc()
    metrics.step_delay.observe(max(0.0, now() - ready.timestamp_ms / _SECOND_MS))
    log.info("%s: %d files in %.2f s", record.key.text, files, time.monotonic() - started)
