"""What the loop looks after now and then: expiry, room in memory and metadata, gauges."""

import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from streamer.bus.record import Bus, BusError, Partition
from streamer.downscale.engine import Counters
from streamer.parts import Parts, ServiceError
from streamer.publishing import Publishing
from streamer.reception import Tenure
from streamer.sections import Limits

log = logging.getLogger(__name__)

#: How full the commit's metadata may be before a partition pauses, or its oldest step is given up.
_METADATA_SHARE = 0.75
#: How long the bus may be silent before the process gives up and a new one takes over.
_SILENCE_S = 120.0


class Upkeep:
    """Keeps the daemon within its bounds, and its gauges true."""

    def __init__(self, limits: Limits, bus: Bus, parts: Parts, publishing: Publishing) -> None:
        self._limits = limits
        self._bus = bus
        self._parts = parts
        self._publishing = publishing
        self._metrics = parts.meters.metrics
        self._narrow: set[Partition] = set()
        self._is_full = False
        self._is_stopping = False
        self._counters: dict[str, Counters] = {}
        self._silent_since: float | None = None
        #: when it was last done, monotonic
        self.done_at = 0.0

    def stop_reading(self) -> None:
        """Read nothing more, for good."""
        self._is_stopping = True
        self._bus.pause(list(self._parts.reception.tenures))

    def begin(self, partition: Partition) -> None:
        """Let a partition that was just started be read, unless nothing may be."""
        if self._is_full or self._is_stopping:
            self._bus.pause([partition])

    def forget(self, partition: Partition) -> None:
        """Forget a partition that left."""
        self._narrow.discard(partition)

    def look_after(self) -> None:
        """Expire, flush, pause or resume, and set the gauges."""
        self.done_at = time.monotonic()
        for tenure in list(self._parts.reception.tenures.values()):
            end = self._end_offset(tenure.partition)
            if end is None:
                break
            self._look_after_partition(tenure, end)
        self._bound_open_steps()
        self._bound_waiting()
        if self._parts.succession is not None and not self._is_stopping:
            self._parts.succession.look()
        self._count_engines()
        assembler, lines = self._parts.assembler, self._parts.lines
        lines.tidy()
        self._metrics.open_steps.set(assembler.open_count + lines.pending)
        if self._publishing.newest_run is not None:
            age = self._parts.now() - self._publishing.newest_run
            self._metrics.forecast_age.set(age.total_seconds())

    def _end_offset(self, partition: Partition) -> int | None:
        """Return where a reader has caught up; None while the bus is silent, for a while."""
        try:
            end = self._bus.end_offset(partition)
        except BusError as error:
            now = time.monotonic()
            if self._silent_since is None:
                self._silent_since = now
                log.warning("nothing expires until the bus answers again: %s", error)
            if now - self._silent_since > _SILENCE_S:
                raise ServiceError(f"the bus was silent for {_SILENCE_S:.0f} s: {error}") from error
            return None
        self._silent_since = None
        return end

    def _look_after_partition(self, tenure: Tenure, end: int) -> None:
        partition = tenure.partition
        position = self._bus.position(partition)
        endings = self._parts.reception.expire(tenure, is_at_end=position >= end)
        if self._is_narrow(tenure, position):
            endings += self._parts.assembler.expire_oldest(partition.number)
        if endings:
            self._publishing.publish_endings(endings, tenure)
        self._publishing.flush(tenure)
        number = str(partition.number)
        self._metrics.lag.labels(partition=number).set(max(0, end - position))
        self._metrics.frontier_age.labels(partition=number).set(
            self._age_s(tenure.arrived.values())
        )

    def _is_narrow(self, tenure: Tenure, position: int) -> bool:
        """Whether an open step must be given up, since the closed set hardly fits the metadata.

        While a complete step is on its way the partition is only paused: that step will make
        room. An open step would not, since what it lacks may lie behind the pause.
        """
        partition = tenure.partition
        fits = tenure.ledger.fits(position, _METADATA_SHARE)
        on_its_way = self._parts.assembler.in_flight_count(partition.number)
        if not fits and on_its_way and partition not in self._narrow:
            self._narrow.add(partition)
            self._bus.pause([partition])
        elif partition in self._narrow and (fits or not on_its_way):
            self._narrow.discard(partition)
            self._resume([partition])
        return not fits and not on_its_way

    def _bound_open_steps(self) -> None:
        """Give up the oldest incomplete steps while all of them hold more than they may."""
        assembler, limit = self._parts.assembler, self._limits.open_bytes
        while assembler.open_bytes > limit and (endings := assembler.expire_oldest()):
            log.error("incomplete steps hold more than limits.open_bytes, %d", limit)
            tenure = self._parts.reception.tenure_of(endings[0].partition)
            self._publishing.publish_endings(endings, tenure)

    def _bound_waiting(self) -> None:
        """Pause reading while more waits between input and output than may, resume below half."""
        reception, lines = self._parts.reception, self._parts.lines
        waiting = self._publishing.waiting_bytes + reception.waiting_bytes + lines.waiting_bytes
        if not self._is_full and waiting > self._limits.waiting_bytes:
            self._is_full = True
            self._bus.pause(list(reception.tenures))
        elif self._is_full and waiting <= self._limits.waiting_bytes // 2:
            self._is_full = False
            self._resume(p for p in reception.tenures if p not in self._narrow)

    def _resume(self, partitions: Iterable[Partition]) -> None:
        if not (self._is_full or self._is_stopping):
            self._bus.resume(list(partitions))

    def _count_engines(self) -> None:
        """Tell what the engines did since the last time, and how they are; by device."""
        lines, done = self._parts.lines, self._parts.lines.counters
        for device, counters in done.items():
            here = [gauge for gauge in lines.gauges if gauge.device == device]
            self._metrics.denoiser_engines.labels(device=device).set(sum(g.is_alive for g in here))
            if here:
                least = min(gauge.batch for gauge in here)
                self._metrics.denoiser_batch.labels(device=device).set(least)
            self._count_device(device, counters - self._counters.get(device, Counters()))
        self._counters = done

    def _count_device(self, device: str, more: Counters) -> None:
        metrics = self._metrics
        metrics.denoiser_calls.labels(device=device).inc(more.calls)
        metrics.denoiser_busy_seconds.labels(device=device).inc(more.busy_s)
        metrics.denoiser_shortages.labels(device=device).inc(more.shortages)
        if more.places:
            metrics.batch_fill_ratio.observe(more.tiles / more.places)

    def _age_s(self, arrived_ms: Iterable[int]) -> float:
        oldest = min(arrived_ms, default=None)
        if oldest is None:
            return 0.0
        at = datetime.fromtimestamp(oldest / 1000, UTC)
        return max(0.0, (self._parts.now() - at).total_seconds())
