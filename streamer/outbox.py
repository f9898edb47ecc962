"""The thread that publishes: one transaction at a time, in the order they were prepared."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engines.errors import DownscaledError
from streamer.bus.record import Bus, Commit, Membership, Outgoing, Partition


@dataclass(frozen=True, slots=True, eq=False)
class Publication:
    """What one transaction writes, and what is committed with it.

    A publication concerns one partition, so that losing another never spoils it.
    epoch: of the partition's assignment; on_done: called by the loop after the commit.
    """

    partition: Partition
    epoch: int
    records: tuple[Outgoing, ...]
    commit: Commit
    membership: Membership
    on_done: Callable[[float], None]

    @property
    def size_bytes(self) -> int:
        """What waits in memory with it."""
        return sum(len(record.value) for record in self.records)

    def renewed(self, membership: Membership) -> "Publication":
        """Return the same publication under a newer proof of membership."""
        return replace(self, membership=membership)


@dataclass(frozen=True, slots=True)
class Published:
    """A publication that is committed, and the seconds that its transaction took."""

    publication: Publication
    seconds: float


@dataclass(frozen=True, slots=True)
class Halted:
    """A publication that was not committed, because it failed or because one before it did."""

    publication: Publication
    error: DownscaledError


Answer = Published | Halted


class Outbox:
    """Runs `Bus.publish` beside the loop, which prepares the next step meanwhile.

    Each commit contains the ones before it, so after a failure none may pass: every later
    publication comes back as `Halted` until the loop has called `recall` and decided.
    """

    def __init__(
        self,
        bus: Bus,
        wake: Callable[[], None],
        before: Callable[[Sequence[Outgoing]], None] = lambda _: None,
    ) -> None:
        """before: called with the records of every transaction, ahead of it, on our thread."""
        self._bus = bus
        self._before = before
        self._wake = wake
        self._waiting: queue.SimpleQueue[tuple[int, Publication] | None] = queue.SimpleQueue()
        # No SimpleQueue: its `get` with a timeout may wait for ever where the time is over at once.
        self._done: queue.Queue[Answer] = queue.Queue()
        self._unanswered = 0
        self._era = 0
        self._crash: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """How many publications are submitted and not yet taken by `finished`."""
        return self._unanswered

    def submit(self, publication: Publication) -> None:
        """Queue a publication behind the ones before it."""
        self._unanswered += 1
        self._waiting.put((self._era, publication))

    def finished(self, timeout_s: float = 0.0) -> list[Answer]:
        """Take what has ended, in order, waiting for a first answer at most `timeout_s`.

        Raises what killed the thread, if it is dead.
        """
        answers: list[Answer] = []
        while self._unanswered:
            try:
                answers.append(self._done.get(timeout=0 if answers else timeout_s))
            except queue.Empty:
                break
            self._unanswered -= 1
        if self._crash is not None and not answers:
            raise self._crash
        return answers

    def recall(self) -> list[Answer]:
        """After a `Halted`: take the rest of what was queued behind it, and be ready again."""
        answers: list[Answer] = []
        while self._unanswered and self._thread.is_alive():
            answers += self.finished(timeout_s=0.1)
        self._era += 1
        return answers

    def close(self, timeout_s: float) -> None:
        """End the thread after what is queued, or leave it behind when that takes too long."""
        self._waiting.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        failed: tuple[int, DownscaledError] | None = None
        try:
            while (item := self._waiting.get()) is not None:
                era, publication = item
                if failed is not None and failed[0] == era:
                    self._done.put(Halted(publication, failed[1]))
                    continue
                answer = self._publish(publication)
                if isinstance(answer, Halted):
                    failed = era, answer.error
                self._done.put(answer)
                self._wake()
        except BaseException as error:  # noqa: BLE001 - the loop raises it again
            self._crash = error
            self._wake()

    def _publish(self, publication: Publication) -> Answer:
        started = time.monotonic()
        try:
            self._before(publication.records)
            self._bus.publish(
                publication.records,
                {publication.partition: publication.commit},
                publication.membership,
            )
        except DownscaledError as error:
            return Halted(publication, error)
        return Published(publication, time.monotonic() - started)
