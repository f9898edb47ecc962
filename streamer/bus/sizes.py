"""How large a record is to a topic, for every bus alike."""

from streamer.bus.record import Outgoing

#: What a batch, a key and headers may take of a topic's limit, bytes; a field needs about 1.5 KB.
RESERVE_BYTES = 4096


def size_bytes(record: Outgoing) -> int:
    """Return what a record takes of its topic's limit, a batch of its own included, from above."""
    headers = sum(len(name.encode()) + len(value) + 10 for name, value in record.headers)
    return 61 + 40 + len(record.key or b"") + len(record.value) + headers


def too_large_text(topic: str, size: int, limit: int) -> str:
    """Say that a record does not fit its topic."""
    return (
        f"a record of {size} bytes is above the limit of topic {topic}, {limit} bytes "
        f"(`max.message.bytes`); nothing was written"
    )
