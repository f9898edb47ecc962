"""Sinks on a real Apache Kafka, and an independent producer that publishes for them."""

import os
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import confluent_kafka as independent
import yaml

from streamer.outlets.open import open_outlets
from streamer.outlets.settings import PATTERNS, FileSettings
from streamer.steps import parse_steps
from tests.end_to_end.nursery import Nursery
from tests.kafka_broker import Broker
from tests.published import FINE, Published
from tests.streamer.outlets.files import contents

STEPS = "0/to/9/by/3"
_UNFINISHED = ".unfinished/"


def finished(folder: Path) -> dict[str, bytes]:
    """All files that a reader sees, by name."""
    return {n: v for n, v in contents(folder).items() if not n.startswith(_UNFINISHED)}


def undisturbed(steps: list[Published], folder: Path) -> dict[str, bytes]:
    """What one writer that nobody kills makes of the steps."""
    files = [FileSettings(kind, folder) for kind in PATTERNS]
    for outlet in open_outlets(files, parse_steps(STEPS), "undisturbed"):
        for step in steps:
            outlet.write_step(step.record, step.messages)
    return finished(folder)


@dataclass
class Stage:
    """Topics of a test's own, and sinks that are forked from a warm process."""

    broker: Broker
    folder: Path
    partitions: int = 2
    name: str = field(default_factory=lambda: f"fine-{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.broker.create(self.name, self.partitions)
        # Not as many: fields and records of a step need not lie side by side.
        self.broker.create(f"{self.name}.steps", self.partitions + 1)
        self.producer = independent.Producer(
            {
                "bootstrap.servers": self.broker.address,
                "transactional.id": self.name,
                "partitioner": "murmur2_random",
                "log_level": 3,
            }
        )
        self.producer.init_transactions(30)

    @property
    def output(self) -> Path:
        return self.folder / "files"

    @property
    def log(self) -> Path:
        return self.folder / "sink.log"

    def config(self, instance: str = "one") -> Path:
        plain: dict[str, Any] = {
            "bus": {
                "bootstrap_servers": [self.broker.address],
                "group_id": self.name,
                "instance": instance,
                "session_timeout_s": 6.0,
            },
            "input": {"topic": "none", "steps": STEPS},
            "output": {"topic": self.name},
            "model": {"bundle": "gfs-wind-4to1"},
            "sink": {
                "files": [{"format": kind, "folder": str(self.output)} for kind in PATTERNS],
                "port": 0,
            },
        }
        path = self.folder / f"{instance}.yaml"
        path.write_text(yaml.safe_dump(plain))
        return path

    def publish(self, step: Published, *, is_aborted: bool = False) -> None:
        """Write a step in one transaction."""
        self.producer.begin_transaction()
        for record in step.outgoing():
            topic = record.topic.replace(FINE, self.name, 1)
            headers: Any = list(record.headers)
            self.producer.produce(topic, key=record.key, value=record.value, headers=headers)
        if is_aborted:
            self.producer.flush(30)
            self.producer.abort_transaction(30)
        else:
            self.producer.commit_transaction(30)

    def wait_for(self, is_there: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not is_there():
            said = self.log.read_text()[-3000:] if self.log.exists() else ""
            assert time.monotonic() < deadline, f"waited in vain: {said}"
            time.sleep(0.05)

    def committed(self) -> list[int]:
        """What the group of the sinks has committed, by partition."""
        return [place.offset for place in self._places(lambda c, p: c.committed(p, timeout=30))]

    def is_all_committed(self) -> bool:
        """Whether nothing is left to be read."""
        ends = self._places(
            lambda c, places: [
                independent.TopicPartition(p.topic, p.partition, c.get_watermark_offsets(p, 30)[1])
                for p in places
            ]
        )
        return self.committed() == [place.offset for place in ends]

    def _places(self, ask: Callable[[Any, Any], list[Any]]) -> list[Any]:
        consumer = independent.Consumer(
            {"bootstrap.servers": self.broker.address, "group.id": f"{self.name}.sink"}
        )
        try:
            places = [independent.TopicPartition(self.name, n) for n in range(self.partitions)]
            return ask(consumer, places)
        finally:
            consumer.close()


class Sinks(Nursery):
    """Sinks of a stage, forked from a warm process."""

    def __init__(self, stage: Stage) -> None:
        super().__init__("mortal_sink")
        self._stage = stage

    def start(self, point: str = "", count: int = 0, instance: str = "one") -> int:
        """Start the next sink; return its process id."""
        return self.fork(self._stage.config(instance), self._stage.log, point, count)

    def kill(self) -> None:
        """Kill the sink at once."""
        os.kill(self.child, signal.SIGKILL)
        assert self.end() == -signal.SIGKILL

    def stop(self) -> int:
        """Ask the sink to end; return its exit status."""
        os.kill(self.child, signal.SIGTERM)
        return self.end()
