"""What a cluster must offer: each shortcoming is one line, and all come at once."""

import re
from dataclasses import replace

import pytest

from streamer.bus.requirements import Requirements, faults, remarks
from streamer.bus.settings import BusSettings
from streamer.bus.topics import ClusterFacts, TopicFacts

ALL = frozenset({"READ", "WRITE", "DESCRIBE"})
CONFIGS = {
    "max.message.bytes": "1048588",
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "min.insync.replicas": "1",
}
NEEDS = Requirements(
    BusSettings(("broker:9092",), "wind", "one"), "in", "out", "steps", "dead", 132_000, 48.0
)
SOUND = ClusterFacts(
    {name: TopicFacts(3, 1, ALL, CONFIGS) for name in ("in", "out", "steps", "dead")}
)


def with_topic(name: str, **changes: str) -> ClusterFacts:
    changed = {key.replace("_", "."): value for key, value in changes.items()}
    topic = replace(SOUND.topics[name], configs={**CONFIGS, **changed})
    return replace(SOUND, topics={**SOUND.topics, name: topic})


def test_a_sound_cluster_has_no_faults() -> None:
    assert faults(NEEDS, SOUND) == []
    assert remarks(NEEDS, SOUND) == []


def test_every_missing_topic_is_named_at_once() -> None:
    told = faults(NEEDS, ClusterFacts({}))

    assert [line.split(" does not exist")[0] for line in told] == [
        "topic in",
        "topic out",
        "topic steps",
        "topic dead",
    ]


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (with_topic("out", max_message_bytes="100000"), "may take 136096"),
        (with_topic("out", cleanup_policy="compact"), "topic out: cleanup.policy is compact"),
        (with_topic("dead", cleanup_policy="compact,delete"), "topic dead: cleanup.policy"),
        (with_topic("steps", retention_ms="86400000"), r"86400000 \(24 h\).*is 48 h"),
        (with_topic("steps", retention_bytes="1000"), "retention.bytes is 1000"),
        (with_topic("out", min_insync_replicas="2"), "min.insync.replicas is 2.* 1 replicas"),
        (
            replace(SOUND, broker={"offset.metadata.max.bytes": "1024"}),
            "1024, wanted at least 4096",
        ),
        (replace(SOUND, broker={"transaction.max.timeout.ms": "30000"}), "at least 60000"),
        (replace(SOUND, broker={"group.min.session.timeout.ms": "20000"}), "at most 10000"),
        (replace(SOUND, denied=("transactional id wind.one may not be used by us",)), "wind.one"),
    ],
)
def test_each_shortcoming_is_told_alone(found: ClusterFacts, fault: str) -> None:
    [line] = faults(NEEDS, found)

    assert re.search(fault, line)


def test_a_topic_that_we_may_not_write_is_told_with_the_right_that_is_missing() -> None:
    topic = replace(SOUND.topics["steps"], operations=frozenset({"DESCRIBE"}))

    told = faults(NEEDS, replace(SOUND, topics={**SOUND.topics, "steps": topic}))

    assert told == ["topic steps: we may not write it", "topic steps: we may not read it"]


def test_a_compacted_steps_topic_forgets_nothing() -> None:
    assert faults(NEEDS, with_topic("steps", cleanup_policy="compact", retention_ms="1")) == []


def test_small_dead_letters_and_a_namesake_at_work_are_remarked() -> None:
    found = replace(with_topic("dead", max_message_bytes="1000"), instances=frozenset({"one"}))

    told = remarks(NEEDS, found)

    assert "only the digest is kept" in told[0]
    assert "instance one is in group wind now" in told[1]
