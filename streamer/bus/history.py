"""Reads what a Kafka topic holds since a time, outside any group."""

import time
from collections.abc import Generator, Sequence
from typing import Any

from streamer.bus import client
from streamer.bus.record import BusError, Partition, Record
from streamer.bus.settings import BusSettings

_POLL_MS = 200


def read_history(
    settings: BusSettings, topic: str, since_ms: int
) -> Generator[Sequence[Record], None, None]:
    """Yield a topic's committed records since a time, up to the high watermark at the start.

    The watermark, not the last stable offset: another instance's open transaction hides records
    that are committed already, so we wait until it has ended. Yields an empty lot after every
    fifth of a second without a record. Raises BusError when a transaction stays open for longer
    than it may last, or the topic does not exist.
    """
    reader = client.open_consumer(settings, in_group=False)
    try:
        keys = _assign(reader, settings, topic, since_ms)
        ends: dict[Any, int] = {}
        quiet_since = time.monotonic()
        while any(_is_open(reader, key, ends) for key in keys):
            with client.translated(settings):
                found = reader.poll(timeout_ms=_POLL_MS)
            _note_ends(reader, keys, ends)
            lot = [record_of(r) for key in found for r in found[key] if r.offset < ends[key]]
            if lot:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > settings.transaction_timeout_s + 30:
                raise BusError(
                    f"topic {topic} at {settings.address} could not be read to its end: a "
                    f"transaction is open for longer than {settings.transaction_timeout_s:g} s"
                )
            yield [record for record in lot if record.timestamp_ms >= since_ms]
    finally:
        reader.close(autocommit=False)


def offset_at(consumer: Any, settings: BusSettings, partition: Partition, timestamp_ms: int) -> int:
    """Return the first offset not older than a time, or the end where there is none."""
    key = client.TopicPartition(partition.topic, partition.number)
    with client.translated(settings):
        found = consumer.offsets_for_times({key: timestamp_ms}).get(key)
        return int(consumer.end_offsets([key])[key] if found is None else found.offset)


def timestamp_at(
    reader: Any, settings: BusSettings, partition: Partition, offset: int
) -> int | None:
    """Return the time of the first committed record from `offset` on, None where there is none.

    reader: outside any group; what it is assigned is changed.
    """
    key = client.TopicPartition(partition.topic, partition.number)
    with client.translated(settings):
        end = int(reader.end_offsets([key])[key])
        first = int(reader.beginning_offsets([key])[key])
        reader.assign([key])
        reader.seek(key, max(offset, first))
        deadline = time.monotonic() + settings.request_timeout_s
        while reader.position(key) < end and time.monotonic() < deadline:
            for record in reader.poll(timeout_ms=_POLL_MS, max_records=1).get(key, ()):
                reader.unsubscribe()
                return int(record.timestamp)
        reader.unsubscribe()
    return None


def record_of(found: Any) -> Record:
    """Make our record of the client's."""
    return Record(
        Partition(found.topic, found.partition),
        found.offset,
        found.key,
        found.value or b"",
        tuple((name, value or b"") for name, value in found.headers),
        found.timestamp,
    )


def _assign(reader: Any, settings: BusSettings, topic: str, since_ms: int) -> list[Any]:
    with client.translated(settings):
        numbers = sorted(reader.partitions_for_topic(topic))
    if not numbers:
        raise BusError(f"topic {topic} does not exist at {settings.address}")
    keys = [client.TopicPartition(topic, number) for number in numbers]
    reader.assign(keys)
    for key in keys:
        reader.seek(key, offset_at(reader, settings, Partition(*key), since_ms))
    return keys


def _note_ends(reader: Any, keys: list[Any], ends: dict[Any, int]) -> None:
    for key in keys:
        watermark = reader.highwater(key)
        if key not in ends and watermark is not None:
            ends[key] = int(watermark)


def _is_open(reader: Any, key: Any, ends: dict[Any, int]) -> bool:
    return key not in ends or int(reader.position(key)) < ends[key]
