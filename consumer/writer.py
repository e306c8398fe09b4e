"""A thread that calls PostgreSQL while the loop reads Kafka, one call at a time."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

import structlog

from common.errors import HeartbeatError
from consumer.interfaces import Store

P = ParamSpec("P")
T = TypeVar("T")


class Writer:
    """
    Runs calls to one store in one thread, in order.

    The thread is a daemon, so the process can exit during a call that hangs; the database then sees the connection
    close. (The standard library's executors wait for their threads without a limit.)

    Args:
        store: Used by this thread; by others only while no call is running.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._asked: Future[Any] | None = None
        self._asked_at = 0.0
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=copy_context().run, args=(self._run,), name="writer", daemon=True).start()

    @property
    def is_idle(self) -> bool:
        """Return whether no call is running."""
        return self._asked is None or self._asked.done()

    def terminate_blockers(self, after_s: float) -> None:
        """
        Terminate stalled sessions if a call has been running for so long, and again after each such period.

        This runs in its own thread: it needs another connection, and a hanging server does not answer for seconds.
        """
        if self.is_idle or time.monotonic() - self._asked_at < after_s:
            return
        self._asked_at = time.monotonic()
        threading.Thread(target=copy_context().run, args=(self._end_blockers,), name="blockers", daemon=True).start()

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call; the future gets its result or error."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = call(*args, **kwargs)
            except HeartbeatError as error:
                future.set_exception(_without_frames(error))
            except BaseException as error:  # noqa: BLE001 - the future raises it again
                future.set_exception(error)
            else:
                future.set_result(result)

        self._asked, self._asked_at = future, time.monotonic()
        self._calls.put(run)
        return future

    def _end_blockers(self) -> None:
        if count := self.store.terminate_blockers():
            structlog.get_logger().warning("terminated stalled sessions that blocked a write", count=count)

    def _run(self) -> None:
        while True:
            self._calls.get()()


def _without_frames(error: HeartbeatError) -> HeartbeatError:
    """Remove the tracebacks of an error and its causes: their frames would keep the failed batch in memory."""
    one: BaseException | None = error
    while one is not None:
        one.__traceback__ = None
        one = one.__cause__ or one.__context__
    return error
