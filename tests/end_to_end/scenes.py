"""A real Apache Kafka with daemons on it as processes, and a reader that is not ours."""

import json
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import confluent_kafka as independent
import yaml

from tests.conftest import REPOSITORY
from tests.end_to_end.nursery import Nursery
from tests.kafka_broker import Broker

STEPS = {"steps": "0/3"}
_AWAY = {independent.KafkaError._ALL_BROKERS_DOWN, independent.KafkaError._TRANSPORT}


@dataclass(frozen=True)
class Input:
    """What is fed: keys and values in order, and what must come of it."""

    records: list[tuple[bytes, bytes]]
    steps: int
    reasons: Counter[str]


@dataclass
class Published:
    """What a reader of committed records has seen so far."""

    fields: dict[str, bytes] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    steps: Counter[tuple[str, str]] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    letters: Counter[tuple[str, ...]] = field(default_factory=Counter)
    bundles: set[str] = field(default_factory=set)

    def take(self, headers: Mapping[str, str], value: bytes) -> None:
        """Note one record, by its headers."""
        if "dlq.reason" in headers:
            names = ("reason", "partition", "offset", "message")
            self.letters[tuple(headers[f"dlq.{name}"] for name in names)] += 1
        elif headers["ce_type"].endswith(".field"):
            self.fields[headers["ce_id"]] = value
            self.seen[headers["ce_id"]] += 1
        elif headers["ce_type"].endswith(".step"):
            self.steps[headers["ce_subject"], headers["outcome"]] += 1
            self.bundles.add(json.loads(value)["bundle"])
        else:
            self.runs[headers["ce_subject"]] += 1

    @property
    def ended(self) -> int:
        """How many steps have ended."""
        return self.steps.total()

    @property
    def reasons(self) -> Counter[str]:
        """How many dead letters of which reason there are."""
        return Counter(reason for reason, *_ in self.letters.elements())


@dataclass
class Scene:
    """Topics of a test's own, the config of a daemon on them, and an independent reader."""

    broker: Broker
    folder: Path
    name: str
    config: Path
    reader: independent.Consumer
    published: Published = field(default_factory=Published)
    log_start: int = 0

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    def feed(self, records: list[tuple[bytes, bytes]]) -> None:
        producer = self.broker.producer()
        for key, value in records:
            producer.produce(self.name, value=value, key=key)
        assert producer.flush(60) == 0

    def write_config(self, instance: str = "one", **changes: Mapping[str, Any]) -> Path:
        """Write a configuration file for another daemon of the group."""
        plain: dict[str, Any] = {
            "bus": {
                "bootstrap_servers": [self.broker.address],
                "group_id": self.name,
                "instance": instance,
                "session_timeout_s": 6.0,
            },
            "input": {"topic": self.name, **STEPS},
            "output": {"topic": f"{self.name}.fine"},
            "model": yaml.safe_load(self.config.read_text())["model"],
            "engine": {"backend": "gaussian", "cache": str(self.folder / "cache")},
            "metrics": {"port": 0},
            "limits": {"workers": 1},
        }
        for part, more in changes.items():
            plain[part] = {**plain[part], **more}
        path = self.folder / f"{instance}.yaml"
        path.write_text(yaml.safe_dump(plain))
        return path

    def read(self, timeout_s: float = 0.0) -> None:
        """Take what is committed by now, waiting for a first record at most so long."""
        while (message := self.reader.poll(timeout_s)) is not None:
            if (error := message.error()) is not None:
                # Only a broker that is away is no surprise; the client goes on when it is back.
                assert error.retriable() or error.code() in _AWAY, error
                timeout_s = 0.0
                continue
            found: Any = message.headers()
            headers = {name: value.decode() for name, value in found}
            self.published.take(headers, message.value() or b"")
            timeout_s = 0.0

    def read_for(self, seconds: float) -> int:
        """Read for some time; return how many steps have ended by then."""
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            self.read(left_s)
        return self.published.ended

    def wait_for(self, is_there: Callable[[Published], bool], timeout_s: float = 90.0) -> None:
        """Read until something has been published."""
        deadline = time.monotonic() + timeout_s
        while not is_there(self.published):
            assert time.monotonic() < deadline, f"not published: {self.log.read_text()[-3000:]}"
            self.read(0.2)

    def mark_log(self) -> None:
        """Note that a daemon is about to start: only what is said from now on is looked at."""
        self.log_start = self.log.stat().st_size if self.log.exists() else 0

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the newest daemon reads its partitions."""
        deadline = time.monotonic() + timeout_s
        while "reading " not in self.log.read_text()[self.log_start :]:
            assert time.monotonic() < deadline, f"not ready: {self.log.read_text()[-3000:]}"
            self.read(0.05)

    def daemon(self, config: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a daemon as an operator does."""
        chosen = str(config or self.config)
        command = [sys.executable, "-m", "streamer.commands.main", "run", chosen]
        self.mark_log()
        with self.log.open("ab") as log:
            return subprocess.Popen(command, cwd=REPOSITORY, stderr=log)


@contextmanager
def open_scene(broker: Broker, bundle: Path, folder: Path) -> Iterator[Scene]:
    """Make topics with two partitions each, and read them from the start."""
    name = f"wind-{uuid.uuid4().hex[:8]}"
    fine = f"{name}.fine"
    for topic in (name, fine, f"{fine}.steps", f"{fine}.dead"):
        broker.create(topic, 2)
    reader = independent.Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": f"reader-{name}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    topics = (fine, f"{fine}.steps", f"{fine}.dead")
    reader.assign([independent.TopicPartition(t, n, 0) for t in topics for n in (0, 1)])
    config = folder / "one.yaml"
    config.write_text(yaml.safe_dump({"model": {"bundle": str(bundle), "draws": 2}}))
    scene = Scene(broker, folder, name, config, reader)
    scene.write_config()
    yield scene
    reader.close()


class Daemons(Nursery):
    """Daemons of a scene, forked from a warm process."""

    def __init__(self, scene: Scene) -> None:
        super().__init__("mortal")
        self._scene = scene

    def start(self, point: str = "", count: int = 0) -> int:
        """Start the next daemon; return its process id."""
        self._scene.mark_log()
        return self.fork(self._scene.config, self._scene.log, point, count)


def same(found: Published, wanted: Published) -> None:
    """Assert that everything is there, once, with the same bytes."""
    assert set(found.seen.values()) == {1}
    assert found.fields == wanted.fields
    assert found.steps == wanted.steps
    assert set(found.steps.values()) == {1}
    assert found.runs == wanted.runs
    assert set(found.runs.values()) == {1}
    assert found.reasons == wanted.reasons
    assert set(found.letters.values()) == {1}
