"""What a Kafka cluster says about topics: which there are, and what they take."""

from collections.abc import Sequence
from typing import Any

from streamer.bus import client
from streamer.bus.record import BusError
from streamer.bus.settings import BusSettings

#: What a broker takes unless told otherwise, where we may not ask it.
_KAFKA_DEFAULT_BYTES = 1_048_588


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
    try:
        found = client.topic_configs(admin, topics)
    except client.NotAuthorized:
        found = {}
    unknown = {"max.message.bytes": str(_KAFKA_DEFAULT_BYTES)}
    return {t: int(found.get(t, unknown)["max.message.bytes"]) for t in topics}
