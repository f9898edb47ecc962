"""The loop: polls, hands on, prepares transactions. Everything slow runs beside it.

Records go to the workers, complete steps to the engine, draws to the encoders, transactions to
the outbox; what any of them has finished is taken up on the next turn. All state that decides
what is committed belongs to this thread.
"""

import logging
import time
from collections.abc import Callable, Sequence

from streamer.bus.record import Bus, Commit, Partition
from streamer.config import Config
from streamer.downscale.engine import Counters
from streamer.joining import Joining
from streamer.parts import Parts, ServiceError
from streamer.publishing import Publishing
from streamer.upkeep import Upkeep

log = logging.getLogger(__name__)

#: How long the loop waits when there is nothing to do, and when something is under way.
_IDLE_S, _BUSY_S = 0.1, 0.005
#: While something is under way the bus is asked this often: to ask Kafka's client costs 0.5 ms
#: of two threads, and a busy loop turns ten times a step.
_POLL_EVERY_S = 0.02
#: Expiry, gauges and pausing are looked at this often.
_LOOK_EVERY_S = 0.5


class Service:
    """One daemon. `run` returns when it is told to stop, and raises when it cannot go on."""

    def __init__(self, config: Config, bus: Bus, parts: Parts) -> None:
        self._config = config
        self._parts = parts
        self._reception = parts.reception
        self._lines = parts.lines
        self._status = parts.meters.status
        self._bus = bus
        self._publishing = Publishing(bus, parts)
        self._joining = Joining(
            config.input, config.output.steps_topic, bus, parts.assembler, parts.now
        )
        self._upkeep = Upkeep(config.limits, bus, parts, self._publishing)
        self._polled_at = 0.0
        self._status.waits_for("partitions to be assigned")

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Turn until told to stop, then finish or abandon what is begun within the budget."""
        while not should_stop():
            self.turn()
        self.stop(self._config.limits.stop_budget_s)

    def turn(self) -> None:
        """Do everything once: read, assemble, hand on, publish, look after."""
        self._status.progressed()
        did = self._read()
        did |= self._join()
        for step in self._reception.collect():
            self._lines.begin(step, self._reception.tenure_of(step.origins[0].partition))
            did = True
        for made in self._lines.made():
            self._publishing.publish_step(made)
            did = True
        did |= self._publishing.take_answers()
        if time.monotonic() - self._upkeep.done_at >= _LOOK_EVERY_S:
            self._upkeep.look_after()
        if not did and self._is_busy:
            self._wait()

    @property
    def is_drained(self) -> bool:
        """Whether all that the topic holds was read and answered; open steps may still wait."""
        tenures = self._reception.tenures
        if self._is_busy or self._joining.is_pending or not tenures:
            return False
        return all(self._bus.position(p) >= self._bus.end_offset(p) for p in tenures)

    @property
    def engine_work(self) -> tuple[int, float]:
        """Calls of the network since the start, and the seconds inside it."""
        done = sum(self._lines.counters.values(), Counters())
        return done.calls, done.busy_s

    def room_for(self, partition: Partition, ahead: int) -> int:
        """Return how many records may be fed so that no more than `ahead` wait to be read."""
        if partition not in self._reception.tenures:
            return ahead
        return max(0, ahead - self._bus.end_offset(partition) + self._bus.position(partition))

    def look_after(self) -> None:
        """Expire, flush, pause or resume, and set the gauges, at once."""
        self._upkeep.look_after()

    def finish(self) -> None:
        """End all that is incomplete, as at the end of an input that will not go on."""
        for ending in self._parts.assembler.finish():
            self._publishing.publish_endings([ending], self._reception.tenure_of(ending.partition))
        self._flush_all()
        while self._is_busy:
            self.turn()

    def stop(self, budget_s: float) -> None:
        """Finish what is begun within a budget, and commit what is done.

        What is not committed is done again by whoever reads it next.
        """
        self._upkeep.stop_reading()
        self._status.waits_for("the daemon to stop")
        deadline = time.monotonic() + budget_s
        while self._is_busy and time.monotonic() < deadline:
            self.turn()
        self._flush_all()
        self._publishing.settle(deadline)
        self._publishing.close(max(1.0, deadline - time.monotonic()))
        log.info("stopped; %d steps were published", self._publishing.published)

    def close(self) -> None:
        """End what reads back and the thread that publishes; for who leaves without `stop`."""
        self._joining.close()
        self._publishing.close()

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Let what is on its way to the bus arrive, within a budget, then forget the rest."""
        self._publishing.settle(time.monotonic() + 0.2 * self._config.bus.max_poll_interval_s)
        self.lost(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Forget partitions that are somebody else's by now, and all that is under way for them."""
        self._joining.drop(partitions)
        for partition in partitions:
            self._forget(partition)
        log.info("gave up partitions %s", ", ".join(str(p.number) for p in partitions))
        if not self._reception.tenures:
            self._status.waits_for("partitions to be assigned")

    @property
    def _is_busy(self) -> bool:
        return bool(self._reception.decoding or self._lines.pending or self._publishing.pending)

    def _wait(self) -> None:
        """Wait a moment for whoever is at work: a worker's pipe, or a thread that wakes us."""
        if self._reception.decoding:
            self._reception.wait(_BUSY_S)
        else:
            self._parts.wake.wait(_BUSY_S)
        self._parts.wake.clear()

    def _read(self) -> bool:
        is_busy = self._is_busy
        if is_busy and time.monotonic() - self._polled_at < _POLL_EVERY_S:
            return False
        polled = self._bus.poll(0.0 if is_busy or self._joining.is_pending else _IDLE_S)
        self._polled_at = time.monotonic()
        if polled.assigned:
            self._joining.add(polled.assigned)
        elif polled.is_dealt:
            log.info("no partition is ours: standing by for those who have some")
            self._status.is_served()
        for partition, wanted in polled.out_of_range:
            self._skip_lost(partition, wanted)
        for record in polled.records:
            self._reception.receive(record)
        return bool(polled.assigned or polled.records or polled.out_of_range)

    def _join(self) -> bool:
        """Read back one lot of what has been published; at the end start the new partitions."""
        ready = self._joining.read_lot()
        for assignment in ready or ():
            commit = self._joining.first_commit(assignment)
            self._start(assignment.partition, commit, is_new=assignment.committed is None)
        return ready is not None

    def _start(self, partition: Partition, commit: Commit, *, is_new: bool) -> None:
        tenure = self._reception.begin(partition, commit)
        self._bus.start(partition, commit.next_offset)
        if is_new:
            # Resolved once: a restart before the first step must not resolve it anew.
            self._publishing.commit(tenure)
        self._upkeep.begin(partition)
        log.info("reading %s %d from %d", partition.topic, partition.number, commit.next_offset)
        self._status.is_served()

    def _skip_lost(self, partition: Partition, wanted: int) -> None:
        """Go on behind records that retention took away, loudly, or stop, as configured."""
        policy = self._config.input.out_of_range
        held = self._bus.beginning_offset(partition)
        text = (
            f"{partition.topic} {partition.number}: wanted offset {wanted}, the topic holds "
            f"{held} to {self._bus.end_offset(partition)}"
        )
        if policy == "stop":
            raise ServiceError(f"{text}; input.out_of_range is stop")
        offset = held if policy == "earliest" else self._bus.end_offset(partition)
        is_new = offset < wanted
        why = "the topic was made anew" if is_new else "records were lost to retention"
        log.error("%s: %s; going on from %d", text, why, offset)
        if is_new:
            # What the ledger knows is of records that never come again, but the steps that have
            # ended may be fed again.
            self._forget(partition)
            self._joining.add_anew(partition, offset)
        else:
            self._bus.start(partition, offset)
            self._upkeep.begin(partition)
            # Resolved once, as at the first start.
            self._publishing.commit(self._reception.tenures[partition])

    def _forget(self, partition: Partition) -> None:
        tenure = self._reception.tenures.get(partition)
        if tenure is not None:
            self._lines.forget(tenure)
            self._reception.end(partition)
            self._upkeep.forget(partition)

    def _flush_all(self) -> None:
        for tenure in self._reception.tenures.values():
            self._publishing.flush(tenure, now=True)
