"""What a daemon needs of a cluster, and where a cluster falls short of it: all faults at once."""

from collections.abc import Iterator
from dataclasses import dataclass

from streamer.bus.settings import BusSettings
from streamer.bus.sizes import RESERVE_BYTES
from streamer.bus.topics import ClusterFacts, TopicFacts

#: Our note beside an offset may take this much, bytes: which offsets above it are closed.
_METADATA_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Requirements:
    """What the config and the bundle ask of the cluster.

    field_bytes: the largest field as it may be encoded. horizon_h: for how long a published step
    is remembered, which the steps topic must hold.
    """

    settings: BusSettings
    input_topic: str
    output_topic: str
    steps_topic: str
    dead_letter_topic: str
    field_bytes: int
    horizon_h: float


def faults(needs: Requirements, found: ClusterFacts) -> list[str]:
    """Return everything that would keep the daemon from working, each in one line."""
    return [
        *_topic_faults(needs, found),
        *_broker_faults(needs.settings, found),
        *found.denied,
    ]


def remarks(needs: Requirements, found: ClusterFacts) -> list[str]:
    """Return what works but may surprise."""
    told = []
    dead, taken = (
        _number(found.topics.get(topic), "max.message.bytes")
        for topic in (needs.dead_letter_topic, needs.input_topic)
    )
    if dead is not None and taken is not None and dead < taken:
        told.append(
            f"topic {needs.dead_letter_topic} takes {dead} bytes and {needs.input_topic} {taken}: "
            f"of larger dead letters only the digest is kept"
        )
    if needs.settings.instance in found.instances:
        told.append(
            f"instance {needs.settings.instance} is in group {needs.settings.group_id} now: "
            f"another daemon of this name would replace it"
        )
    return told


def _topic_faults(needs: Requirements, found: ClusterFacts) -> Iterator[str]:
    where = needs.settings.address
    uses = {
        needs.input_topic: "READ",
        needs.output_topic: "WRITE",
        needs.steps_topic: "WRITE READ",
        needs.dead_letter_topic: "WRITE",
    }
    for name, operations in uses.items():
        topic = found.topics.get(name)
        if topic is None:
            yield f"topic {name} does not exist at {where}, or may not be seen by us"
            continue
        yield from _right_faults(name, topic, operations)
        if "WRITE" in operations:
            yield from _writing_faults(name, topic)
    yield from _size_faults(needs, found)
    yield from _keeping_faults(needs, found)


def _right_faults(name: str, topic: TopicFacts, operations: str) -> Iterator[str]:
    if not topic.operations:
        return
    for operation in operations.split():
        if operation not in topic.operations:
            yield f"topic {name}: we may not {operation.lower()} it"


def _writing_faults(name: str, topic: TopicFacts) -> Iterator[str]:
    in_sync = _number(topic, "min.insync.replicas")
    if in_sync is not None and in_sync > topic.replicas:
        yield (
            f"topic {name}: min.insync.replicas is {in_sync}, but it has {topic.replicas} "
            f"replicas, so nothing can be written"
        )


def _size_faults(needs: Requirements, found: ClusterFacts) -> Iterator[str]:
    limit = _number(found.topics.get(needs.output_topic), "max.message.bytes")
    wanted = needs.field_bytes + RESERVE_BYTES
    if limit is not None and limit < wanted:
        yield (
            f"topic {needs.output_topic}: max.message.bytes is {limit}, a field with key and "
            f"headers may take {wanted}"
        )


def _keeping_faults(needs: Requirements, found: ClusterFacts) -> Iterator[str]:
    # All fields of a step have one key, and a step may have several records.
    for name in (needs.output_topic, needs.dead_letter_topic):
        if "compact" in _text(found.topics.get(name), "cleanup.policy"):
            yield (
                f"topic {name}: cleanup.policy is compact, which would keep only the last of "
                f"the records that share a key; wanted delete"
            )
    steps = found.topics.get(needs.steps_topic)
    if "delete" not in _text(steps, "cleanup.policy"):
        return
    kept_ms = _number(steps, "retention.ms")
    if kept_ms is not None and 0 <= kept_ms < needs.horizon_h * 3_600_000:
        yield (
            f"topic {needs.steps_topic}: retention.ms is {kept_ms} ({kept_ms / 3.6e6:g} h), "
            f"input.repeat_horizon_h is {needs.horizon_h:g} h: what was published would be "
            f"forgotten and published again"
        )
    kept_bytes = _number(steps, "retention.bytes")
    if kept_bytes is not None and kept_bytes >= 0:
        yield (
            f"topic {needs.steps_topic}: retention.bytes is {kept_bytes}, which may delete "
            f"records within input.repeat_horizon_h; wanted -1"
        )


def _broker_faults(settings: BusSettings, found: ClusterFacts) -> Iterator[str]:
    session_ms = round(settings.session_timeout_s * 1000)
    transaction_ms = round(settings.transaction_timeout_s * 1000)
    bounds = (
        ("offset.metadata.max.bytes", _METADATA_BYTES, "at least", "the closed set of offsets"),
        ("transaction.max.timeout.ms", transaction_ms, "at least", "bus.transaction_timeout_s"),
        ("group.max.session.timeout.ms", session_ms, "at least", "bus.session_timeout_s"),
        ("group.min.session.timeout.ms", session_ms, "at most", "bus.session_timeout_s"),
    )
    for name, ours, bound, why in bounds:
        text = found.broker.get(name)
        theirs = ours if text is None else int(text)
        if theirs < ours if bound == "at least" else theirs > ours:
            yield f"the broker's {name} is {theirs}, wanted {bound} {ours} for {why}"


def _number(topic: TopicFacts | None, name: str) -> int | None:
    text = _text(topic, name)
    return int(text) if text else None


def _text(topic: TopicFacts | None, name: str) -> str:
    return "" if topic is None else topic.configs.get(name) or ""
