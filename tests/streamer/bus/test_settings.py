"""The bus's settings say every fault at once, and never a secret."""

import socket
from pathlib import Path
from typing import Any

import pytest

from engines.errors import UsageError
from streamer.bus.settings import BusSettings, Security


def secured(**found: Any) -> Security:
    """Make what a config's `bus.security` says."""
    return Security(**found)


def test_an_instance_is_the_host_unless_it_is_named() -> None:
    settings = BusSettings(("broker:9092",), "wind")

    assert settings.instance == socket.gethostname()
    assert settings.transactional_id == f"wind.{socket.gethostname()}"


def test_all_faults_of_the_bus_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        BusSettings(("broker",), "", instance="a b", session_timeout_s=-1)

    told = str(caught.value)
    for place in (
        "instance is 'a b'",
        "'broker', wanted host:port",
        "group_id is missing",
        "session_timeout_s is -1",
    ):
        assert place in told


def test_memory_needs_neither_servers_nor_a_group() -> None:
    assert BusSettings(memory=True).address == "memory"


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"protocol": "TLS"}, "protocol is 'TLS'"),
        ({"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u"}, "needs `password_env`"),
        ({"protocol": "SASL_SSL", "username": "u", "password_env": "P"}, "mechanism is None"),
        ({"protocol": "SSL", "username": "u"}, "no meaning with SSL"),
        ({"protocol": "PLAINTEXT", "cafile": "ca.pem"}, "no meaning with PLAINTEXT"),
        ({"protocol": "SSL", "keyfile": "key.pem"}, "without certfile"),
    ],
)
def test_security_that_contradicts_itself_is_refused(settings: dict[str, str], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        secured(**settings)


def test_a_password_comes_from_the_variable_or_the_file_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUS_PASSWORD", "from the variable")
    (tmp_path / "password").write_text("from the file\n")
    common = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "wind"}

    by_variable = secured(**common, password_env="BUS_PASSWORD")
    by_file = secured(**common, password_file=str(tmp_path / "password"))

    assert by_variable.password() == "from the variable"
    assert by_file.password() == "from the file"
    assert "from the" not in f"{by_variable!r} {by_file!r}"


def test_a_password_that_is_not_there_is_told_with_its_place(tmp_path: Path) -> None:
    common = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "wind"}

    with pytest.raises(UsageError, match=r"password_env names the variable NOT_SET_1"):
        secured(**common, password_env="NOT_SET_1").password()
    with pytest.raises(UsageError, match=r"password_file names .*nowhere"):
        secured(**common, password_file=str(tmp_path / "nowhere")).password()
