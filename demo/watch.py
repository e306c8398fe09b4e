"""Shows the running demo, once a second, until the time is up, Ctrl-C, or a process ends by itself."""

import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import Final

from rich.console import Console
from rich.live import Live

from common.errors import OutageError
from demo import view
from demo.figures import Figures, Gauge
from local.errors import LocalServerError
from local.server import LocalServer
from local.service import Service

LOOK_S: Final = 1.0
FIRST_SENT_S: Final = 60.0  # from the services' start to the first heartbeat; it takes 2 s
BLIND_S: Final = 20.0  # how long a look may fail before it is an error; there is no topic in the first moment


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything that runs."""

    producer: Service
    consumer: Service
    servers: tuple[LocalServer, ...]
    gauge: Gauge
    addresses: tuple[str, ...]  # for people
    away: set[str] = field(default_factory=set)  # the names of those that an experiment has ended for a moment

    def check(self) -> None:
        """
        Check that all of it runs.

        Raises:
            LocalServerError: A process ended by itself; the message ends with its last lines.
        """
        for server in self.servers:
            if (code := server.exit_code()) is not None and server.name not in self.away:
                raise LocalServerError(
                    f"{server.name} ended by itself, exit code {code}; its last lines:{server.log_tail()}",
                    hint=f"The whole log is {server.log_path}.",
                )
        for service in (self.producer, self.consumer):
            if service.name not in self.away:
                service.check()


def watch(pipeline: Pipeline, console: Console, seconds: float | None) -> None:
    """
    Show the pipeline, for so many seconds from the first heartbeat sent; None: until an exception ends it.

    Raises:
        LocalServerError: A process ended by itself, or nothing is sent.
        OutageError: Kafka or PostgreSQL does not answer.
    """
    begun = seen = time.monotonic()
    first_sent: float | None = None
    figures = Figures()
    with Live(console=console, auto_refresh=False) if console.is_terminal else contextlib.nullcontext() as live:
        while True:
            pipeline.check()
            for service in (pipeline.producer, pipeline.consumer):
                service.bound_log()
            now = time.monotonic()
            try:
                figures, seen = pipeline.gauge.look(), now
            except OutageError:
                if pipeline.away:
                    seen = now
                if now - seen > BLIND_S:
                    raise
                figures = replace(figures, lag=None, newest_age_s=None)
            sent, stored = pipeline.producer.latest("Sent"), pipeline.consumer.latest("Stored")
            if first_sent is None and sent:
                first_sent = now
            if first_sent is None and now - begun > FIRST_SENT_S:
                raise LocalServerError(
                    f"nothing sent within {FIRST_SENT_S:.0f} s; the producer's last lines:{pipeline.producer.said()}",
                    hint="Its last lines say what it waits for.",
                )
            running_s = now - first_sent if first_sent else 0.0
            scene = view.Scene(running_s, sent, stored, figures, pipeline.addresses)
            if live:
                live.update(view.picture(scene, console.height), refresh=True)
            else:
                console.print(view.plain(scene))
            if seconds and running_s >= seconds:
                return
            time.sleep(min(LOOK_S, seconds - running_s) if seconds else LOOK_S)
