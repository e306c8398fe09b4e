"""Shows progress while servers are fetched and started: a changing line on a terminal, else a line now and then."""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.status import Status

SPARING_S: Final = 2.0  # between two lines in a log file: not one for each of forty jars


class _ProgressHandler(logging.Handler):
    def __init__(self, console: Console, status: Status) -> None:
        super().__init__()
        self._console = console
        self._status = status
        self._printed_at = -SPARING_S

    def emit(self, record: logging.LogRecord) -> None:
        if self._console.is_terminal:
            self._status.update(record.getMessage())
        elif time.monotonic() - self._printed_at >= SPARING_S:
            self._printed_at = time.monotonic()
            self._console.print(record.getMessage())


@contextlib.contextmanager
def progress(console: Console, what: str) -> Iterator[None]:
    """Show what this room's modules log while the block runs."""
    began = time.monotonic()
    log = logging.getLogger("local")
    log.setLevel(logging.INFO)
    with console.status(what) as status:
        handler = _ProgressHandler(console, status)
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)
    console.print(f"{what}: done in {time.monotonic() - began:.1f} s")
