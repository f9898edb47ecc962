"""Measures what everything but inference costs: `python -m tests.benchmarks peer`.

Two real records of 75 KB in, eight fields of 130 KB and a step's record out, one transaction a
step, an Apache Kafka on the same cores, the closed form in place of a network at one level. All
records of a round become readable at once, by the commit of one transaction; its time ends when a
reader of committed records has the last step's. It is divided by the bare work of the same steps
on one core, measured before and after the round while the daemon idles.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import confluent_kafka as independent

from streamer.bus.settings import BusSettings
from tests.benchmarks import bare, forecast, processes
from tests.benchmarks.plain_loop import PlainLoop
from tests.kafka_broker import Broker

IN, OUT = "bench.coarse", "bench.fine"
TOPICS = (IN, OUT, f"{OUT}.steps", f"{OUT}.dead")
WARM_STEPS = 40


@dataclass(frozen=True, slots=True)
class Round:
    """Wall seconds of a step in the round, and its bare work beside it."""

    seconds: float
    bare: bare.Bare

    @property
    def ratio(self) -> float:
        """Wall time over the bare work of one core."""
        return self.seconds / self.bare.seconds


def config(broker: Broker, bundle: str, group: str = "bench") -> dict[str, object]:
    """Return the daemon's configuration: the closed form at one level, four draws."""
    return {
        "bus": {"bootstrap_servers": [broker.address], "group_id": group, "instance": "bench"},
        "input": {"topic": IN, "steps": "0"},
        "output": {"topic": OUT},
        "model": {"bundle": bundle, "draws": bare.DRAWS},
        "sampler": {"steps": 1},
        "engine": {"backend": "gaussian"},
    }


class Feeder:
    """Hands records over: all of a lot become readable at once."""

    def __init__(self, broker: Broker) -> None:
        self._producer = independent.Producer(
            {
                "bootstrap.servers": broker.address,
                "partitioner": "murmur2_random",
                "transactional.id": "bench-feeder",
                "queue.buffering.max.kbytes": 1 << 20,
            }
        )
        self._producer.init_transactions(30)

    def feed(self, steps: Sequence[list[bytes]]) -> float:
        """Write steps, commit them, and return when the commit was asked for."""
        self._producer.begin_transaction()
        for messages in steps:
            for record in forecast.records(IN, messages):
                self._producer.produce(record.topic, record.value, record.key)
            self._producer.poll(0)
        self._producer.flush(60)
        started = time.monotonic()
        self._producer.commit_transaction(30)
        return started


class Reader:
    """Reads committed records of steps, as a subscriber does."""

    def __init__(self, broker: Broker, topic: str = f"{OUT}.steps") -> None:
        self._consumer = independent.Consumer(
            {
                "bootstrap.servers": broker.address,
                "group.id": "bench-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.assign([independent.TopicPartition(topic, 0, 0)])

    def wait_for(self, count: int, patience_s: float = 120.0) -> float:
        """Wait for so many records of complete steps; return when the last one came."""
        until = time.monotonic() + patience_s
        while count:
            message = self._consumer.poll(1.0)
            if message is not None and message.error() is None:
                kind = dict(message.headers() or ())
                count -= kind.get("outcome") == b"complete"
            if time.monotonic() > until:
                raise SystemExit(f"{count} steps did not come in {patience_s:g} s")
        return time.monotonic()

    def drain(self) -> int:
        """Take what is there already; return how many complete steps that were."""
        found = 0
        while (message := self._consumer.poll(1.0)) is not None:
            found += dict(message.headers() or ()).get("outcome") == b"complete"
        return found


def rounds(
    feeder: Feeder, reader: Reader, folder: Path, steps: int, count: int, first: int
) -> list[Round]:
    """Run some rounds, each with steps that nobody has seen."""
    made = []
    for number in range(count):
        lot = list(forecast.steps(folder, steps, first + number * steps))
        before = bare.measure(lot[: steps // 4])
        started = feeder.feed(lot)
        seconds = (reader.wait_for(steps) - started) / steps
        after = bare.measure(lot[: steps // 4])
        both = bare.Bare(
            (before.seconds + after.seconds) / 2, (before.least_seconds + after.least_seconds) / 2
        )
        made.append(Round(seconds, both))
        print(_line(f"round {number + 1}", made[-1]), flush=True)
    return made


def run(folder: Path, bundle: str, home: Path, steps: int = 200, count: int = 5) -> None:
    """Measure the daemon and a plain loop on one broker, and a restart; print the figures."""
    with processes.broker(home) as broker:
        for topic in TOPICS:
            broker.create(topic)
        feeder, reader = Feeder(broker), Reader(broker)
        daemon = processes.start(home, config(broker, bundle))
        print(f"ready after {daemon.wait_until_ready():.1f} s")
        feeder.feed(list(forecast.steps(folder, WARM_STEPS)))
        reader.wait_for(WARM_STEPS)
        before = _used(daemon, broker)
        made = rounds(feeder, reader, folder, steps, count, WARM_STEPS)
        after = _used(daemon, broker)
        _tell("daemon", made)
        _tell_parts(before, after, steps * count)
        _restart(
            daemon, lambda: processes.start(home, config(broker, bundle)), feeder, reader, folder
        )
    with processes.broker(home / "plain") as broker:
        for topic in TOPICS:
            broker.create(topic)
        feeder, reader = Feeder(broker), Reader(broker)
        settings = BusSettings((broker.address,), "plain", "plain")
        with PlainLoop(settings, IN, OUT):
            feeder.feed(list(forecast.steps(folder, WARM_STEPS)))
            reader.wait_for(WARM_STEPS)
            _tell("plain kafka-python loop", rounds(feeder, reader, folder, steps, 3, WARM_STEPS))


def _restart(
    daemon: processes.Daemon,
    start: Callable[[], processes.Daemon],
    feeder: Feeder,
    reader: Reader,
    folder: Path,
) -> None:
    """Kill the daemon at work and measure from the new one's start to its first new step."""
    lot = list(forecast.steps(folder, 400, 100_000))
    feeder.feed(lot)
    reader.wait_for(50)
    daemon.kill()
    time.sleep(1.0)
    already = reader.drain()
    again = start()
    first = reader.wait_for(1) - again.began
    ready = again.wait_until_ready()
    reader.wait_for(len(lot) - 50 - already - 1)
    print(f"after kill -9: first new step {first:.1f} s after the restart, ready {ready:.1f} s")
    again.stop()


def _used(daemon: processes.Daemon, broker: Broker) -> dict[str, float]:
    return {**daemon.seconds_by_part(), "broker": processes.seconds_of(broker)}


def _tell_parts(before: dict[str, float], after: dict[str, float], steps: int) -> None:
    spent = {name: (after[name] - before.get(name, 0.0)) / steps for name in after}
    print(f"processor time a step: {1e3 * sum(spent.values()):.1f} ms")
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        if seconds >= 1e-4:
            print(f"  {name:28}{1e3 * seconds:6.1f} ms")


def _tell(what: str, made: Sequence[Round]) -> None:
    middle = Round(
        median(r.seconds for r in made),
        bare.Bare(median(r.bare.seconds for r in made), median(r.bare.least_seconds for r in made)),
    )
    print(_line(f"{what}, median", middle))
    ratios = sorted(r.ratio for r in made)
    print(f"  paired ratios {ratios[0]:.2f} to {ratios[-1]:.2f}, median {median(ratios):.2f}")


def _line(what: str, one: Round) -> str:
    least = one.seconds / one.bare.least_seconds
    return (
        f"{what}: {1e3 * one.seconds:.1f} ms a step, bare work {1e3 * one.bare.seconds:.1f} ms: "
        f"ratio {one.ratio:.2f} (to its least, {1e3 * one.bare.least_seconds:.1f} ms: {least:.2f})"
    )
