"""Shows how far a command is: a bar on a terminal, elsewhere a line of the log every ten seconds."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY_S: Final = 10.0
Advance = Callable[[int], None]


@contextmanager
def progress(step: str, total: int | None = None) -> Iterator[Advance]:
    """
    Show a step's progress on stderr until the block ends.

    Args:
        step: What is done, such as `count the rows`.
        total: The size of the work. None: it is unknown, and only the time is shown.
    Yields:
        A function that notes that so many more are done.
    """
    if sys.stderr.isatty():
        # stdout is for the command's results, which a person may write to a file.
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        shown = columns if total is not None else (columns[0], columns[1], columns[3])
        remaining = () if total is None else (TimeRemainingColumn(),)
        with Progress(*shown, *remaining, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
            task = bar.add_task(step, total=total)
            yield lambda count: bar.advance(task, count)
        return
    lines = _Lines(step, total)
    ticking = threading.Thread(target=copy_context().run, args=(lines.write,), name="progress", daemon=True)
    ticking.start()
    try:
        yield lines.advance
    finally:
        lines.ended.set()
        ticking.join()


class _Lines:
    def __init__(self, step: str, total: int | None) -> None:
        self._step = step
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self.ended = threading.Event()

    def advance(self, count: int) -> None:
        self._done += count

    def write(self) -> None:
        while not self.ended.wait(EVERY_S):
            done = {} if self._total is None else {"done": self._done, "total": self._total}
            seconds = round(time.monotonic() - self._began)
            structlog.get_logger().info("progress", step=self._step, **done, seconds=seconds)
