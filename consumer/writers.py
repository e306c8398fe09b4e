"""The batches in flight, the oldest first, and the threads that write them."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Final

from common.topic_identity import Check, TopicIdentity
from consumer.errors import PredecessorFailedError
from consumer.interfaces import Source, Store
from consumer.writer import Writer
from store.batch import Batch
from store.position import Position
from store.record import Rejected

BLOCKED_S: Final = 1.5  # then a stalled owner is assumed to block the write, and its session is terminated


@dataclass(slots=True)
class Write:
    """A batch that is being written, and the session that read it."""

    batch: Batch
    source: Source
    future: Future[list[Rejected]]
    started: float


@dataclass(frozen=True, slots=True)
class InOrder:
    """Checks before the ledger advances that the topic is the same and the previous batch is stored."""

    topic: Check
    before: Future[list[Rejected]] | None

    def start(self) -> None:
        """Start the topic's check."""
        self.topic.start()

    def wait(self) -> None:
        """Wait for the previous batch, then for the topic's check."""
        if self.before is not None and self.before.exception() is not None:
            raise PredecessorFailedError("the previous batch was not stored", hint="Both are read again.")
        self.topic.wait()


class Writers:
    """
    Writes batches in parallel. Each advances the ledger only after the previous one was stored.

    Args:
        stores: One for each batch that may be written at a time.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self._writers = [Writer(store) for store in stores]
        self._writes: deque[Write] = deque()

    def __len__(self) -> int:
        """Return the number of writes that `take_finished` has not returned yet."""
        return len(self._writes)

    @property
    def most(self) -> int:
        """Return the maximum number of batches in flight."""
        return len(self._writers)

    def ask_positions(
        self, topic: TopicIdentity, log_ranges: Mapping[int, tuple[int, int]]
    ) -> Future[tuple[int, dict[int, Position]]]:
        """Read the ledger, as `Store.positions`, while nothing is being written."""
        return self._writers[0].submit(self._writers[0].store.positions, topic, log_ranges)

    def write(self, batch: Batch, source: Source) -> None:
        """Start writing a batch; one writer must be free."""
        before = self._writes[-1].future if self._writes else None
        writer = next(writer for writer in self._writers if writer.is_idle)
        future = writer.submit(writer.store.write, batch, source.topic, InOrder(source.check_topic(), before))
        self._writes.append(Write(batch, source, future, time.monotonic()))

    def take_finished(self, timeout_s: float, leave: int) -> Iterator[Write]:
        """Wait at most `timeout_s` until at most `leave` writes are in flight; yield the finished ones, in order."""
        deadline = time.monotonic() + timeout_s
        while len(self._writes) > leave and self.is_done(self._writes[0].future, deadline - time.monotonic()):
            yield self._writes.popleft()

    def is_done(self, asked: Future[Any], timeout_s: float) -> bool:
        """Wait for a store's answer; return False after `timeout_s`. Terminate stalled sessions that block it."""
        if wait([asked], max(0.0, timeout_s)).done:
            return True
        for writer in self._writers:
            writer.terminate_blockers(BLOCKED_S)
        return False

    def wait(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` until all writes have finished; `take_finished` still returns them."""
        wait([write.future for write in tuple(self._writes)], timeout_s)  # a copy: leaving is a thread

    def close(self) -> None:
        """Close the connections of idle writers; a call that hangs ends with the process."""
        for writer in self._writers:
            if writer.is_idle:
                writer.store.close()
