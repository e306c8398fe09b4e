"""What a service's `__main__` needs: signals, logging, metrics, and an exit code for every ending."""

import gc
import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from common import telemetry
from common.errors import HeartbeatError, StoppedError
from common.settings import Consumer, Logging, Producer
from common.text import visible


class StopFlag:
    """
    Set by the first SIGTERM or Ctrl-C; the second one ends the process at once.

    A plain attribute and a pipe: a handler that takes a lock (`threading.Event.set` does) can deadlock
    with the very code it interrupted.
    """

    def __init__(self) -> None:
        self._set = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def is_set(self) -> bool:
        """Return whether the service should stop."""
        return self._set

    def set(self) -> None:
        """Ask the service to stop; safe in a signal handler and from any thread."""
        if not self._set:
            self._set = True
            os.write(self._writer, b"x")

    def wait(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds for the flag; True if it is set."""
        if not self._set:
            select.select([self._reader], [], [], max(timeout_s, 0))
        return self._set

    def listen(self) -> None:
        """Let SIGTERM and SIGINT set the flag, once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self.set()


def configure_logging(settings: Logging, *, service: str, out: TextIO | None = None) -> None:
    """
    Send events to `out`: readable on a terminal, one JSON object a line otherwise, unless the settings say.

    Args:
        settings: Format and level.
        service: Named in each line.
        out: stdout if it is not given. A command whose results are on stdout logs to stderr.
    """
    out = out or sys.stdout
    readable = settings.format == "console" or (settings.format == "auto" and out.isatty())
    # JSON is ASCII: it escapes every other character by itself.
    console = structlog.dev.ConsoleRenderer(colors=out.isatty())
    renderers: list[Processor] = [_escape, console] if readable else [structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what a terminal would obey; other values than strings are shown by `repr`, which does so, too."""
    return {
        name: visible(value, keep="\n" if name == "exception" else "") if isinstance(value, str) else value
        for name, value in event.items()
    }


def begin(service: str, log: Logging, own: Producer | Consumer, section: str) -> tuple[StopFlag, telemetry.Health]:
    """
    Begin to log, to listen to signals and to answer on the metrics' port.

    Args:
        service: The name in every line of the log.
        log: How to log.
        own: The section of the settings that names the port.
        section: Its name, for the error.
    Returns:
        When to stop, and what to notify of progress.
    Raises:
        ConfigError: The port is taken or the address is not ours.
    """
    configure_logging(log, service=service)
    stop, health = StopFlag(), telemetry.Health()
    stop.listen()
    telemetry.serve(own.metrics_host, own.metrics_port, health, setting=f"{section}.metrics_port")
    return stop, health


def prepare_for_batches() -> None:
    """
    Set Python up for batches of ten thousand messages and a thread for each of them.

    By default the garbage collector goes through every message that waits each time 700 more are made, for a quarter of
    our CPU time, and finds nothing. And a writer whose socket has room again waits 5 ms for Python's lock. Figures:
    docs/performance.md.
    """
    gc.freeze()
    gc.set_threshold(100_000)
    sys.setswitchinterval(0.001)


def run(service: str, main: Callable[[], int], *, out: TextIO | None = None) -> int:
    """
    Run a service or a command and turn its ending into an exit code.

    Args:
        service: Named in each line of the log.
        main: What to run.
        out: Where to log to if `main` fails before it has configured the log.
    Returns:
        What `main` returns; the error's own code for a `HeartbeatError`, which is logged as one line with its hint;
        1 for a defect, with its traceback, since only a developer can fix it.
    """
    try:
        try:
            return main()
        except KeyboardInterrupt:
            raise StoppedError("stopped by Ctrl-C", hint="Nothing is half done; run it again.") from None
    except HeartbeatError as error:
        if not structlog.is_configured():  # the settings that say how to log are what is wrong
            configure_logging(Logging(), service=service, out=out)
        structlog.get_logger().error("failed", error=error.message, hint=error.hint)
        return error.exit_code
