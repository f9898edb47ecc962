"""Runs the whole service on the bus in memory, over an input that ends: for replay and demo."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from statistics import median
from typing import Any

import numpy as np

from engines.bundle import Bundle
from engines.denoiser import Denoiser
from streamer.bus.memory import MemoryBus
from streamer.bus.memory_broker import MemoryBroker
from streamer.bus.record import Outgoing, Record
from streamer.bus.settings import BusSettings
from streamer.composition import Around, composed, open_meters
from streamer.config import Config
from streamer.headers import read_identity
from streamer.intake.events import EndedStep, Outcome
from streamer.intake.runs import Expected
from streamer.model import Model
from streamer.sections import StartAt
from streamer.service import Service

#: Input records that lie on the bus ahead of the daemon; more would only take memory.
_AHEAD = 64
#: Calls that a lone call is timed by, and calls before them that warm the runtime up.
_TIMED_CALLS, _WARM_CALLS = 7, 2

#: Takes what the daemon publishes, record by record, as a subscriber would.
Subscriber = Callable[[Record], None]
#: Is told how many steps have ended.
Progress = Callable[[int], None]


@dataclass(slots=True)
class Rehearsed:
    """What came of an input. seconds: wall time from the first record to the last commit.

    records: messages that were read, by what became of them, as `records_total` names it.
    engine_seconds: inside the network. engine_seconds_alone: what as many calls take when
    nothing else runs, measured in the same process.
    """

    steps: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    fields: int = 0
    seconds: float = 0.0
    calls: int = 0
    engine_seconds: float = 0.0
    engine_seconds_alone: float = 0.0

    def plain(self) -> dict[str, Any]:
        """Return the result as `replay --json` names it."""
        return {
            "steps": self.steps.total(),
            "published": self.steps[Outcome.COMPLETE],
            "expired": self.steps[Outcome.EXPIRED],
            "failed": self.steps[Outcome.FAILED],
            "dead_letters": dict(self.dead_letters),
            "fields": self.fields,
            "seconds": round(self.seconds, 3),
            "calls": self.calls,
            "engine_seconds": round(self.engine_seconds, 3),
            "engine_seconds_alone": round(self.engine_seconds_alone, 3),
        }


def in_memory(config: Config) -> Config:
    """Return the configuration for a bus in memory and an input of any age."""
    bus = BusSettings(group_id=config.bus.group_id or "memory", instance="memory", memory=True)
    # What is true is given beforehand here, or never comes.
    return replace(
        config,
        bus=bus,
        input=replace(config.input, start_at=StartAt(), max_age_h=None),
        verification=None,
    )


def rehearse(
    config: Config,
    model: Model,
    records: Iterable[Outgoing],
    subscriber: Subscriber,
    expected: Expected,
    progress: Progress = lambda _: None,
) -> Rehearsed:
    """Send records through the whole daemon and end what stays incomplete at their end.

    records: for `config.input.topic`. expected: the lead times of a run, in minutes; only those
    that the configuration names are taken. subscriber: gets every record that is published.
    """
    config = in_memory(config)
    output = config.output
    topics = (config.input.topic, output.topic, output.steps_topic, output.dead_letter_topic)
    broker = MemoryBroker(dict.fromkeys(topics, 1))
    outcome = Rehearsed()
    meters = open_meters(config, model)
    with composed(
        config,
        model,
        lambda revoked, lost: MemoryBus(broker, [config.input.topic], revoked=revoked, lost=lost),
        meters,
        Around(
            expected=lambda run: _both(expected(run), config.input.steps.of(run.reference_time))
        ),
    ) as service:
        reader = _Reader(config, broker, subscriber, outcome, progress)
        started = time.monotonic()
        _feed_and_turn(config, broker, service, iter(records), reader)
        service.finish()
        service.stop(config.limits.stop_budget_s)
        outcome.seconds = time.monotonic() - started
        reader.take()
        outcome.calls, outcome.engine_seconds = service.engine_work
    outcome.records = Counter(meters.metrics.records_by_outcome())
    outcome.engine_seconds_alone = outcome.calls * seconds_alone(model.denoisers[0], model.bundle)
    return outcome


def seconds_alone(denoiser: Denoiser, bundle: Bundle) -> float:
    """Return the seconds of one full call, alone in this process: the median of several."""
    batch, channels = denoiser.spec.batch, len(bundle.channels)
    tile = bundle.shape if denoiser.spec.backend == "gaussian" else bundle.tile
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, channels, *tile), dtype=np.float32)
    condition = rng.standard_normal(
        (batch, channels + len(bundle.constants), *tile), dtype=np.float32
    )
    sigma = np.ones(batch, dtype=np.float32)
    labels = np.zeros((batch, len(bundle.labels)), dtype=np.float32) if bundle.labels else None
    times = []
    for _ in range(_WARM_CALLS + _TIMED_CALLS):
        started = time.perf_counter()
        denoiser.denoise(x, sigma, condition, labels)
        times.append(time.perf_counter() - started)
    return median(times[_WARM_CALLS:])


def _both(some: Iterable[int], others: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(some) & set(others)))


def _feed_and_turn(
    config: Config,
    broker: MemoryBroker,
    service: Service,
    records: Iterable[Outgoing],
    reader: "_Reader",
) -> None:
    """Turn the loop, a few records ahead of it on the bus, until all of them are answered."""
    partition = broker.partitions(config.input.topic)[0]
    waiting, is_over = iter(records), False
    while not (is_over and service.is_drained):
        room = service.room_for(partition, _AHEAD)
        lot = list(islice(waiting, room))
        is_over = is_over or len(lot) < room
        broker.append(lot)
        service.turn()
        reader.take()


class _Reader:
    """Reads what is published as a subscriber does, and counts it."""

    def __init__(
        self,
        config: Config,
        broker: MemoryBroker,
        subscriber: Subscriber,
        outcome: Rehearsed,
        progress: Progress,
    ) -> None:
        self._output = config.output
        self._broker = broker
        self._subscriber = subscriber
        self._outcome = outcome
        self._progress = progress

    def take(self) -> None:
        """Take what was published since the last time."""
        output, outcome = self._output, self._outcome
        for topic in (output.topic, output.steps_topic, output.dead_letter_topic):
            for record in self._broker.take(topic):
                self._subscriber(record)
                if topic == output.topic:
                    outcome.fields += 1
                elif topic == output.dead_letter_topic:
                    outcome.dead_letters[dict(record.headers)["dlq.reason"].decode()] += 1
                elif isinstance(ended := read_identity(record.headers), EndedStep):
                    outcome.steps[ended.outcome] += 1
                    self._progress(outcome.steps.total())
