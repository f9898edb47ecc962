"""A real Apache Kafka for tests: one broker a session, on a port and in a folder of its own."""

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka as independent
import confluent_kafka.admin as administration
import pytest

from streamer.bus.settings import BusSettings, Security
from tests.conftest import REPOSITORY, require_tool

_SCRIPT = REPOSITORY / "deployment" / "kafka" / "kafka.sh"


@dataclass(frozen=True)
class Broker:
    """A broker that tests may start, stop and kill; what it knows lies in `home`."""

    port: int
    home: Path
    extra: Path | None = None
    format_options: str = ""

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def start(self) -> None:
        """Start it, with the data of before, and wait until it answers."""
        self._script("start")

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._script("stop")

    def signal(self, number: signal.Signals) -> None:
        """Send the broker's process a signal."""
        os.kill(int((self.home / "broker.pid").read_text()), number)

    def settings(
        self,
        group: str,
        instance: str = "one",
        security: Security | None = None,
        session_timeout_s: float = 6.0,
    ) -> BusSettings:
        """Return what a config would say to reach this broker."""
        return BusSettings(
            bootstrap_servers=(self.address,),
            group_id=group,
            instance=instance,
            security=security or Security(),
            session_timeout_s=session_timeout_s,
        )

    def create(
        self, topic: str, partitions: int = 1, configs: Mapping[str, str] | None = None
    ) -> str:
        """Make a topic, with a client that is not the one under test, and see it there.

        The controller answers before the broker has heard of it.
        """
        new = administration.NewTopic(topic, partitions, 1, config=dict(configs or {}))
        administrator = self.administrator()
        for future in administrator.create_topics([new]).values():
            future.result(30)
        until = time.monotonic() + 30
        while topic not in administrator.list_topics(timeout=10).topics:
            assert time.monotonic() < until, f"{topic} was made and is not listed"
        return topic

    def administrator(self) -> administration.AdminClient:
        """Return an independent client's administrator."""
        return administration.AdminClient({"bootstrap.servers": self.address})

    def producer(self) -> independent.Producer:
        """Return an independent producer, told to place keys as Java does."""
        return independent.Producer(
            {
                "bootstrap.servers": self.address,
                "partitioner": "murmur2_random",
                "message.max.bytes": 32 * 2**20,
                "log_level": 3,
            }
        )

    def read(self, topic: str) -> list[independent.Message]:
        """Read all committed records of a topic with an independent client."""
        consumer = independent.Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": f"reader-{uuid.uuid4().hex}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        try:
            known = consumer.list_topics(topic, 30).topics[topic].partitions
            places = [independent.TopicPartition(topic, n, 0) for n in known]
            ends = {p.partition: consumer.get_watermark_offsets(p, 30)[1] for p in places}
            consumer.assign(places)
            return _read_to_the_ends(consumer, ends)
        finally:
            consumer.close()

    def _script(self, verb: str) -> None:
        environment = {
            **os.environ,
            "KAFKA_PORT": str(self.port),
            "KAFKA_HOME": str(self.home),
            "KAFKA_HEAP": "384m",
            "KAFKA_FORMAT": self.format_options,
        }
        cached = REPOSITORY / ".kafka" / "jars"
        if cached.is_dir():
            environment["KAFKA_JARS"] = str(cached)
        if self.extra:
            environment["KAFKA_EXTRA"] = str(self.extra)
        done = subprocess.run(
            ["bash", str(_SCRIPT), verb],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def free_ports() -> int:
    """Return a port that is free now and whose successor is, too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def new_broker(home: Path, extra: Path | None = None, format_options: str = "") -> Broker:
    """Start a broker of one's own, for a test that stops or kills it."""
    for tool in ("java", "mvn"):
        require_tool(tool)
    home.mkdir(parents=True, exist_ok=True)
    broker = Broker(free_ports(), home, extra, format_options)
    broker.start()
    return broker


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker that all tests of a session share; they keep apart by names of topics."""
    broker = new_broker(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.signal(signal.SIGKILL)


def _read_to_the_ends(
    consumer: independent.Consumer, ends: dict[int, int]
) -> list[independent.Message]:
    # A commit is answered before its markers are written, so the end of what is stable may lie
    # before the end of what is there for a moment.
    found: list[independent.Message] = []
    waiting = dict(ends)
    while waiting:
        message = consumer.poll(30)
        assert message is not None, "an independent reader waited 30 s for the end of a topic"
        error = message.error()
        if error is None:
            found.append(message)
        elif error.code() != independent.KafkaError._PARTITION_EOF:
            raise AssertionError(str(error))
        elif (message.offset() or 0) >= waiting.get(message.partition() or 0, 0):
            waiting.pop(message.partition() or 0, None)
    return found
