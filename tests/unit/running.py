"""A worker that runs in a thread of its own, on ends in memory."""

import threading
from collections.abc import Callable
from typing import Final, Self

from common.errors import HeartbeatError, OutageError, TopicReplacedError
from common.event import MAX_FUTURE
from common.telemetry import Health
from consumer.worker import Worker
from contracts.heartbeats import HEARTBEATS
from local.waiting import wait_until
from store.events import Events
from store.lag import Lag
from store.validation import Decode
from tests.memory import MemorySource, MemoryStore, MemoryTopic

DEADLINE_S: Final = 10
LOOK_S: Final = 0.001
# The loop's own times, a hundredth or so: the proportions are what is tested.
TIMES_S: Final = {
    "consumer.worker.PATIENCE_S": 0.01, "consumer.worker.DRAIN_S": 5.0, "consumer.worker.REVOKE_S": 5.0,
    "consumer.writers.BLOCKED_S": 0.1, "consumer.report.INTERVAL_S": 0.05,
    "store.outage.FIRST_RETRY_S": 0.005, "store.outage.LAST_RETRY_S": 0.1,
}  # fmt: skip


def away() -> OutageError:
    """Return what a server that is away raises."""
    return OutageError("it is away", hint="Wait.")


def replaced() -> TopicReplacedError:
    """Return what asking for a topic that was made again raises."""
    return TopicReplacedError("it is another one", hint="Start anew.")


def raising(error: HeartbeatError) -> Callable[..., None]:
    """Return something that may happen at an end: an error."""

    def happen(*_: object) -> None:
        raise error

    return happen


class Gate:
    """Blocks every thread that arrives, until it is opened."""

    def __init__(self, then: Callable[..., object] = lambda *_: None) -> None:
        self._then = then
        self._came = threading.Event()
        self._opened = threading.Event()

    def __call__(self, *given: object) -> None:
        """Wait for the gate, then do what was asked for."""
        self._came.set()
        self._opened.wait(DEADLINE_S)
        self._then(*given)

    def wait_for_somebody(self) -> None:
        """Wait until somebody stands at the gate."""
        assert self._came.wait(DEADLINE_S), "nobody came"

    def open(self) -> None:
        """Let everybody pass, now and later."""
        self._opened.set()


class SeenStop:
    """A stop flag that knows whether the loop has seen it."""

    def __init__(self) -> None:
        self._set = False
        self.seen = threading.Event()

    def set(self) -> None:
        """Ask to stop."""
        self._set = True

    def is_set(self) -> bool:
        """Return whether to stop."""
        if self._set:
            self.seen.set()
        return self._set


class CountingHealth(Health):
    """Counts how often progress was noted."""

    def __init__(self) -> None:
        super().__init__()
        self.noted = 0

    def ok(self) -> None:
        """Note progress."""
        super().ok()
        self.noted += 1


class Running:
    """
    A worker on topics in memory, one membership in the group after the other.

    `store` writes batches, in turn with `second` if there is one. `prepare` gets each membership before it is used;
    leaving the context stops the loop and raises what it raised.
    """

    def __init__(
        self, *topics: MemoryTopic, store: MemoryStore | None = None, second: MemoryStore | None = None
    ) -> None:
        self.store = store or MemoryStore()
        self._stores = [self.store, *([second] if second else [])]
        self.sources: list[MemorySource] = []
        self.prepare: Callable[[MemorySource], object] = lambda _source: None
        self.health = CountingHealth()
        self.events = Events("consumer")
        self._topics = topics
        self.stop = SeenStop()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop.set()
        if kind is None:
            self.join()

    @property
    def source(self) -> MemorySource:
        """The membership of now."""
        wait_until(lambda: bool(self.sources) or self._error is not None, DEADLINE_S, every_s=LOOK_S)
        return self.sources[-1]

    @property
    def has_ended(self) -> bool:
        """Return whether the loop has ended."""
        return not self._thread.is_alive()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition while the loop runs."""
        wait_until(lambda: self.has_ended or condition(), DEADLINE_S, every_s=LOOK_S)
        if self._error is not None:
            raise self._error

    def wait_until_stored(self, due: int) -> None:
        """Wait until so many rows are stored."""
        self.wait_until(lambda: len(self.store.tables.rows) >= due)

    def wait_for_polls(self) -> None:
        """Wait until the broker was asked a few times more."""
        due = self.source.reads + self.source.rests + 5
        self.wait_until(lambda: self.source.reads + self.source.rests >= due)

    def join(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait for the loop's end, and raise what it raised."""
        self._thread.join(timeout_s)
        assert self.has_ended, "the loop did not stop"
        if self._error is not None:
            raise self._error

    def _open(self, before_revoke: Callable[[], object]) -> MemorySource:
        source = MemorySource(self._topics[len(self.sources)], before_revoke)
        self.prepare(source)
        self.sources.append(source)
        return source

    def _run(self) -> None:
        try:
            decode = Decode(HEARTBEATS, MAX_FUTURE)
            Worker(self._open, self._stores, decode, health=self.health, lag=Lag(), events=self.events).run(self.stop)
        except BaseException as error:  # noqa: BLE001 - handed over to the test's thread, whatever it is
            self._error = error
