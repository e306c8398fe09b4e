"""The batches that are being written, the oldest first, and the threads that write them."""

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

BLOCKED_S: Final = 1.5  # until the database is taken to wait for a stalled owner, who is then ended


@dataclass(slots=True)
class Write:
    """A batch on its way into the database."""

    batch: Batch
    future: Future[list[Rejected]]
    started: float


@dataclass(frozen=True, slots=True)
class InOrder:
    """Checks what must hold when a batch's ledger advances: the topic is the same, the batch before is stored."""

    topic: Check
    before: Future[list[Rejected]] | None

    def start(self) -> None:
        """Ask for the topic."""
        self.topic.start()

    def wait(self) -> None:
        """Wait for the batch before, then for the topic."""
        if self.before is not None and self.before.exception() is not None:
            raise PredecessorFailedError("the batch before was not stored", hint="Both are read again.")
        self.topic.wait()


class Writers:
    """
    Writes batches beside each other; each advances the ledger only after the one before it was stored.

    Args:
        stores: One for each batch that may be written at a time.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self._writers = [Writer(store) for store in stores]
        self._writes: deque[Write] = deque()

    def __len__(self) -> int:
        """Return how many writes are under way, or have ended and were not taken by `take_finished` yet."""
        return len(self._writes)

    @property
    def most(self) -> int:
        """Return how many batches may be written at a time."""
        return len(self._writers)

    def ask_positions(
        self, topic: TopicIdentity, log_ranges: Mapping[int, tuple[int, int]]
    ) -> Future[tuple[int, dict[int, Position]]]:
        """Ask the ledger, as `Store.positions`; while nothing is being written."""
        return self._writers[0].submit(self._writers[0].store.positions, topic, log_ranges)

    def write(self, batch: Batch, source: Source) -> None:
        """Begin to write a batch; one writer has to be free."""
        before = self._writes[-1].future if self._writes else None
        writer = next(writer for writer in self._writers if writer.is_idle)
        future = writer.submit(writer.store.write, batch, source.topic, InOrder(source.check_topic(), before))
        self._writes.append(Write(batch, future, time.monotonic()))

    def take_finished(self, timeout_s: float, leave: int) -> Iterator[Write]:
        """Wait in all so long until at most `leave` writes are under way; give those that end, in order."""
        deadline = time.monotonic() + timeout_s
        while len(self._writes) > leave and self.is_done(self._writes[0].future, deadline - time.monotonic()):
            yield self._writes.popleft()

    def is_done(self, asked: Future[Any], timeout_s: float) -> bool:
        """Wait for a store's answer; after a while, terminate stalled owners that hold it up."""
        if wait([asked], max(0.0, timeout_s)).done:
            return True
        for writer in self._writers:
            writer.terminate_blockers(BLOCKED_S)
        return False

    def wait(self, timeout_s: float) -> None:
        """Wait until all writes have ended, at most so long; they are still to be taken by `take_finished`."""
        wait([write.future for write in tuple(self._writes)], timeout_s)  # a group that is left calls from its thread

    def close(self) -> None:
        """Close the connections on which nothing is under way; a call that hangs ends with the process."""
        for writer in self._writers:
            if writer.is_idle:
                writer.store.close()
