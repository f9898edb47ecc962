"""Daemons on a real Apache Kafka die at every point of a step's way, and nothing shows it.

What is read back is read with a client that is not ours, and compared with what one undisturbed
daemon published from the same input on the bus in memory.
"""

import os
import random
import signal

import pytest

from tests.end_to_end.mortal import POINTS
from tests.end_to_end.scenes import Daemons, Input, Published, Scene, same

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]

KILLS = 20
#: A quarter of the daemons die while they start, the others at work: each after a random time
#: that is no longer than this, and the latter after some steps.
START_S, WORK_S, STEPS_AT_WORK = 2.0, 0.5, 4


def test_kill_9_at_any_point_loses_nothing_and_doubles_nothing(
    scene: Scene, nursery: Daemons, given: Input, undisturbed: Published
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
