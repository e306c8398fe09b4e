"""The thread that talks to PostgreSQL while the loop reads Kafka: one call at a time, each with an answer to come."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Writer:
    """
    Runs calls in one thread, in order.

    The thread is a daemon: a call that hangs cannot keep the process from ending, whose connection the database then
    sees close. (The standard library's executors wait for their threads at the end, whatever it takes.)
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name="writer", daemon=True).start()

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have something called; the future gets what it returns or raises."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = call(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - raised again by whoever asks for the result
                future.set_exception(error)
            else:
                future.set_result(result)

        self._calls.put(run)
        return future

    def _run(self) -> None:
        while True:
            self._calls.get()()
