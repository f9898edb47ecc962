"""The probes: `/metrics`, `/live` and `/ready` over HTTP, on a thread of their own."""

import threading
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socket import AF_INET6
from socketserver import BaseRequestHandler, TCPServer, ThreadingMixIn
from types import TracebackType
from typing import ClassVar, Self

from engines.errors import UsageError
from monitoring.metrics import Board

TEXT = "text/plain; charset=utf-8"


class ProbesError(UsageError):
    """The address for the probes cannot be used."""

    reason: ClassVar[str] = "probes"


class Status:
    """What the loop says of itself; the loop writes, the probes read.

    clock: monotonic seconds. stall_after_s: a loop that made no turn for so long is not alive.
    """

    def __init__(
        self, stall_after_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._stall_after_s = stall_after_s
        self._progress_at = clock()
        self._waiting_for: str | None = "the daemon starts"

    def progressed(self) -> None:
        """Note one turn of the loop; called on every turn, also when there is nothing to do."""
        self._progress_at = self._clock()

    def waits_for(self, what: str) -> None:
        """Say why no step could be served now: "the engine warms up"."""
        self._waiting_for = what

    def is_served(self) -> None:
        """Say that the engine is warm and partitions are ours."""
        self._waiting_for = None

    @property
    def stalled(self) -> str | None:
        """Why the loop counts as stuck, or None while it turns."""
        idle_s = self._clock() - self._progress_at
        if idle_s <= self._stall_after_s:
            return None
        return (
            f"the loop made no turn for {idle_s:.0f} s, at most {self._stall_after_s:.0f} s wanted"
        )

    @property
    def unready(self) -> str | None:
        """Why steps are not served, or None when they are."""
        return self._waiting_for or self.stalled


class Probes:
    """A small HTTP server for one daemon; a context manager that listens while it is open.

    port: 0 takes any free one; `port` then says which. Raises ProbesError where it cannot listen.
    """

    def __init__(self, metrics: Board, status: Status, host: str, port: int) -> None:
        try:
            self._server = _server(host, port, partial(_Answer, metrics, status))
        except (OSError, OverflowError) as error:
            raise ProbesError(
                f"metrics.host and metrics.port: cannot listen on {host}:{port}"
                f" ({getattr(error, 'strerror', None) or error}); another daemon may hold it,"
                " port 0 takes a free one"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="probes"
        )
        self._thread.daemon = True
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering and let the port go."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# Not http.server's own: it asks the name service for the host's name before it listens.
class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    # A daemon that was killed may be started again at once.
    allow_reuse_address = True
    # A client that never finishes its request must not keep the daemon from ending.
    block_on_close = False


class _Server6(_Server):
    address_family = AF_INET6


def _server(host: str, port: int, answer: Callable[..., BaseRequestHandler]) -> _Server:
    return (_Server6 if ":" in host else _Server)((host, port), answer)


class _Answer(BaseHTTPRequestHandler):
    """One request. Scrapes are not logged: they would drown the story of the day."""

    timeout = 10.0

    def __init__(self, metrics: Board, status: Status, *arguments: object) -> None:
        self._metrics = metrics
        self._status = status
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer one of the three paths, anything else with their names."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            body, content_type = self._metrics.render(self.headers.get("Accept", ""))
            self._send(HTTPStatus.OK, body, content_type)
        elif path == "/live":
            self._verdict("live", self._status.stalled)
        elif path == "/ready":
            self._verdict("ready", self._status.unready)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"try /metrics, /live or /ready\n", TEXT)

    def _verdict(self, word: str, problem: str | None) -> None:
        if problem is None:
            self._send(HTTPStatus.OK, f"{word}\n".encode(), TEXT)
        else:
            text = f"not {word}: {problem}\n"
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, text.encode(), TEXT)

    def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base's name)
        """Say nothing."""
