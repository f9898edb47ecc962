"""TLS, passwords and rights, against a real broker that asks for them."""

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import confluent_kafka.admin as administration
import pytest

from engines.errors import UsageError
from streamer.bus.kafka import KafkaBus
from streamer.bus.record import BusError, Outgoing
from streamer.bus.requirements import Requirements, faults
from streamer.bus.settings import BusSettings, Security
from streamer.bus.topics import ask
from streamer.bus.writer import Writer
from tests.conftest import require_tool
from tests.kafka_broker import Broker, new_broker

pytestmark = pytest.mark.kafka

PASSWORD = "correct-horse"


@dataclass(frozen=True)
class Guarded:
    """A broker with an open door for its keeper, and a guarded one for everyone else."""

    broker: Broker
    address: str
    folder: Path

    def settings(self, **changes: Any) -> BusSettings:
        """Return what user `wind` says at the guarded door, with changes to `security`."""
        said = Security(
            protocol="SASL_SSL",
            cafile=str(self.folder / "ca.pem"),
            mechanism="SCRAM-SHA-512",
            username="wind",
            password_file=str(self.folder / "password"),
        )
        return BusSettings(
            (self.address,), "wind", "one", replace(said, **changes), connect_timeout_s=5.0
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    _make_certificates(folder)
    (folder / "password").write_text(PASSWORD + "\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    users = " ".join(
        f"--add-scram SCRAM-SHA-512=[name={name},password={PASSWORD}]"
        for name in ("wind", "stranger")
    )
    broker = new_broker(folder / "kafka", _properties(folder, port), users)
    for topic in ("in", "out", "steps", "dead", "hidden"):
        broker.create(topic)
    _allow_wind(broker)
    yield Guarded(broker, f"localhost:{port}", folder)
    broker.stop()


def test_a_bus_reads_and_writes_through_tls_with_a_password(guarded: Guarded) -> None:
    bus = KafkaBus(guarded.settings(), ["in"], writes=["out", "steps", "dead"])
    with Writer(guarded.settings(mechanism="PLAIN"), "out") as writer:
        writer.write(Outgoing("out", b"key", b"before"))
        writer.flush()

    while not (polled := bus.poll(1)).assigned:
        pass
    bus.publish([Outgoing("out", b"key", b"value")], {}, bus.membership())
    bus.close()

    assert [a.partition.topic for a in polled.assigned] == ["in"]
    assert [m.value() for m in guarded.broker.read("out")] == [b"before", b"value"]


def test_a_wrong_password_is_told_as_such_and_not_shown(guarded: Guarded) -> None:
    (guarded.folder / "wrong").write_text("wrong-battery")

    with pytest.raises(BusError, match=r"does not let us in|hangs up on us") as caught:
        ask(guarded.settings(password_file=str(guarded.folder / "wrong")), ["in"])

    assert "wrong-battery" not in str(caught.value)


def test_a_broker_signed_by_somebody_else_is_not_trusted(guarded: Guarded) -> None:
    with pytest.raises(BusError, match=guarded.address):
        ask(guarded.settings(cafile=None), ["in"])


def test_a_certificate_that_cannot_be_read_is_named(guarded: Guarded) -> None:
    with pytest.raises(UsageError, match=r"nowhere.pem cannot be used for TLS"):
        ask(guarded.settings(cafile="nowhere.pem"), ["in"])


def test_who_has_every_right_has_no_faults_and_hidden_topics_stay_hidden(guarded: Guarded) -> None:
    found = ask(guarded.settings(), ["in", "out", "steps", "dead", "hidden"])

    assert sorted(found.topics) == ["dead", "in", "out", "steps"]
    assert faults(_needs(guarded.settings()), found) == []


def test_a_stranger_is_told_everything_that_is_not_allowed(guarded: Guarded) -> None:
    settings = guarded.settings(username="stranger")

    told = faults(_needs(settings), ask(settings, ["in", "out", "steps", "dead"]))

    assert told == [
        *(
            f"topic {name} does not exist at {guarded.address}, or may not be seen by us"
            for name in ("in", "out", "steps", "dead")
        ),
        "group wind may not be read by us",
        "transactional id wind.one may not be used by us",
    ]


def _needs(settings: BusSettings) -> Requirements:
    return Requirements(settings, "in", "out", "steps", "dead", 100_000, 48.0)


def _make_certificates(folder: Path) -> None:
    require_tool("openssl")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")),
        ],
        check=True,
        capture_output=True,
    )
    both = (folder / "key.pem").read_text() + (folder / "ca.pem").read_text()
    (folder / "broker.pem").write_text(both)


def _properties(folder: Path, port: int) -> Path:
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
    path = folder / "extra.properties"
    path.write_text(
        f"""
listeners=PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller}},GUARDED://127.0.0.1:{port}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},GUARDED://localhost:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL
inter.broker.listener.name=PLAINTEXT
listener.name.guarded.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.guarded.plain.sasl.jaas.config={plain} required user_wind="{PASSWORD}";
listener.name.guarded.scram-sha-512.sasl.jaas.config={scram} required;
listener.name.guarded.ssl.keystore.type=PEM
listener.name.guarded.ssl.keystore.location={folder}/broker.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
    )
    return path


def _allow_wind(broker: Broker) -> None:
    resources, operations = administration.ResourceType, administration.AclOperation
    wanted = [
        (resources.TOPIC, "in", (operations.READ,)),
        (resources.TOPIC, "out", (operations.WRITE,)),
        (resources.TOPIC, "steps", (operations.READ, operations.WRITE)),
        (resources.TOPIC, "dead", (operations.WRITE,)),
        (resources.GROUP, "wind", (operations.READ,)),
        (resources.TRANSACTIONAL_ID, "wind.one", (operations.WRITE,)),
    ]
    bindings = [
        administration.AclBinding(
            kind,
            name,
            administration.ResourcePatternType.LITERAL,
            "User:wind",
            "*",
            operation,
            administration.AclPermissionType.ALLOW,
        )
        for kind, name, allowed in wanted
        for operation in allowed
    ]
    administrator = broker.administrator()
    for future in administrator.create_acls(bindings).values():
        future.result(30)
