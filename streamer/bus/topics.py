"""What a Kafka cluster says about topics: which there are, and what they take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamer.bus import client
from streamer.bus.record import BusError
from streamer.bus.settings import BusSettings

#: What a broker takes unless told otherwise, where we may not ask it.
_KAFKA_DEFAULT_BYTES = 1_048_588


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the cluster describes it.

    replicas: of the partition that has the fewest. operations: what we may do, in Kafka's words.
    configs: its settings by name; empty where we may not ask for them.
    """

    partitions: int
    replicas: int
    operations: frozenset[str]
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What a cluster says about us.

    topics: those that exist and we may see. broker: one broker's settings, empty where we may not
    ask. instances: the names that are in our group now. denied: what else we may not do, in words.
    """

    topics: Mapping[str, TopicFacts]
    broker: Mapping[str, str] = field(default_factory=dict)
    instances: frozenset[str] = frozenset()
    denied: Sequence[str] = ()


def ask(settings: BusSettings, topics: Sequence[str]) -> ClusterFacts:
    """Ask a cluster about topics and about ourselves, changing nothing and fencing nobody.

    Raises BusError when no broker answers or lets us in.
    """
    admin = client.open_admin(settings)
    try:
        with client.translated(settings):
            denied: list[str] = []
            return ClusterFacts(
                _topics(admin, topics),
                _broker(admin),
                _instances(admin, settings, denied),
                [*denied, *_denied_transactions(admin, settings)],
            )
    finally:
        admin.close()


def limits(settings: BusSettings, topics: Sequence[str]) -> dict[str, int]:
    """Return each topic's `max.message.bytes`. Raises BusError naming every missing topic."""
    wanted = sorted(set(topics))
    admin = client.open_admin(settings)
    try:
        with client.translated(settings):
            missing = sorted(set(wanted) - set(admin.list_topics()))
            if missing:
                raise BusError(missing_text(missing, settings))
            return _limits(admin, wanted)
    finally:
        admin.close()


def missing_text(missing: Sequence[str], settings: BusSettings) -> str:
    """Say which topics do not exist."""
    names = ", ".join(missing)
    plural = "topics do" if len(missing) > 1 else "topic does"
    return f"{plural} not exist at {settings.address}, or may not be seen by us: {names}"


def _limits(admin: Any, topics: list[str]) -> dict[str, int]:
    found = _configs(admin, topics)
    unknown = {"max.message.bytes": str(_KAFKA_DEFAULT_BYTES)}
    return {t: int((found.get(t) or unknown)["max.message.bytes"]) for t in topics}


def _configs(admin: Any, topics: list[str]) -> dict[str, dict[str, str]]:
    try:
        return client.topic_configs(admin, topics) if topics else {}
    except client.NotAuthorized:
        return {}


def _topics(admin: Any, topics: Sequence[str]) -> dict[str, TopicFacts]:
    there = [t for t in admin.describe_topics(list(topics)) if not t["error_code"]]
    configs = _configs(admin, [topic["name"] for topic in there])
    return {
        topic["name"]: TopicFacts(
            len(topic["partitions"]),
            min(len(p["replica_nodes"]) for p in topic["partitions"]),
            frozenset(topic.get("authorized_operations") or ()),
            configs.get(topic["name"], {}),
        )
        for topic in there
    }


def _broker(admin: Any) -> dict[str, str]:
    try:
        return client.broker_configs(admin)
    except client.NotAuthorized:
        return {}


def _instances(admin: Any, settings: BusSettings, denied: list[str]) -> frozenset[str]:
    try:
        group = admin.describe_groups([settings.group_id])[settings.group_id]
    except client.NotAuthorized:
        denied.append(f"group {settings.group_id} may not be read by us")
        return frozenset()
    except client.NoCoordinator:
        return frozenset()
    operations = group.get("authorized_operations")
    if operations and "READ" not in operations:
        denied.append(f"group {settings.group_id} may not be read by us")
    return frozenset(m["group_instance_id"] for m in group["members"] if m["group_instance_id"])


def _denied_transactions(admin: Any, settings: BusSettings) -> list[str]:
    try:
        client.describe_transaction(admin, settings.transactional_id)
    except client.NotAuthorized:
        return [f"transactional id {settings.transactional_id} may not be used by us"]
    return []
