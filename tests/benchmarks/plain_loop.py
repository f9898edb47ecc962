"""The peer that the daemon is compared with: a plain kafka-python loop on one thread.

It decodes, encodes as `bare.plain` does, and commits each step's fields, record and offsets in one
transaction. It regrids, draws, checks and reads back nothing, keeps no ledger, and would lose or
double steps that interleave.
"""

import json
import threading
from types import TracebackType
from typing import Any, Self

from streamer.bus import client
from streamer.bus.record import Commit
from streamer.bus.settings import BusSettings
from tests.benchmarks import bare

_POLL_MS = 100


class PlainLoop:
    """A loop on a thread of its own while the block lasts."""

    def __init__(self, settings: BusSettings, reads: str, writes: str) -> None:
        self._consumer = client.open_consumer(settings, in_group=True)
        self._producer = client.open_producer(settings, transactional=True)
        self._listener = client.Listener(self._start)
        self._reads, self._writes = reads, writes
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join(30)
        # Else it would ask us to give them back first.
        self._listener.held = []
        self._producer.close(timeout=1)
        self._consumer.close(autocommit=False, timeout_ms=1000)

    def _run(self) -> None:
        key = client.TopicPartition(self._reads, 0)
        self._consumer.subscribe(topics=[self._reads], listener=self._listener)
        client.look_up(self._consumer, [self._reads], 30.0)
        waiting: list[tuple[bytes, bytes]] = []
        while not self._is_over.is_set():
            for record in self._consumer.poll(_POLL_MS).get(key, ()):
                waiting.append((record.key, record.value))
                if len(waiting) == 2:
                    self._publish(key, waiting, record.offset + 1)
                    waiting.clear()

    def _start(self, assigned: list[Any]) -> None:
        for key in assigned:
            self._consumer.seek(key, 0)

    def _publish(self, key: object, step: list[tuple[bytes, bytes]], offset: int) -> None:
        producer, name = self._producer, step[0][0]
        producer.begin_transaction()
        made = bare.plain([value for _, value in step])
        for message in made:
            producer.send(self._writes, value=message, key=name)
        told = json.dumps({"fields": len(made), "key": name.decode()}).encode()
        headers = [("outcome", b"complete")]
        producer.send(f"{self._writes}.steps", value=told, key=name, headers=headers)
        producer.send_offsets_to_transaction(
            {key: client.offset_and_metadata(Commit(offset))}, self._consumer.group_metadata()
        )
        producer.commit_transaction()
