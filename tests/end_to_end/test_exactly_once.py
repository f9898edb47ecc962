"""Daemons on a real Apache Kafka die at every point of a step's way, and nothing shows it.

What is read back is read with a client that is not ours, and compared with what one undisturbed
daemon published from the same input on the bus in memory.
"""

import json
import os
import random
import signal
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
import pytest
import yaml

from streamer.composition import open_model
from streamer.domain import StepKey
from streamer.grib.frame import split
from streamer.grib.identity import identify
from streamer.grib.wants import Limits
from tests.conftest import REPOSITORY
from tests.end_to_end.daemons import Clock, House, World, config_of, work_off
from tests.end_to_end.mortal import POINTS
from tests.kafka_broker import Broker, new_broker

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]

FILES = 56
KILLS = 20
#: A quarter of the daemons die while they start, the others at work: each after a random time
#: that is no longer than this, and the latter after some steps.
START_S, WORK_S, STEPS_AT_WORK = 2.0, 0.5, 4
RESTART_S = 10.0
#: A budget of half a second, and what the call that runs and the processes take to end.
STOP_S = 15.0
AWAY_S = 8.0
AWAY = {independent.KafkaError._ALL_BROKERS_DOWN, independent.KafkaError._TRANSPORT}
STEPS = {"steps": "0/3"}


@dataclass(frozen=True)
class Input:
    """What is fed: keys and values in order, and how many dead letters of which reason it has."""

    records: list[tuple[bytes, bytes]]
    reasons: Counter[str]

    @property
    def steps(self) -> int:
        return FILES


@pytest.fixture(scope="module")
def given(shared_data: Path) -> Input:
    """Real wind with repeats, rubbish, and records of several messages."""
    files = sorted((shared_data / "gfs-wind-1deg" / "train").iterdir())[:FILES]
    records: list[tuple[bytes, bytes]] = []
    for i, file in enumerate(files):
        u, v = (piece for piece in split(file.read_bytes(), Limits()) if isinstance(piece, bytes))
        key = identify(u, ())
        assert isinstance(key, StepKey)
        values = [u, v]
        if i % 10 == 3:
            values = [u + u[:16] + bytes(len(u) - 20) + u[-4:] + v]
        if i % 7 == 2:
            values += [u]
        if i % 9 == 4:
            values += [b"rubbish"]
        records += [(key.run.text.encode(), value) for value in values]
    reasons = {"undecodable": len(range(3, FILES, 10)), "not_grib": len(range(4, FILES, 9))}
    return Input(records, Counter(reasons))


@dataclass
class Published:
    """What a reader of committed records has seen so far."""

    fields: dict[str, bytes] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    steps: Counter[tuple[str, str]] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    letters: Counter[tuple[str, ...]] = field(default_factory=Counter)

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


@pytest.fixture(scope="module")
def undisturbed(given: Input, wind_bundle: Path) -> Published:
    """What one daemon publishes that nobody kills."""
    config = config_of(wind_bundle, input=STEPS)
    world = World(House(open_model(config), config), Clock())
    for key, value in given.records:
        world.feed([value], key)
    work_off(world, input=STEPS)
    world.house.close()
    found = Published()
    for topic in ("out", "out.steps", "out.dead"):
        for record in world.broker.read(topic):
            found.take({name: v.decode() for name, v in record.headers}, record.value)
    assert len(found.steps) == given.steps
    assert found.reasons == given.reasons
    return found


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
                assert error.retriable() or error.code() in AWAY, error
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


@pytest.fixture
def scene(kafka_broker: Broker, wind_bundle: Path, tmp_path: Path) -> Iterator[Scene]:
    with open_scene(kafka_broker, wind_bundle, tmp_path) as scene:
        yield scene


@pytest.fixture
def own_scene(wind_bundle: Path, tmp_path: Path) -> Iterator[Scene]:
    """A scene with a broker of its own, that may be killed."""
    broker = new_broker(tmp_path / "kafka")
    with open_scene(broker, wind_bundle, tmp_path) as scene:
        yield scene
    broker.signal(signal.SIGKILL)


class Nursery:
    """Starts daemons that are forked from a warm process; see `mortal`."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.mortal"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.daemon = 0

    def start(self, point: str = "", count: int = 0) -> int:
        """Start the next daemon; return its process id."""
        order = {
            "config": str(self._scene.config),
            "log": str(self._scene.log),
            "point": point,
            "count": count,
        }
        self._scene.mark_log()
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self.daemon = self._told()
        return self.daemon

    def end(self) -> int:
        """Wait for the daemon's end; return its exit status, below zero for a signal."""
        status = self._told()
        self.daemon = 0
        return status

    def close(self) -> None:
        if self.daemon:
            os.kill(self.daemon, signal.SIGKILL)
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)

    def _told(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())


@pytest.fixture
def nursery(scene: Scene) -> Iterator[Nursery]:
    nursery = Nursery(scene)
    yield nursery
    nursery.close()


def test_kill_9_at_any_point_loses_nothing_and_doubles_nothing(
    scene: Scene, nursery: Nursery, given: Input, undisturbed: Published
) -> None:
    chance = random.Random(9)
    scene.feed(given.records)

    for point in POINTS:
        nursery.start(point, count=12 if point == "a send" else 3)
        assert nursery.end() == -signal.SIGKILL, (point, scene.log.read_text()[-3000:])
    told = [scene.read_for(1.0)]
    for _ in range(KILLS):
        daemon = nursery.start()
        if chance.random() < 0.25:
            told.append(scene.read_for(chance.uniform(0.0, START_S)))
        else:
            wanted = min(given.steps, told[-1] + chance.randrange(STEPS_AT_WORK))
            scene.wait_until_ready()
            scene.wait_for(lambda found, wanted=wanted: found.ended >= wanted)  # type: ignore[misc]
            told.append(scene.read_for(chance.uniform(0.0, WORK_S)))
        os.kill(daemon, signal.SIGKILL)
        assert nursery.end() == -signal.SIGKILL
    last = nursery.start()
    scene.wait_for(lambda found: found.ended >= given.steps)
    scene.wait_until_ready()
    os.kill(last, signal.SIGTERM)

    assert nursery.end() == 0, scene.log.read_text()[-3000:]
    scene.read_for(2.0)
    same(scene.published, undisturbed)
    print(f"{len(POINTS)} daemons died at {', '.join(POINTS)}, {KILLS} more at random moments;")
    print(f"steps that had ended by then: {told}, of {given.steps}")


def test_a_daemon_is_back_within_ten_seconds_of_its_death(scene: Scene, given: Input) -> None:
    scene.feed(given.records)
    daemon = scene.daemon()
    scene.wait_for(lambda found: found.ended > 0)

    # The better of two: the machine may have had something else to do.
    seconds: list[float] = []
    while len(seconds) < 2 and min(seconds, default=RESTART_S) >= RESTART_S:
        daemon.kill()
        daemon.wait()
        before = scene.read_for(1.0)
        started = time.monotonic()
        daemon = scene.daemon()
        scene.wait_for(lambda found, before=before: found.ended > before)  # type: ignore[misc]
        seconds.append(round(time.monotonic() - started, 1))
    daemon.kill()
    daemon.wait()

    print(f"from a start after kill -9 to the first new step: {seconds} s")
    assert min(seconds) < RESTART_S


def test_a_stop_finishes_in_time_and_the_next_daemon_goes_on(
    scene: Scene, given: Input, undisturbed: Published
) -> None:
    scene.feed(given.records)
    busy = scene.daemon(scene.write_config(limits={"stop_budget_s": 0.5}))
    scene.wait_for(lambda found: found.ended > 0)

    started = time.monotonic()
    busy.terminate()
    status = busy.wait(60)
    seconds = time.monotonic() - started

    print(f"stopped after {seconds:.1f} s, {scene.read_for(1.0)} steps had ended")
    assert status == 0, scene.log.read_text()[-3000:]
    assert "Traceback" not in scene.log.read_text()
    assert seconds < STOP_S
    assert scene.published.ended < given.steps
    next_one = scene.daemon()
    scene.wait_for(lambda found: found.ended >= given.steps)
    scene.wait_until_ready()
    next_one.terminate()
    assert next_one.wait(60) == 0
    scene.read_for(1.0)
    same(scene.published, undisturbed)


def test_a_second_living_daemon_of_the_same_name_is_told_apart(scene: Scene, given: Input) -> None:
    first = scene.daemon()
    scene.wait_until_ready()
    second = scene.daemon()
    scene.wait_until_ready()
    scene.feed(given.records[:8])

    status = first.wait(60)

    assert status == 1
    told = scene.log.read_text()
    assert f"instance one of group {scene.name} is held by another process" in told
    assert "give each its own `bus.instance`" in told
    assert "Traceback" not in told
    scene.wait_for(lambda found: found.ended >= 3)
    second.terminate()
    assert second.wait(60) == 0


def test_a_daemon_that_slept_too_long_doubles_nothing(
    scene: Scene, given: Input, undisturbed: Published
) -> None:
    scene.feed(given.records)
    sleeper = scene.daemon()
    scene.wait_for(lambda found: found.ended > 0)
    sleeper.send_signal(signal.SIGSTOP)
    heir = scene.daemon(scene.write_config("two"))
    scene.wait_for(lambda found: found.ended >= given.steps - 2)

    sleeper.send_signal(signal.SIGCONT)
    scene.wait_for(lambda found: found.ended >= given.steps)
    scene.read_for(3.0)

    for daemon in (sleeper, heir):
        daemon.terminate()
    print("the sleeper ended with", sleeper.wait(60), "and the heir with", heir.wait(60))
    same(scene.published, undisturbed)


def test_a_broker_that_is_killed_and_comes_back_costs_nothing(
    own_scene: Scene, given: Input, undisturbed: Published
) -> None:
    scene, broker = own_scene, own_scene.broker
    scene.feed(given.records)
    daemon = scene.daemon()
    scene.wait_for(lambda found: found.ended > 0)

    broker.signal(signal.SIGKILL)
    broker.stop()
    # Longer than the daemon waits for one answer.
    scene.read_for(AWAY_S)
    broker.start()
    scene.wait_for(lambda found: found.ended >= given.steps or daemon.poll() is not None)
    restarts = int(daemon.poll() is not None)
    if restarts:
        # It died because it cannot know whether its last transaction was committed.
        assert "only a restart can read whether it happened" in scene.log.read_text()
        daemon = scene.daemon()
        scene.wait_for(lambda found: found.ended >= given.steps)

    scene.wait_until_ready()
    daemon.terminate()
    status = daemon.wait(60)
    scene.read_for(1.0)
    print(f"{restarts} restarts of the daemon after the broker was away")
    same(scene.published, undisturbed)
    assert status == 0, scene.log.read_text()[-3000:]


def same(found: Published, wanted: Published) -> None:
    assert set(found.seen.values()) == {1}
    assert found.fields == wanted.fields
    assert found.steps == wanted.steps
    assert set(found.steps.values()) == {1}
    assert found.runs == wanted.runs
    assert set(found.runs.values()) == {1}
    assert found.reasons == wanted.reasons
    assert set(found.letters.values()) == {1}
