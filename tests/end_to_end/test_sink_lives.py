"""Sinks on a real Apache Kafka that are killed at any line: no gap, no torn file, no loss."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.end_to_end.sinks import Sinks, Stage, finished, undisturbed
from tests.kafka_broker import Broker
from tests.published import RUN, Published, publish_step

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

MEMBERS, MINUTES = range(3), (0, 180, 360, 540)


def forecast() -> list[Published]:
    """Steps of several members, as they finish: out of order, precipitation from the second on."""
    steps = [
        publish_step(
            minutes,
            replace(RUN, member=member),
            parameters=("10u", "tp") if minutes else ("10u",),
            statistics=("mean",),
        )
        for member in MEMBERS
        for minutes in MINUTES
    ]
    random.Random(1).shuffle(steps)
    return steps


@pytest.fixture
def stage(kafka_broker: Broker, tmp_path: Path) -> Stage:
    return Stage(kafka_broker, tmp_path)


@pytest.fixture
def nursery(stage: Stage) -> Iterator[Sinks]:
    nursery = Sinks(stage)
    yield nursery
    nursery.close()


def refuse_torn(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    """Assert that all that a reader sees is as it is to be in the end."""
    for name, value in found.items():
        assert value == wanted[name], name


def refuse_untrue_flags(folder: Path, steps: list[Published]) -> None:
    """Assert that a store's step that says it is complete is."""
    for step in steps:
        key = step.record.key
        store = folder / f"ecmf/ifs/201810080000/{key.run.member}/draws.zarr"
        if not store.exists():
            continue
        data = xr.open_dataset(store, engine="zarr", consolidated=False).sel(step=key.hours)
        if data.complete:
            np.testing.assert_allclose(data.u10.values, step.values[:2], atol=1e-3)


def test_a_sink_killed_at_every_point_of_its_way_leaves_neither_gap_nor_torn_file(
    stage: Stage, nursery: Sinks, tmp_path: Path
) -> None:
    steps = forecast()
    wanted = undisturbed(steps, tmp_path / "wanted")
    deaths = [
        ("sync", 1), ("synced", 2), ("rename", 1), ("renamed", 1), ("store founded", 1),
        ("offsets", 1), ("commit", 1), ("commit known", 1), ("rename", 4), ("renamed", 7),
        ("synced", 15), ("sync", 20),
    ]  # fmt: skip

    for (point, count), step in zip(deaths, steps, strict=True):
        stage.publish(publish_step(180, seed=9), is_aborted=True)
        stage.publish(step)
        nursery.start(point, count)
        assert nursery.end() == -signal.SIGKILL, stage.log.read_text()[-3000:]
        refuse_torn(finished(stage.output), wanted)
        refuse_untrue_flags(stage.output, steps)

    nursery.start()
    stage.wait_for(lambda: finished(stage.output) == wanted and stage.is_all_committed())
    assert nursery.stop() == 0
    assert "Traceback" not in stage.log.read_text()


def test_a_sink_killed_at_random_moments_while_steps_come_leaves_no_gap(
    stage: Stage, nursery: Sinks, tmp_path: Path
) -> None:
    steps = forecast()
    wanted = undisturbed(steps, tmp_path / "wanted")
    chance = random.Random(time.time_ns())
    pauses = [chance.uniform(0.1, 0.8) for _ in steps]

    def publish() -> None:
        for step, pause in zip(steps, pauses, strict=True):
            time.sleep(pause)
            stage.publish(step)

    publisher = threading.Thread(target=publish)
    publisher.start()
    lives = 0
    while publisher.is_alive() or lives < 8:
        lives += 1
        nursery.start()
        time.sleep(chance.uniform(0.2, 1.8))
        nursery.kill()
        refuse_torn(finished(stage.output), wanted)
        refuse_untrue_flags(stage.output, steps)
    publisher.join()

    nursery.start()
    stage.wait_for(lambda: finished(stage.output) == wanted and stage.is_all_committed())
    assert nursery.stop() == 0
    print(f"killed {lives} times at random")


def test_two_sinks_share_the_work_and_one_takes_over_when_the_other_dies(
    stage: Stage, nursery: Sinks, tmp_path: Path
) -> None:
    steps = forecast()
    wanted = undisturbed(steps, tmp_path / "wanted")
    other = Sinks(stage)
    try:
        nursery.start(instance="one")
        other.start(instance="two")
        for step in steps[:6]:
            stage.publish(step)
        stage.wait_for(lambda: len(finished(stage.output)) > 0)

        other.kill()
        for step in steps[6:]:
            stage.publish(step)
        stage.wait_for(lambda: finished(stage.output) == wanted and stage.is_all_committed())

        assert nursery.stop() == 0
    finally:
        other.close()
