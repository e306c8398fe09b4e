"""Serves metrics and health over HTTP: `/metrics` for Prometheus, `/healthz` for health checks."""

import contextlib
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from common.errors import ConfigError

HEALTHY_FOR_S: Final = 30.0  # longer than a broker's failover or a PostgreSQL restart usually takes
MAX_CONNECTIONS: Final = 16  # each has a thread; arbitrary: a scraper and a health check need two
SILENCE_S: Final = 5.0  # the timeout of a container's health check


class Health:
    """A service is healthy if it made progress or had nothing to do within the last `HEALTHY_FOR_S` seconds."""

    def __init__(self) -> None:
        self._seen = time.monotonic()

    def ok(self) -> None:
        """Note progress, or that there is nothing to do."""
        self._seen = time.monotonic()

    @property
    def is_ok(self) -> bool:
        """Return whether progress was noted recently."""
        return time.monotonic() - self._seen < HEALTHY_FOR_S


class _Server(ThreadingHTTPServer):
    """
    Serves at most `MAX_CONNECTIONS` at a time. One more closes the oldest, so idle connections never block a new one.

    A client that closes early causes no traceback.
    """

    request_queue_size = 128  # 5 by default: connections beyond that wait for a second or more

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: dict[socket.socket, None] = {}  # oldest first
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]  # TCP
        """Note the connection, close the oldest if there are too many, and answer in a thread."""
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                self._shut_down(next(iter(self._open)))
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]  # TCP
        """Close the connection. The lock keeps its descriptor from being reused before that."""
        with self._lock:
            self._open.pop(request, None)
            super().shutdown_request(request)

    def _shut_down(self, request: socket.socket) -> None:
        del self._open[request]
        with contextlib.suppress(OSError):  # it is closed already
            request.shutdown(socket.SHUT_RDWR)  # its thread stops waiting and closes it

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Ignore it: the client is gone."""


def serve(host: str, port: int, health: Health, *, setting: str) -> None:
    """
    Answer `/metrics` and `/healthz` from a daemon thread.

    Args:
        host: Address to listen on.
        port: TCP port; 0: no server.
        health: `/healthz` answers 200 if it is ok, otherwise 503.
        setting: The setting that holds the port, for the error.
    Raises:
        ConfigError: The port is taken, or the address is not this machine's.
    """
    if port == 0:
        return

    class Handler(BaseHTTPRequestHandler):
        timeout = SILENCE_S

        def do_GET(self) -> None:  # the base class's name
            if self.path == "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
            elif self.path == "/healthz":
                status = HTTPStatus.OK if health.is_ok else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, b"ok\n" if health.is_ok else b"no progress\n", "text/plain")
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"there are /metrics and /healthz\n", "text/plain")

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing: a scrape every few seconds is no event."""

    try:
        server = _Server((host, port), Handler)
    except OSError as error:
        raise ConfigError(
            f"cannot serve metrics on {host}:{port}: {error.strerror}",
            hint=f"Set another port, or 0 for none: HEARTBEAT_{setting.upper().replace('.', '__')}.",
        ) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
