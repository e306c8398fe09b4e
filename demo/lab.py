"""The demo's side of `make inject`: kills, stalls and stops its own parts on request, and starts them again."""

import contextlib
import json
import signal
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rich.console import Console

from common.errors import HeartbeatError
from demo.finish import DATA
from demo.watch import Pipeline
from local.kafka import KafkaServer
from local.postgres import PostgresServer
from local.service import ROOT, Service

SOCKET: Final = DATA.relative_to(ROOT) / "inject"  # relative, since the path of a socket has 104 bytes at most
AWAY_S: Final = 3.0  # between a kill and the new start
STOPPED_S: Final = 8.0  # how long PostgreSQL is stopped
STALLED_S: Final = 12.0  # longer than a member's session on the local broker (6 s)
TOGETHER_S: Final = 4.0  # in which the second consumer meets the first one again
PATIENCE_S: Final = 5.0  # for the request of a program that has connected


@dataclass(frozen=True, slots=True)
class Parts:
    """What the experiments act on."""

    pipeline: Pipeline
    kafka: KafkaServer
    database: PostgresServer
    start_second: Callable[[], Service]  # starts a second consumer


class Lab:
    """
    Waits for requests at `SOCKET` while the `with` block runs. The block's end cuts an experiment short.

    Args:
        parts: What runs.
        console: Gets a line for each request.
    """

    def __init__(self, parts: Parts, console: Console) -> None:
        self._parts = parts
        self._console = console
        self._ending = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._experiments: Mapping[str, Callable[[], None]] = {
            "kill": self._kill,
            "stall": self._stall,
            "postgresql": self._stop_postgresql,
            "machine": self._lose_machine,
        }
        lab = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = PATIENCE_S

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # it has gone: the experiment is done in any case
                    what = self.rfile.readline(100).decode(errors="replace").strip()
                    self.wfile.write(json.dumps(lab._answer(what)).encode())

        Path(SOCKET).unlink(missing_ok=True)  # of a demo that was killed
        self._server = socketserver.ThreadingUnixStreamServer(str(SOCKET), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        closing = threading.Thread(target=self._close)
        closing.start()
        while closing.is_alive():  # a second Ctrl-C waits, too: nothing may be started while everything is stopped
            with contextlib.suppress(KeyboardInterrupt):
                closing.join()

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()  # waits for the experiment
        self._thread.join()
        Path(SOCKET).unlink(missing_ok=True)

    def _answer(self, what: str) -> dict[str, str | int]:
        """Do the part of an experiment that only the demo can do, and return where its servers are, or an error."""
        if not self._one_at_a_time.acquire(blocking=False):
            return {"error": "another experiment still runs", "hint": "Wait until it is done."}
        try:
            self._console.print(f"{time.strftime('%H:%M:%S')}  make inject WHAT={what}")
            self._experiments.get(what, lambda: None)()
        except HeartbeatError as error:
            return {"error": error.message, "hint": error.hint}
        finally:
            self._one_at_a_time.release()
        return {"bootstrap_servers": self._parts.kafka.bootstrap_servers, "port": self._parts.database.port}

    def _kill(self) -> None:
        consumer = self._parts.pipeline.consumer
        with self._away(consumer.name):
            consumer.end()
            self._ending.wait(AWAY_S)
            consumer.start()

    def _stall(self) -> None:
        consumer = self._parts.pipeline.consumer
        with self._parts.start_second() as second:
            while not (any(second.events("Stored")) or self._ending.wait(0.1)):
                second.check()
            consumer.send_signal(signal.SIGSTOP)
            try:
                self._ending.wait(STALLED_S)
            finally:
                consumer.send_signal(signal.SIGCONT)
            self._ending.wait(TOGETHER_S)

    def _stop_postgresql(self) -> None:
        database = self._parts.database
        with self._away(database.name):
            database.stop()
            self._ending.wait(STOPPED_S)
            database.start()

    def _lose_machine(self) -> None:
        services = (self._parts.pipeline.producer, self._parts.pipeline.consumer)
        servers = (self._parts.kafka, self._parts.database)
        with self._away(*(part.name for part in (*services, *servers))):
            for service in services:
                service.process.kill()
            for server in servers:
                server.kill()
            self._ending.wait(AWAY_S)
            for server in servers:
                server.start()
            for service in services:
                service.end()
                service.start()

    @contextlib.contextmanager
    def _away(self, *names: str) -> Iterator[None]:
        self._parts.pipeline.away.update(names)
        try:
            yield
        finally:
            self._parts.pipeline.away.difference_update(names)
