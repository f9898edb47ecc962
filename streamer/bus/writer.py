"""Writes records to one Kafka topic without a transaction: what fills the input topic."""

from collections import deque
from types import TracebackType
from typing import Any, Self

from streamer.bus import client
from streamer.bus.record import BusError, Outgoing
from streamer.bus.settings import BusSettings
from streamer.bus.sizes import size_bytes, too_large_text
from streamer.bus.topics import limits


class Writer:
    """An idempotent producer for one topic, bounded in bytes.

    Raises BusError when no broker answers or the topic does not exist.
    """

    def __init__(self, settings: BusSettings, topic: str) -> None:
        self._settings = settings
        self._limit_bytes = limits(settings, [topic])[topic]
        self._producer: Any = client.open_producer(settings, transactional=False)
        self._sent: deque[tuple[Any, int]] = deque()
        self._under_way = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        client.close_producer(self._producer)

    def write(self, record: Outgoing) -> None:
        """Send one record. Raises BusError when it, or one before it, was not taken.

        One that is too large is refused here: it would spoil the producer for all others.
        """
        size = size_bytes(record)
        if size > self._limit_bytes:
            raise BusError(too_large_text(record.topic, size, self._limit_bytes))
        while self._sent and self._under_way + size > self._settings.max_in_flight_bytes:
            self._settle_oldest()
        with client.translated(self._settings):
            sent = self._producer.send(
                record.topic, value=record.value, key=record.key, headers=list(record.headers)
            )
        self._sent.append((sent, size))
        self._under_way += size

    def flush(self) -> None:
        """Wait until the broker has everything. Raises BusError for what it did not take."""
        while self._sent:
            self._settle_oldest()

    def _settle_oldest(self) -> None:
        oldest, size = self._sent.popleft()
        self._under_way -= size
        with client.translated(self._settings):
            oldest.get(timeout=self._settings.request_timeout_s)
