"""
Runs threads one at a time, in an order that the caller chooses.

A thread is a greenlet here: code of the project that waits (for a result, a queue, a while) returns to the scheduler
instead. Between two waits a thread runs alone, which loses nothing: the loop and its writers meet only where they wait.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import pytest
from greenlet import GreenletExit, getcurrent, greenlet

PLAIN: Final = ("",)
TICK_S: Final = 1.0  # a consumer's clock moves by this much when it polls in vain or waits in vain


class Process:
    """What its threads share: a name, a clock, and whether it was killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.now_s = 0.0
        self.is_dead = False
        self.tasks: list[Task] = []
        self.scheduler = getcurrent()

    def start(self, name: str, call: Callable[[], object]) -> None:
        """Start a thread; it runs when the scheduler lets it."""
        if not self.is_dead:
            self.tasks.append(Task(self, name, call))

    def kill(self) -> None:
        """End all threads where they are. Nothing that they call on their way out has an effect."""
        self.is_dead = True
        for task in self.tasks:
            if task:  # it has started, and has not ended
                task.throw(GreenletExit)
        self.tasks = []


class Task(greenlet):
    """
    A thread. `where` says what it waits for, `is_ready` whether it may run on.

    It runs on with one of `outcomes`, which `pause` returns.
    """

    def __init__(self, process: Process, name: str, call: Callable[[], object]) -> None:
        super().__init__(lambda _outcome="": call(), process.scheduler)
        self.process = process
        self.name = name
        self.where = "starts"
        self.is_ready: Callable[[], bool] = always
        self.outcomes: tuple[str, ...] = PLAIN
        self.frames: object = None  # how `state.py` saw it last
        self.ran_at = 0  # the number of the step


def always() -> bool:
    """Return True."""
    return True


def pause(where: str, is_ready: Callable[[], bool] = always, outcomes: tuple[str, ...] = PLAIN) -> str:
    """Let other threads run; return the outcome that the scheduler chose. Outside of a scheduler, do nothing."""
    task = getcurrent()
    if not isinstance(task, Task):
        return outcomes[0]
    if task.process.is_dead:
        raise GreenletExit
    task.where, task.is_ready, task.outcomes = where, is_ready, outcomes
    return str(task.parent.switch())  # type: ignore[union-attr]  # a task has a parent


def this_process() -> Process:
    """Return the process whose thread is running."""
    task = getcurrent()
    assert isinstance(task, Task)
    return task.process


class ScheduledFuture:
    """A `concurrent.futures.Future` for these threads."""

    def __init__(self) -> None:
        self._is_done = False
        self._error: BaseException | None = None
        self.outcome: Any = None

    def done(self) -> bool:
        """Return whether there is a result."""
        return self._is_done

    def set_result(self, result: object) -> None:
        """Set the result."""
        self._is_done, self.outcome = True, result

    def set_exception(self, error: BaseException) -> None:
        """Set an error as the result."""
        self._is_done, self._error = True, error

    def exception(self) -> BaseException | None:
        """Wait for the result; return its error."""
        if not self._is_done:
            pause("waits for a result", self.done)
        return self._error

    def result(self) -> Any:  # noqa: ANN401 - as the original
        """Wait for the result; return it, or raise its error."""
        if (error := self.exception()) is not None:
            raise error
        return self.outcome


class Waited(NamedTuple):
    """As `concurrent.futures.wait` returns it."""

    done: set[ScheduledFuture]


def wait(futures: Iterable[ScheduledFuture], timeout_s: float) -> Waited:
    """Wait for results. If the scheduler runs this thread on before they are there, the time is over."""
    asked = list(futures)
    if timeout_s > 0 and not all(one.done() for one in asked):
        pause("waits a while for a write")
        if not all(one.done() for one in asked):
            this_process().now_s += TICK_S
    return Waited({one for one in asked if one.done()})


class ScheduledQueue:
    """A `queue.SimpleQueue` for these threads."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()

    def put(self, item: object) -> None:
        """Append an item."""
        self._items.append(item)

    def get(self) -> Any:  # noqa: ANN401 - as the original
        """Wait for an item, and take it."""
        pause("begins", self._has_items)
        return self._items.popleft()

    def _has_items(self) -> bool:
        return bool(self._items)


class ScheduledThread:
    """A `threading.Thread` for these threads."""

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...] = (), *, name: str, daemon: bool) -> None:
        assert daemon, "the process must be able to end"
        self._call: Callable[[], object] = partial(target, *args)
        self._name, self._has_ended = name, False

    def start(self) -> None:
        """Start it."""
        this_process().start(self._name, self._run)

    def join(self, _timeout_s: float) -> None:
        """Wait for its end, or for the scheduler to say that the time is over."""
        if not this_process().is_dead:
            pause("waits a while for the end of a thread")

    def is_alive(self) -> bool:
        """Return whether it has not ended."""
        return not self._has_ended

    def _run(self) -> None:
        self._call()
        self._has_ended = True


class ScheduledThreading:
    """The module `threading` for these threads."""

    Thread = ScheduledThread


class ScheduledTime:
    """The module `time` for these threads: each process has its own clock."""

    @staticmethod
    def monotonic() -> float:
        """Return the process's clock."""
        return this_process().now_s

    @staticmethod
    def sleep(_seconds: float) -> None:
        """Let the clock tick."""
        this_process().now_s += TICK_S


class QuietLog:
    """The module `structlog`, silent: a log line costs more than all else in a schedule."""

    def get_logger(self) -> "QuietLog":
        """Return itself."""
        return self

    def info(self, *_: object, **__: object) -> None:
        """Do nothing."""

    warning = info


PATCHES: Final[dict[str, object]] = {
    "consumer.worker.threading": ScheduledThreading,
    "consumer.worker.time": ScheduledTime,
    "consumer.worker.structlog": QuietLog(),
    "consumer.writer.Future": ScheduledFuture,
    "consumer.writer.SimpleQueue": ScheduledQueue,
    "consumer.writer.threading": ScheduledThreading,
    "consumer.writer.time": ScheduledTime,
    "consumer.writer.structlog": QuietLog(),
    "consumer.writers.time": ScheduledTime,
    "consumer.writers.wait": wait,
    "consumer.writers.BLOCKED_S": 0.0,
    "consumer.report.time": ScheduledTime,
    "consumer.report.structlog": QuietLog(),
    "store.outage.time": ScheduledTime,
    "store.outage.structlog": QuietLog(),
    # Half a tick: a retry is never due before the clock has ticked, and always afterwards.
    "store.outage.FIRST_RETRY_S": TICK_S / 2,
    "store.outage.LAST_RETRY_S": TICK_S / 2,
    "store.outage.SETTLED_S": 0.0,
}


@contextmanager
def scheduled() -> Iterator[None]:
    """Let the loop and its writers use these threads instead of the system's."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATCHES.items():
            patch.setattr(name, value)
        yield
