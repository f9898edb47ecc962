"""The probes as an operator's tools see them: real HTTP on a real port."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engines.errors import UsageError
from monitoring.metrics import Metrics
from monitoring.probes import Probes, ProbesError, Status


class Clock:
    """A clock that the test holds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Daemon:
    """What stands behind the probes in these tests."""

    clock: Clock
    status: Status
    metrics: Metrics
    probes: Probes

    def ask(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.probes.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    clock = Clock()
    status = Status(stall_after_s=60.0, clock=clock)
    metrics = Metrics()
    with Probes(metrics, status, "127.0.0.1", 0) as probes:
        yield Daemon(clock, status, metrics, probes)


def test_metrics_are_served_as_prometheus_reads_them(daemon: Daemon) -> None:
    daemon.metrics.fields_published.inc(8)

    code, text = daemon.ask("/metrics")

    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert code == 200
    assert values["downscaled_fields_published_total"] == 8.0


def test_a_daemon_that_starts_is_alive_and_not_ready(daemon: Daemon) -> None:
    assert daemon.ask("/live") == (200, "live\n")
    assert daemon.ask("/ready") == (503, "not ready: the daemon starts\n")


def test_readiness_says_what_it_waits_for_until_it_is_served(daemon: Daemon) -> None:
    daemon.status.waits_for("the engine warms up")
    assert daemon.ask("/ready") == (503, "not ready: the engine warms up\n")

    daemon.status.is_served()
    assert daemon.ask("/ready") == (200, "ready\n")

    daemon.status.waits_for("no partition is assigned")
    assert daemon.ask("/ready") == (503, "not ready: no partition is assigned\n")


def test_a_stuck_loop_is_neither_alive_nor_ready_although_the_port_is_open(daemon: Daemon) -> None:
    daemon.status.is_served()

    daemon.clock.now += 61.0

    reason = "the loop made no turn for 61 s, at most 60 s wanted"
    assert daemon.ask("/live") == (503, f"not live: {reason}\n")
    assert daemon.ask("/ready") == (503, f"not ready: {reason}\n")


def test_a_loop_that_turns_again_is_alive_again(daemon: Daemon) -> None:
    daemon.clock.now += 61.0
    daemon.status.progressed()
    daemon.clock.now += 60.0

    assert daemon.ask("/live") == (200, "live\n")


def test_an_unknown_path_names_the_known_ones(daemon: Daemon) -> None:
    assert daemon.ask("/") == (404, "try /metrics, /live or /ready\n")


def test_a_query_after_the_path_does_not_matter(daemon: Daemon) -> None:
    assert daemon.ask("/live?verbose=1")[0] == 200


def test_a_client_that_says_nothing_keeps_nobody_else_waiting(daemon: Daemon) -> None:
    with socket.create_connection(("127.0.0.1", daemon.probes.port), timeout=10):
        assert daemon.ask("/live")[0] == 200


def test_a_taken_port_is_a_usage_error_that_names_it(daemon: Daemon) -> None:
    taken = daemon.probes.port

    with pytest.raises(ProbesError, match=rf"cannot listen on 127\.0\.0\.1:{taken} .*in use"):
        Probes(Metrics(), Status(), "127.0.0.1", taken)

    assert issubclass(ProbesError, UsageError)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("no.such.host.invalid", 0)])
def test_an_address_that_cannot_be_is_a_usage_error(host: str, port: int) -> None:
    with pytest.raises(ProbesError, match=f"cannot listen on {host}:{port}"):
        Probes(Metrics(), Status(), host, port)


def test_the_port_is_free_after_closing() -> None:
    probes = Probes(Metrics(), Status(), "127.0.0.1", 0)
    port = probes.port

    probes.close()

    Probes(Metrics(), Status(), "127.0.0.1", port).close()
