"""Writes records and offsets to Kafka, each lot in one transaction."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from streamer.bus import client
from streamer.bus.record import (
    BusError,
    Commit,
    Fenced,
    Membership,
    Outgoing,
    Partition,
    Uncertain,
)
from streamer.bus.settings import BusSettings


class Publisher:
    """A transactional producer that is bounded in time and bytes, and heals after an error.

    Belongs to one thread. The transactional id is our instance's, so that a restart ends what
    was left open at once, instead of leaving readers to wait for the broker's timeout.
    """

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._producer: Any = client.open_producer(settings, transactional=True)
        self._worker = _Worker()

    def publish(
        self,
        records: Sequence[Outgoing],
        commits: Mapping[Partition, Commit],
        membership: Membership,
    ) -> None:
        """Write records and commits in one transaction; see `Bus.publish`."""
        attempt = Attempt()
        try:
            with client.translated(self._settings):
                self._bounded(
                    lambda: self._transact(records, commits, membership.token, attempt),
                    self._settings.transaction_timeout_s,
                )
        except BusError as error:
            if not attempt.give_up() and not isinstance(error, Fenced):
                raise Uncertain(
                    f"the end of a transaction of {len(records)} records was asked for and not "
                    f"confirmed; only a restart can read whether it happened: {error}"
                ) from error
            self._abort()
            raise

    def close(self) -> None:
        """Let go of the connection; a transaction that is under way is left to its timeout."""
        self._worker.stop()
        if self._producer is not None:
            client.close_producer(self._producer)

    def _transact(
        self,
        records: Sequence[Outgoing],
        commits: Mapping[Partition, Commit],
        token: object,
        attempt: "Attempt",
    ) -> None:
        if self._producer is None:
            self._producer = client.open_producer(self._settings, transactional=True)
        producer = self._producer
        producer.begin_transaction()
        sent = self._send(producer, records)
        if commits:
            offsets = {
                client.TopicPartition(p.topic, p.number): client.offset_and_metadata(c)
                for p, c in commits.items()
            }
            producer.send_offsets_to_transaction(offsets, token)
        for future, _ in sent:
            future.get(timeout=self._settings.request_timeout_s)
        attempt.begin_commit()
        producer.commit_transaction()

    def _send(self, producer: Any, records: Sequence[Outgoing]) -> deque[tuple[Any, int]]:
        # The client queues without limit, so we count what it has not got rid of yet.
        sent: deque[tuple[Any, int]] = deque()
        under_way = 0
        for record in records:
            size = len(record.value)
            while sent and under_way + size > self._settings.max_in_flight_bytes:
                oldest, gone = sent.popleft()
                oldest.get(timeout=self._settings.request_timeout_s)
                under_way -= gone
            future = producer.send(
                record.topic, value=record.value, key=record.key, headers=list(record.headers)
            )
            sent.append((future, size))
            under_way += size
        return sent

    def _abort(self) -> None:
        # What does not abort in time is left behind: opening the next producer ends it.
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            self._bounded(producer.abort_transaction, self._settings.request_timeout_s / 3)
            self._producer = producer
        except (BusError, client.KafkaError):
            client.abandon(producer)

    def _bounded(self, call: Callable[[], None], limit_s: float) -> None:
        # The client's waits for the end of a transaction have no limit of their own.
        try:
            self._worker.submit(call).result(timeout=limit_s)
        except TimeoutError as error:
            self._worker.stop()
            self._worker = _Worker()
            raise BusError(
                f"no answer from a broker at {self._settings.address} within {limit_s:g} s"
            ) from error


class Attempt:
    """Decides between two threads whether a transaction may still be committed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_committing = self._is_given_up = False

    def begin_commit(self) -> None:
        """Pass the point of no return. Raises BusError when nobody waits for it any more."""
        with self._lock:
            if self._is_given_up:
                raise BusError("this transaction was given up")
            self._is_committing = True

    def give_up(self) -> bool:
        """Forbid the commit; False when it is too late for that."""
        with self._lock:
            self._is_given_up = not self._is_committing
            return self._is_given_up


class _Worker:
    """A thread that may be left behind: it does not keep the process from ending."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], None], Future[None]] | None]
        self._calls = queue.SimpleQueue()
        threading.Thread(target=self._run, name="transaction", daemon=True).start()

    def submit(self, call: Callable[[], None]) -> "Future[None]":
        """Run a call on the thread."""
        future: Future[None] = Future()
        self._calls.put((call, future))
        return future

    def stop(self) -> None:
        """End the thread after what it is doing."""
        self._calls.put(None)

    def _run(self) -> None:
        while (job := self._calls.get()) is not None:
            call, future = job
            try:
                call()
            except Exception as error:  # noqa: BLE001 - handed over whole to the thread that waits
                future.set_exception(error)
            else:
                future.set_result(None)
