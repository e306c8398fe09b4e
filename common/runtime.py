"""What a service's `__main__` needs: signals, logging, metrics and exit codes."""

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
    A flag that the first SIGTERM or Ctrl-C sets. The second one kills the process.

    It is an attribute and a pipe. A signal handler that takes a lock, as `threading.Event.set` does, can deadlock with
    the code that it interrupts.
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
        """Set the flag at the first SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self.set()


def configure_logging(settings: Logging, *, service: str, out: TextIO | None = None) -> None:
    """
    Write log events to `out`: readable text on a terminal, otherwise one JSON object a line.

    Args:
        settings: Format, which may override this, and level.
        service: Its name in each line.
        out: By default stdout. A command whose results go to stdout logs to stderr.
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
    """Escape control characters in strings. Other values are shown by `repr`, which escapes them, too."""
    return {
        name: visible(value, keep="\n" if name == "exception" else "") if isinstance(value, str) else value
        for name, value in event.items()
    }


def begin(service: str, log: Logging, own: Producer | Consumer, section: str) -> tuple[StopFlag, telemetry.Health]:
    """
    Start logging, signal handling and the metrics server.

    Args:
        service: Its name in each line of the log.
        log: Format and level.
        own: The section of the settings that has the port.
        section: Its name, for the error.
    Returns:
        The stop flag, and the health that `/healthz` reports.
    Raises:
        ConfigError: The port is taken, or the address is not this machine's.
    """
    configure_logging(log, service=service)
    stop, health = StopFlag(), telemetry.Health()
    stop.listen()
    telemetry.serve(own.metrics_host, own.metrics_port, health, setting=f"{section}.metrics_port")
    return stop, health


def prepare_for_batches() -> None:
    """
    Tune Python for batches of ten thousand messages, each written by its own thread.

    By default the garbage collector scans all waiting messages after every 700 new ones, which takes a quarter of the
    CPU time and finds nothing. And a writer thread waits up to 5 ms for the interpreter. Figures: docs/performance.md.
    """
    gc.freeze()
    gc.set_threshold(100_000)
    sys.setswitchinterval(0.001)


def run(service: str, main: Callable[[], int], *, out: TextIO | None = None) -> int:
    """
    Run a service or a command, and return its exit code.

    Args:
        service: Its name in each line of the log.
        main: The service or command.
        out: Where to log if `main` fails before it has configured the log.
    Returns:
        The result of `main`, or the code of a `HeartbeatError`, which is logged as one line with its hint. Other errors
        are defects: they pass through, and Python exits with 1 and a traceback.
    """
    try:
        try:
            return main()
        except KeyboardInterrupt:
            raise StoppedError("stopped by Ctrl-C", hint="No step is half done. Run it again.") from None
    except HeartbeatError as error:
        if not structlog.is_configured():  # the settings of the log may be wrong
            configure_logging(Logging(), service=service, out=out)
        structlog.get_logger().error("failed", **error.fields)
        return error.exit_code
