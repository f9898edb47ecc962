"""The daemon's own scores: draws are held to analyses that come hours later."""

import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.bundle import open_manifest
from engines.errors import UsageError
from streamer.bus.kafka import KafkaBus
from streamer.bus.memory import MemoryBus
from streamer.bus.record import Outgoing
from streamer.grib import codes
from streamer.grib.manifest import read_manifest
from streamer.model import open_model
from streamer.service import Service
from streamer.verification.live import TopicSource
from streamer.verify.scores import area_weights, fair_crps
from tests.end_to_end.daemons import House, World, config_of, drain, forecast
from tests.end_to_end.test_succession import look_until
from tests.kafka_broker import Broker
from tests.wind import SMALL, wind_message

FIRST = {"members": (0,), "hours": (0,)}


@pytest.fixture
def told(tmp_path: Path) -> dict[str, Any]:
    return {"verification": {"folders": [str(tmp_path)], "every_s": 0.02}}


@pytest.fixture
def world(small_wind_bundle: Path, told: dict[str, Any]) -> Iterator[World]:
    config = config_of(small_wind_bundle, **told)
    made = World(House(open_model(config), config))
    yield made
    made.house.close()


def analysis(hour: int, mean: float = 1.0) -> bytes:
    """What was true at an hour of the forecast's day: u wind on the fine grid."""
    return wind_message("10u", 0, mean=mean, dataTime=hour * 100)


def score(world: World, name: str, parameter: str = "10u") -> float:
    value = world.meters[-1].metrics.registry.get_sample_value(
        "downscaled_verification_score", {"parameter": parameter, "score": name}
    )
    assert value is not None
    return value


def counted(world: World, outcome: str) -> Callable[[int], bool]:
    told = world.meters[-1].metrics.registry.get_sample_value
    name = "downscaled_verification_steps_total"
    return lambda many: told(name, {"outcome": outcome}) == many


def expect_scores_of(world: World, service: Service, hours: tuple[int, ...]) -> None:
    """Wait for the scores of the forecast's steps at some hours, and compare them."""
    look_until(service, lambda: counted(world, "matched")(len(hours)))
    rows = area_weights(np.linspace(90, -90, SMALL.shape[0]))
    crps = []
    for step in (one for one in world.steps if one.key.minutes // 60 in hours):
        entries = [e for e in step.fields if e.names.parameter == "10u"]
        draws = np.stack([values(world.fields[e.id]) for e in entries])
        crps.append(fair_crps(draws, values(analysis(step.key.minutes // 60))).mean(-1) @ rows)
    assert score(world, "crps") == pytest.approx(np.mean(crps), rel=1e-3)
    assert score(world, "states") == len(hours)
    assert score(world, "gain") == pytest.approx(
        score(world, "crps") / score(world, "baseline_mae")
    )


def values(message: bytes) -> Any:
    with codes.opened(message) as handle:
        return handle.values().reshape(SMALL.shape).astype(np.float32)


def test_analyses_that_appear_in_a_folder_score_the_draws_of_their_time(
    world: World, told: dict[str, Any], tmp_path: Path
) -> None:
    with world.daemon(**told) as service:
        world.feed(forecast(**FIRST))
        drain(service)
        assert np.isnan(score(world, "crps"))
        path = tmp_path / "analyses.grib2"
        path.write_bytes(analysis(3) + b"no GRIB" + analysis(6))
        before = (world.clock.now() - timedelta(minutes=1)).timestamp()
        os.utime(path, (before, before))

        expect_scores_of(world, service, (3, 6))

        assert np.isnan(score(world, "crps", "10v"))
        service.stop(10)


def test_analyses_of_a_topic_may_come_before_the_forecast(
    world: World,
) -> None:
    told: dict[str, Any] = {"verification": {"topic": "analyses", "every_s": 0.02}}
    world.broker.create("analyses")
    world.open_analyses = lambda: MemoryBus(world.broker, ["analyses"], group_id="scores")
    records = [Outgoing("analyses", b"", value, ()) for value in (analysis(0), b"x", analysis(6))]
    world.broker.append(records)

    with world.daemon(**told) as service:
        world.feed(forecast(**FIRST))
        drain(service)

        expect_scores_of(world, service, (0, 6))
        service.stop(10)


@pytest.mark.kafka
def test_a_topic_on_a_real_broker_is_read_to_its_end_and_on(
    kafka_broker: Broker, small_wind_bundle: Path
) -> None:
    group = f"scores-{uuid.uuid4().hex[:8]}"
    topic = kafka_broker.create(group, 2)
    writer = kafka_broker.producer()
    for key, value in ((b"a", analysis(0)), (b"b", b"no GRIB"), (b"c", analysis(6))):
        writer.produce(topic, value, key)
    writer.flush()
    manifest = read_manifest(open_manifest(small_wind_bundle).grib)
    settings = kafka_broker.settings(group)
    since = datetime.now(UTC) - timedelta(hours=1)
    source = TopicSource(lambda: KafkaBus(settings, [topic]), manifest, since)

    found: list[int] = []
    while len(found) < 2:
        found += [entry.moment.valid_time.hour for entry in source.arrived(since)]
    writer.produce(topic, analysis(12), b"d")
    writer.flush()
    while len(found) < 3:
        found += [entry.moment.valid_time.hour for entry in source.arrived(since)]
    source.close()

    assert sorted(found) == [0, 6, 12]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "found folders and topic, or neither, wanted one of them"),
        ({"topic": "a", "folders": ["b"]}, "found folders and topic, or neither"),
        ({"topic": "a", "product": "mean"}, "verification.product: found mean, wanted one of"),
        ({"topic": "a", "limits": {"points": 0}}, "points: found 0, wanted more than 0"),
    ],
)
def test_a_verification_that_says_nothing_sound_is_refused(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        config_of("one", verification=settings)

    assert said in str(refused.value)
