"""Other clients read what the bus wrote, committed only: kcat, confluent-kafka and grib_ls."""

import subprocess
import uuid
from pathlib import Path

import pytest

from streamer.bus.kafka import KafkaBus
from streamer.bus.partitioner import partition_of
from streamer.bus.record import Commit, Fenced, Membership, Outgoing, Partition
from tests.conftest import require_tool
from tests.kafka_broker import Broker
from tests.wind import wind_message

pytestmark = pytest.mark.kafka

KEYS = [f"kwbc/gfs/-/2018100{day}1800/0/6".encode() for day in range(1, 9)]


@pytest.fixture(scope="module")
def written(kafka_broker: Broker) -> tuple[Broker, str]:
    """A topic with two committed transactions, and one between them that came to nothing."""
    group = f"group-{uuid.uuid4().hex[:8]}"
    source = kafka_broker.create(f"in-{group}")
    topic = kafka_broker.create(f"out-{group}", 3)
    bus = KafkaBus(kafka_broker.settings(group), [source], writes=[topic])
    while not bus.poll(1).assigned:
        pass
    membership = bus.membership()
    first, second = ([_field(topic, key, name) for key in KEYS] for name in ("10u", "10v"))
    bus.publish(first, {}, membership)
    stale = membership.token._replace(generation_id=99)  # type: ignore[attr-defined]
    with pytest.raises(Fenced):
        bus.publish(
            [Outgoing(topic, key, b"never") for key in KEYS],
            {Partition(source, 0): Commit(9)},
            Membership(stale),
        )
    bus.publish(second, {}, membership)
    bus.close()
    return kafka_broker, topic


def test_kcat_reads_committed_keys_and_headers_from_the_partitions_that_keys_tell(
    written: tuple[Broker, str],
) -> None:
    broker, topic = written

    options = ("-e", "-f", "%p %k %h\n", "-X", "isolation.level=read_committed")
    lines = _kcat(broker, "-C", "-t", topic, *options).decode().splitlines()

    assert sorted(lines) == sorted(
        f"{partition_of(key, 3)} {key.decode()} parameter={name}"
        for key in KEYS
        for name in ("10u", "10v")
    )


def test_confluent_reads_every_committed_byte_and_nothing_else(
    written: tuple[Broker, str],
) -> None:
    broker, topic = written

    found = {(m.key(), m.value()) for m in broker.read(topic)}

    assert found == {(k, wind_message(name, 6)) for k in KEYS for name in ("10u", "10v")}


def test_what_kcat_pipes_into_a_file_is_grib_to_grib_ls(
    written: tuple[Broker, str], tmp_path: Path
) -> None:
    broker, topic = written
    require_tool("grib_ls")
    options = ("-e", "-f", "%s", "-X", "isolation.level=read_committed")

    (tmp_path / "out.grib2").write_bytes(_kcat(broker, "-C", "-t", topic, *options))
    listed = subprocess.run(
        ["grib_ls", "-p", "shortName,step", str(tmp_path / "out.grib2")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"{2 * len(KEYS)} of {2 * len(KEYS)} messages" in listed.stdout


def test_kcat_writes_keys_where_the_bus_writes_them(kafka_broker: Broker) -> None:
    topic = kafka_broker.create(f"kcat-{uuid.uuid4().hex[:8]}", 7)
    told = "".join(f"{key.decode()}|x\n" for key in KEYS).encode()

    _kcat(
        kafka_broker,
        "-P",
        "-t",
        topic,
        "-K",
        "|",
        "-X",
        "topic.partitioner=murmur2_random",
        given=told,
    )

    found = {m.key(): m.partition() for m in kafka_broker.read(topic)}
    assert found == {key: partition_of(key, 7) for key in KEYS}


def _field(topic: str, key: bytes, name: str) -> Outgoing:
    return Outgoing(topic, key, wind_message(name, 6), (("parameter", name.encode()),))


def _kcat(broker: Broker, *options: str, given: bytes = b"") -> bytes:
    done = subprocess.run(
        [require_tool("kcat"), "-q", "-b", broker.address, *options],
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
