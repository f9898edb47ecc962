"""Daemons on a bus in memory, and the world they come and go in.

A daemon here is the whole composition with real decoding processes; only the broker is the small
one. It may be abandoned at any turn, as `kill -9` does; a new one knows only what was committed.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from streamer.bus.memory import MemoryBus
from streamer.bus.memory_broker import MemoryBroker
from streamer.bus.record import (
    Bus,
    BusError,
    Commit,
    Fenced,
    Membership,
    Outgoing,
    Partition,
    Record,
)
from streamer.composition import Around, composed, open_meters, open_workers
from streamer.config import Config, parse
from streamer.domain import StepKey
from streamer.grib.workers import Workers
from streamer.headers import STEP_TYPE
from streamer.intake.events import Outcome
from streamer.model import Model, open_model
from streamer.parts import Meters
from streamer.records import RunRecord, StepRecord
from streamer.records import parse as parse_record
from streamer.service import Service
from tests.wind import wind_message

START = datetime(2018, 10, 8, 6, tzinfo=UTC)
KEY = b"ecmf/-/-/201810080000/0"
STEPS = (0, 3, 6)


def config_of(bundle: object, **changes: Any) -> Config:
    """A configuration for the small globe; `changes` are added to its parts, or stand for them."""
    plain: dict[str, Any] = {
        "bus": {"memory": True, "group_id": "wind"},
        "input": {"topic": "in", "steps": "/".join(map(str, STEPS))},
        "output": {"topic": "out"},
        "model": {"bundle": bundle if isinstance(bundle, list) else str(bundle), "draws": 2},
        "engine": {"backend": "gaussian"},
        "limits": {"workers": 1},
    }
    for part, more in changes.items():
        plain[part] = {**plain.get(part, {}), **more} if isinstance(more, Mapping) else more
    return parse(plain, "a test")


@dataclass
class Clock:
    """Wall time that stands still until a test moves it."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time

    def pass_by(self, **by: float) -> None:
        self.time += timedelta(**by)


class House:
    """What daemons on the small globe share, so that one more costs milliseconds."""

    def __init__(self, model: Model, config: Config) -> None:
        self.model = model
        self.config = config
        self._spare: list[Workers] = []

    @contextmanager
    def workers(self) -> Iterator[Workers]:
        """Lend warm decoding processes; what a dead daemon left in them is worked off after."""
        lent = self._spare.pop() if self._spare else open_workers(self.config, self.model)
        try:
            yield lent
        finally:
            while lent.pending:
                lent.finished(1.0)
            self._spare.append(lent)

    def close(self) -> None:
        for workers in self._spare:
            workers.close()


class MortalBus(MemoryBus):
    """A bus whose process can die: from then on nothing of it reaches the broker."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.is_dead = False
        self.fences = 0  #: how many of the next transactions are refused
        self.is_open = threading.Event()  #: closed, it makes transactions wait
        self.is_open.set()

    def publish(
        self,
        records: Sequence[Outgoing],
        commits: Mapping[Partition, Commit],
        membership: Membership,
    ) -> None:
        self.is_open.wait()
        if self.is_dead:
            raise BusError("this process is dead")
        if self.fences:
            self.fences -= 1
            raise Fenced("the broker is in a mood")
        super().publish(records, commits, membership)


@dataclass
class World:
    """A broker, a clock, and daemons that come and go."""

    house: House
    clock: Clock = field(default_factory=Clock)
    partitions: int = 1
    field_limit: int = 1 << 20
    change: threading.Event | None = None
    open_analyses: Callable[[], Bus] | None = None

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(clock=lambda: self.clock.now().timestamp())
        self.broker.create("in", self.partitions)
        self.broker.create("out", 2, limit_bytes=self.field_limit)
        for topic in ("out.steps", "out.dead"):
            self.broker.create(topic, 2)
        self.buses: list[MortalBus] = []
        self.meters: list[Meters] = []

    @contextmanager
    def daemon(
        self,
        instance: str = "one",
        model: Model | None = None,
        **changes: Any,
    ) -> Iterator[Service]:
        """Start a daemon; leaving the block without `stop` is its sudden death."""
        named = [{"name": one.name, "weight": one.weight} for one in self.house.config.model.bundle]
        config = config_of(named, **changes)
        chosen = model or self.house.model
        self.meters.append(open_meters(config, chosen))

        def open_bus(revoked: Any, lost: Any) -> MortalBus:
            bus = MortalBus(
                self.broker, ["in"], group_id="wind", instance=instance, revoked=revoked, lost=lost
            )
            self.buses.append(bus)
            return bus

        with self.house.workers() as workers, ExitStack() as stack:
            around = Around(
                now=self.clock.now,
                workers=workers,
                change=self.change,
                open_analyses=self.open_analyses,
            )
            daemon = composed(config, chosen, open_bus, self.meters[-1], around)
            # The daemon's alone from here on.
            del chosen, model
            service = stack.enter_context(daemon)
            bus = self.buses[-1]
            try:
                yield service
            finally:
                bus.is_dead = True
                bus.is_open.set()

    def feed(
        self,
        values: Sequence[bytes],
        key: bytes = KEY,
        headers: tuple[tuple[str, bytes], ...] = (),
        at: datetime | None = None,
    ) -> list[Record]:
        """Write records to the input, at the clock's time unless told."""
        stamp = None if at is None else round(at.timestamp() * 1000)
        return self.broker.append([Outgoing("in", key, value, headers) for value in values], stamp)

    @property
    def fields(self) -> dict[str, bytes]:
        """The published fields by id; no id may be there twice."""
        found = self.broker.read("out")
        ids = Counter(dict(record.headers)["ce_id"].decode() for record in found)
        assert {i: n for i, n in ids.items() if n > 1} == {}
        return {dict(record.headers)["ce_id"].decode(): record.value for record in found}

    @property
    def steps(self) -> list[StepRecord]:
        """The records of steps, in the order of each partition."""
        told = self.broker.read("out.steps")
        steps = [r for r in told if dict(r.headers)["ce_type"].decode() == STEP_TYPE]
        return [step for r in steps if isinstance(step := parse_record(r.value), StepRecord)]

    @property
    def runs(self) -> list[RunRecord]:
        """The records of runs."""
        told = [parse_record(record.value) for record in self.broker.read("out.steps")]
        return [run for run in told if isinstance(run, RunRecord)]

    @property
    def outcomes(self) -> Counter[tuple[StepKey, Outcome]]:
        """How often each step ended how."""
        return Counter((step.key, step.outcome) for step in self.steps)

    @property
    def letters(self) -> Counter[tuple[str, int, int, int]]:
        """Dead letters: how often each reason, partition, offset and message."""
        told = [
            {k: v.decode() for k, v in r.headers if k.startswith("dlq.")}
            for r in self.broker.read("out.dead")
        ]
        return Counter(
            (t["dlq.reason"], int(t["dlq.partition"]), int(t["dlq.offset"]), int(t["dlq.message"]))
            for t in told
        )

    @property
    def reasons(self) -> Counter[str]:
        """Dead letters by their reason."""
        return Counter(reason for reason, *_ in self.letters.elements())

    def committed(self, partition: int = 0) -> Commit:
        """What the group committed last."""
        found = self.broker.committed("wind", Partition("in", partition))
        assert found is not None
        return found


def drain(*services: Service) -> None:
    """Turn daemons until all that is on the topic is answered, as far as it can be."""
    quiet = 0
    while quiet < len(services):
        for service in services:
            service.turn()
        quiet = sum(service.is_drained for service in services)


def work_off(world: World, model: Model | None = None, **changes: Any) -> None:
    """Let one daemon answer everything and stop in order."""
    with world.daemon("one", model, **changes) as service:
        drain(service)
        service.look_after()
        service.stop(10)


def forecast(
    steps: Sequence[int] = STEPS, members: Sequence[int] = (0, 1), hours: Sequence[int] = (0, 6)
) -> list[bytes]:
    """Messages of several runs and members, in the order that a model writes them."""
    return [
        wind_message(parameter, step, member, dataTime=hour * 100)
        for hour in hours
        for step in steps
        for member in members
        for parameter in ("10u", "10v")
    ]


def one_run(bundle: object, **told: Any) -> World:
    """Let one daemon publish one run of one member; `told` is of its configuration."""
    config = config_of(bundle, **told)
    world = World(House(open_model(config), config))
    world.feed(forecast(members=(0,), hours=(0,)))
    work_off(world, **told)
    world.house.close()
    return world
