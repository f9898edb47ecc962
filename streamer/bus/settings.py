"""What the config says about the bus: where it is, who we are on it, and how we prove it."""

import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

from engines.errors import UsageError

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_INSTANCE = re.compile(r"[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True, slots=True)
class Security:
    """How the broker knows us and we know it. Passwords live in the environment or in files.

    protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, as the broker's listener has it.
    cafile: PEM, who signed the broker's certificate; without it the system's authorities count.
    certfile, keyfile: PEM, our own certificate where the broker asks for one.
    mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    password_env, password_file: the variable or file that holds the password of `username`.
    key_password_env, key_password_file: the same for an encrypted `keyfile`.
    """

    protocol: str = "PLAINTEXT"
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    check_hostname: bool = True
    mechanism: str | None = None
    username: str | None = None
    password_env: str | None = None
    password_file: str | None = None
    key_password_env: str | None = None
    key_password_file: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError with every fault at once."""
        faults = _security_faults(self)
        if faults:
            raise UsageError("; ".join(faults))

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether we log in with a name and a password."""
        return self.protocol.startswith("SASL")

    def password(self) -> str | None:
        """Read the password now. Raises UsageError where the variable or file is missing."""
        return _secret("password", self.password_env, self.password_file)

    def key_password(self) -> str | None:
        """Read the password of `keyfile` now, None where it has none."""
        return _secret("key_password", self.key_password_env, self.key_password_file)


@dataclass(frozen=True, slots=True)
class BusSettings:
    """The config's `bus`.

    bootstrap_servers: `host:port` of one or more brokers.
    group_id: shared by all daemons that divide the work; part of `ce_source`.
    instance: our name, unique in the group and stable over restarts; the host's by default.
    session_timeout_s: how long a silent host keeps its partitions; a restart gets them at once.
    max_poll_interval_s: how long the loop may be stuck before its partitions go elsewhere.
    transaction_timeout_s: after this the broker ends a transaction that nobody ended.
    connect_timeout_s: how long to wait for a broker at the start before saying so.
    request_timeout_s: how long a broker may take for one answer.
    fetch_max_bytes: what one read may bring of all partitions; larger records come alone.
    max_in_flight_bytes: what a transaction may have under way to the broker at one time.
    memory: run inside this process, without a broker.
    """

    bootstrap_servers: tuple[str, ...] = ()
    group_id: str = ""
    instance: str = field(default_factory=socket.gethostname)
    security: Security = field(default_factory=Security)
    session_timeout_s: float = 10.0
    max_poll_interval_s: float = 300.0
    transaction_timeout_s: float = 60.0
    connect_timeout_s: float = 10.0
    request_timeout_s: float = 30.0
    fetch_max_bytes: int = 16 * 2**20
    max_in_flight_bytes: int = 32 * 2**20
    memory: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError with every fault at once."""
        faults = _bus_faults(self)
        if faults:
            raise UsageError("; ".join(faults))

    @property
    def transactional_id(self) -> str:
        """Our name to the broker's transactions: stable, and unique in the group."""
        return f"{self.group_id}.{self.instance}"

    @property
    def address(self) -> str:
        """The brokers in words, for messages."""
        return "memory" if self.memory else ", ".join(self.bootstrap_servers)


def _secret(name: str, variable: str | None, file: str | None) -> str | None:
    if variable is not None:
        found = os.environ.get(variable)
        if not found:
            raise UsageError(
                f"bus.security.{name}_env names the variable {variable}, which is not set"
            )
        return found
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise UsageError(
            f"bus.security.{name}_file names {file}, which cannot be read: {error.strerror}"
        ) from error


def _security_faults(found: Security) -> list[str]:
    faults = []
    if found.protocol not in _PROTOCOLS:
        faults.append(f"protocol is {found.protocol!r}, wanted one of {', '.join(_PROTOCOLS)}")
    if found.uses_sasl:
        if found.mechanism not in _MECHANISMS:
            wanted = ", ".join(_MECHANISMS)
            faults.append(f"mechanism is {found.mechanism!r}, wanted one of {wanted}")
        if not found.username:
            faults.append(f"username is missing, {found.protocol} needs one")
        if not (found.password_env or found.password_file):
            faults.append(f"{found.protocol} needs `password_env` or `password_file`")
    elif found.mechanism or found.username or found.password_env or found.password_file:
        faults.append(f"mechanism, username and password have no meaning with {found.protocol}")
    if not found.uses_tls and (found.cafile or found.certfile or found.keyfile):
        faults.append(f"cafile, certfile and keyfile have no meaning with {found.protocol}")
    if found.password_env and found.password_file:
        faults.append("password_env and password_file are both given, wanted one of them")
    if found.keyfile and not found.certfile:
        faults.append("keyfile is given without certfile")
    return faults


def _bus_faults(found: BusSettings) -> list[str]:
    faults = []
    if not _INSTANCE.fullmatch(found.instance):
        faults.append(f"instance is {found.instance!r}, wanted letters, digits, `.`, `_`, `-`")
    if not found.memory and not found.bootstrap_servers:
        faults.append("bootstrap_servers is missing, wanted [host:port, ...] or `memory: true`")
    faults += [
        f"bootstrap_servers has {server!r}, wanted host:port"
        for server in found.bootstrap_servers
        if not re.fullmatch(r"\S+:\d{1,5}", server)
    ]
    if not found.memory and not found.group_id:
        faults.append("group_id is missing; daemons that share the work share it")
    for name in (
        "session_timeout_s",
        "max_poll_interval_s",
        "transaction_timeout_s",
        "connect_timeout_s",
        "request_timeout_s",
        "fetch_max_bytes",
        "max_in_flight_bytes",
    ):
        if getattr(found, name) <= 0:
            faults.append(f"{name} is {getattr(found, name)}, wanted more than 0")
    if 0 < found.max_poll_interval_s < found.session_timeout_s:
        faults.append(
            f"max_poll_interval_s is {found.max_poll_interval_s}, wanted at least "
            f"session_timeout_s, {found.session_timeout_s}"
        )
    return faults
