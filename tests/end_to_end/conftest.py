"""What the tests of the whole share: real input, what one daemon makes of it, and scenes."""

import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamer.domain import StepKey
from streamer.grib.frame import split
from streamer.grib.identity import identify
from streamer.grib.wants import Limits
from streamer.model import open_model
from tests.end_to_end.daemons import House, World, config_of, work_off
from tests.end_to_end.scenes import STEPS, Daemons, Input, Published, Scene, open_scene
from tests.kafka_broker import Broker, new_broker

FILES = 56


@pytest.fixture(scope="session")
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
    return Input(records, FILES, Counter(reasons))


@pytest.fixture(scope="session")
def undisturbed(given: Input, wind_bundle: Path) -> Published:
    """What one daemon publishes that nobody kills."""
    config = config_of(wind_bundle, input=STEPS)
    world = World(House(open_model(config), config))
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


@pytest.fixture
def nursery(scene: Scene) -> Iterator[Daemons]:
    nursery = Daemons(scene)
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """OpenVINO with one thread, and a cache of its own."""
    cache = tmp_path_factory.mktemp("engines") / "cache"
    return {"backend": "openvino", "threads": 1, "cache": str(cache)}
