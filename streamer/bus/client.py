"""The only module that imports the Kafka client: makes its parts from our settings.

kafka-python 3 has transactions, consumer groups with static members and TLS without a compiler.
What its use rests on, and its documentation does not say, stands beside the lines that need it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import kafka
import kafka.errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.coordinator.assignors.range import RangePartitionAssignor

from streamer.bus.complaints import Complaints
from streamer.bus.record import BusError, Commit, Fenced, Partition, Replaced
from streamer.bus.security import security_options
from streamer.bus.settings import BusSettings

#: Larger than any record that a broker takes; the topic's own limit is what we check.
_REQUEST_BYTES = 256 * 2**20
#: A transaction's fields to one partition leave in one request; a broker's usual limit is 1 MiB.
_BATCH_BYTES = 1_000_000
_RETRY_MS = 10
_SECOND_MS = 1000

KafkaError = kafka_errors.KafkaError
OffsetOutOfRange = kafka_errors.OffsetOutOfRangeError
NotAuthorized = kafka_errors.AuthorizationError
# A fresh broker has no coordinator of groups and transactions until somebody has asked for it.
NoCoordinator = kafka_errors.CoordinatorNotAvailableError
TopicPartition = kafka.TopicPartition


class GiveBack(BaseException):
    """Carries partitions that are being taken from us out of the client's own thread.

    The client calls its listener on the thread that sends heartbeats, where nothing may wait.
    An exception that is no `Exception` passes through it unlogged, ends this attempt to rejoin,
    and reaches the polling thread, which lets go in its own time and polls again.
    """

    def __init__(self, partitions: list[Partition], *, is_lost: bool) -> None:
        super().__init__("partitions are to be given back")
        self.partitions = partitions
        self.is_lost = is_lost


class Listener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what the group gives and takes; see `GiveBack` for how it tells."""

    def __init__(self, assigned: Callable[[list[Any]], None]) -> None:
        self.held: list[Partition] = []
        self._assigned = assigned

    def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Stop the rejoining until the polling thread has let go."""
        if self.held:
            raise GiveBack(self.held, is_lost=False)

    def on_partitions_lost(self, lost: set[Any]) -> None:
        """Stop the rejoining until the polling thread has forgotten."""
        if self.held:
            raise GiveBack(self.held, is_lost=True)

    def on_partitions_assigned(self, assigned: set[Any]) -> None:
        """Pass on what is ours now; asking the broker anything is not possible here."""
        self.held = [Partition(*tp) for tp in sorted(assigned)]
        self._assigned(sorted(assigned))


def open_consumer(settings: BusSettings, *, in_group: bool) -> Any:
    """Connect a consumer of committed records that commits nothing by itself.

    in_group: a static member of our group; else a reader that partitions are assigned to by hand.
    """
    membership = dict[str, Any](
        group_id=settings.group_id,
        group_instance_id=settings.instance,
        session_timeout_ms=round(settings.session_timeout_s * _SECOND_MS),
        heartbeat_interval_ms=round(settings.session_timeout_s * _SECOND_MS / 5),
        max_poll_interval_ms=round(settings.max_poll_interval_s * _SECOND_MS),
        # Everything is given back before anything is dealt out: the simplest to be right about.
        # A class, since an assignor object holds state and must not be shared.
        partition_assignment_strategy=[RangePartitionAssignor],
    )
    with translated(settings):
        return kafka.KafkaConsumer(
            **_connection(settings),
            **(membership if in_group else {}),
            # Only then does the client ask for stable offsets, too (not those of a transaction
            # that is still open).
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            metrics_enabled=False,
            fetch_max_bytes=settings.fetch_max_bytes,
            max_partition_fetch_bytes=settings.fetch_max_bytes,
            fetch_max_wait_ms=500 if in_group else 100,
        )


def open_producer(settings: BusSettings, *, transactional: bool) -> Any:
    """Connect a producer; a transactional one has ended whatever its predecessor left open."""
    ours = {"transactional_id": settings.transactional_id} if transactional else {}
    with translated(settings):
        producer = kafka.KafkaProducer(
            **_connection(settings),
            **ours,
            transaction_timeout_ms=round(settings.transaction_timeout_s * _SECOND_MS),
            max_block_ms=round(settings.request_timeout_s * _SECOND_MS),
            delivery_timeout_ms=round(settings.request_timeout_s * 2 * _SECOND_MS),
            # GRIB is compressed already.
            compression_type=None,
            linger_ms=0,
            # A transaction that begins while the last one's markers are written is asked to wait;
            # the default of 100 ms was half of all its time.
            retry_backoff_ms=_RETRY_MS,
            batch_size=_BATCH_BYTES,
            max_request_size=_REQUEST_BYTES,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            acks="all",
        )
        if transactional:
            try:
                producer.init_transactions()
            except BaseException:
                abandon(producer)
                raise
    return producer


def close_producer(producer: Any) -> None:
    """Close a producer that has nothing under way, or that may lose what it has."""
    try:
        producer.close(timeout=1)
    except KafkaError:
        abandon(producer)


def abandon(producer: Any) -> None:
    """Stop a producer that cannot finish what it began; its transaction is left to be fenced.

    Its own `close` waits for the broker or raises, and leaves a thread that tries for ever.
    """
    producer._unregister_cleanup()  # noqa: SLF001
    producer._sender.force_close()  # noqa: SLF001
    producer._closed = True  # noqa: SLF001


def look_up(consumer: Any, topics: Sequence[str], patience_s: float) -> None:
    """Let a consumer learn its topics' partitions, which a topic just made may not have yet.

    Who joins a group before it knows them deals out nothing, and finds out much later.
    """
    deadline = time.monotonic() + patience_s
    for topic in topics:
        while not consumer.partitions_for_topic(topic) and time.monotonic() < deadline:
            time.sleep(_RETRY_MS / _SECOND_MS)


def open_admin(settings: BusSettings) -> Any:
    """Connect an administrator: one that asks about topics."""
    with translated(settings):
        return kafka.KafkaAdminClient(**_connection(settings))


def topic_configs(admin: Any, topics: list[str]) -> dict[str, dict[str, str]]:
    """Ask for all settings of topics, by topic and name. Raises the client's errors."""
    wanted = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    return _configs(admin, wanted, "topic")


def broker_configs(admin: Any) -> dict[str, str]:
    """Ask for all settings of one broker, by name. Raises the client's errors."""
    node = str(admin.describe_cluster()["brokers"][0]["broker_id"])
    return _configs(admin, [ConfigResource(ConfigResourceType.BROKER, node)], "broker")[node]


def describe_transaction(admin: Any, transactional_id: str) -> None:
    """Ask for the state of a transactional id; unknown ones are fine. Raises the client's errors.

    Opening a producer would tell more, and would fence the daemon that runs under this name.
    """
    with suppress(kafka_errors.TransactionalIdNotFoundError, NoCoordinator):
        admin.describe_transactions([transactional_id])


def is_fenced(consumer: Any) -> bool:
    """Whether another member took our name; the client only logs it, and heartbeats no more."""
    coordinator = consumer._coordinator  # noqa: SLF001 - there is no public way to know
    is_beating = coordinator._heartbeat_enabled  # noqa: SLF001
    return bool(coordinator.stable() and not coordinator.need_rejoin() and not is_beating)


def offset_and_metadata(commit: Commit) -> Any:
    """Make what the client commits. Without a leader epoch of -1 it would retry for ever."""
    return kafka.OffsetAndMetadata(commit.next_offset, commit.metadata, -1)


@contextmanager
def translated(settings: BusSettings) -> Iterator[None]:
    """Turn the client's errors into ours, naming the broker."""
    try:
        yield
    except (kafka_errors.FencedInstanceIdError, kafka_errors.ProducerFencedError) as error:
        raise Replaced(settings.group_id, settings.instance) from error
    except kafka_errors.CommitFailedError as error:
        raise Fenced(
            f"group {settings.group_id}: the partitions were dealt out anew after instance "
            f"{settings.instance} prepared this work; nothing was written"
        ) from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise BusError(_in_words(error, settings)) from error


@cache
def _complaints() -> Complaints:
    return Complaints()


def _in_words(error: Exception, settings: BusSettings) -> str:
    text = f"{type(error).__name__}: {error}".strip(": ")
    cause = _complaints().cause
    if isinstance(error, kafka_errors.KafkaTimeoutError) and "Authentication" in cause:
        return f"the broker at {settings.address} does not let us in: {cause}"
    if isinstance(error, kafka_errors.KafkaTimeoutError) and "disconnected" in cause:
        return (
            f"the broker at {settings.address} hangs up on us: its listener has another protocol "
            f"than {settings.security.protocol}, or it does not take our password ({cause})"
        )
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
        return f"the broker at {settings.address} does not let us in: {text}"
    if isinstance(error, kafka_errors.AuthorizationError):
        return f"the broker at {settings.address} does not allow this: {text}"
    if isinstance(error, kafka_errors.KafkaTimeoutError):
        return f"no answer from a broker at {settings.address}: {cause or text}"
    return f"broker at {settings.address}: {text}"


def _configs(admin: Any, wanted: list[Any], kind: str) -> dict[str, dict[str, str]]:
    found = admin.describe_configs(wanted, config_filter="all")[kind]
    return {
        name: {key: value["value"] for key, value in entries.items()}
        for name, entries in found.items()
    }


def _connection(settings: BusSettings) -> dict[str, Any]:
    _complaints().listen("kafka")
    _complaints().cause = ""
    return {
        "bootstrap_servers": list(settings.bootstrap_servers),
        "client_id": f"downscaled-{settings.instance}",
        "bootstrap_timeout_ms": round(settings.connect_timeout_s * _SECOND_MS),
        "request_timeout_ms": round(settings.request_timeout_s * _SECOND_MS),
        "reconnect_backoff_max_ms": 2000,
        # How soon new partitions are noticed; the default is five minutes.
        "metadata_max_age_ms": 30_000,
        **security_options(settings.security),
    }
