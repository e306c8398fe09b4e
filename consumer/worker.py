"""
The loop: while batches are being written, the next one is read and decoded.

Each writer has a connection of its own, so that one batch is copied while the one before it commits. Only the copying
overlaps: a batch's books advance after those of the batch before it, and if that one fails, it fails, too.

Start, rebalance, a lost connection and a stale owner share one path: forget what was read, ask the ledger where to
go on, read from there. Nothing in here knows Kafka or PostgreSQL; it gets a `Source` and a `Store` passed in.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Final

import structlog

from common.errors import OutageError
from common.telemetry import BATCH_ROWS, BATCH_SECONDS, FENCED, RETRIES, Health
from common.validation import Decode
from consumer.batch import Batch, Rejected
from consumer.ends import Source, Stop, Store
from consumer.errors import (
    LogEndsEarlyError,
    MembershipLostError,
    PredecessorFailedError,
    StaleOwnerError,
    TopicReplacedError,
)
from consumer.report import Report
from consumer.writer import Writer

PATIENCE_S: Final = 1.0  # with a write, before the group is told that we are still there; then every so often
BLOCKED_S: Final = 1.5  # until the database is taken to wait for a stalled owner, who is then ended
DRAIN_S: Final = 30.0  # a stop waits this long for each of the last writes; compose's stop_grace_period is longer
REVOKE_S: Final = 5.0  # a rebalance waits this long; a write that is later yet is stopped by the fence
SETTLED_S: Final = 5.0  # without anything to write after a failed write: then it was stored after all
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 2.0


@dataclass(slots=True)
class _Write:
    """A batch on its way into the database."""

    batch: Batch
    future: Future[list[Rejected]]
    started: float


class Worker:
    """
    Reads, decodes and has batches written until told to stop.

    Args:
        open_source: Makes a new membership in the group; gets what to call before partitions are given up.
        stores: One for each batch that may be written at a time; each is used by one thread at a time.
        decode: Judges payloads.
        health: Is told of progress.
    """

    def __init__(
        self,
        open_source: Callable[[Callable[[], object]], Source],
        stores: Sequence[Store],
        decode: Decode,
        health: Health,
    ) -> None:
        self._open_source = open_source
        self._decode = decode
        self._health = health
        self._report = Report()
        self._writers = [Writer(store) for store in stores]
        self._writes: deque[_Write] = deque()  # those under way, the oldest first
        self._write_failed = False
        self._generation = 0
        self._retry_at = 0.0
        self._retry_s = FIRST_RETRY_S

    def run(self, stop: Stop) -> None:
        """
        Store what arrives until `stop` is set; then finish what is under way, in bounded time.

        Raises:
            BooksError, ConfigError: Going on is no use or no good; everything committed so far stays.
        """
        try:
            while not stop.is_set():
                self._run_source(stop)
        finally:
            for writer in self._writers:
                if writer.is_idle:
                    writer.store.close()  # a call that hangs ends with the process

    def _run_source(self, stop: Stop) -> None:
        """Live through one membership in the group: until the end, or until the topic turns out to be another one."""
        self._report.forget_offsets()
        source = self._open_source(lambda: wait([write.future for write in self._writes], REVOKE_S))
        try:
            try:
                self._subscribe(source, stop)
                self._loop(source, stop)
                self._settle(source, DRAIN_S)
                self._report.flush(source)
            finally:
                source.close()
        except (TopicReplacedError, MembershipLostError) as error:
            structlog.get_logger().warning(error.message, hint=error.hint)

    def _subscribe(self, source: Source, stop: Stop) -> None:
        while not stop.is_set():
            if time.monotonic() < self._retry_at:
                time.sleep(FIRST_RETRY_S)
                continue
            try:
                source.subscribe()
            except OutageError as error:
                self._back_off(error, "kafka")
            else:
                self._recovered()
                return

    def _loop(self, source: Source, stop: Stop) -> None:
        while not stop.is_set():
            self._place(source, stop)
            if slices := source.read():
                self._hand_over(source, Batch.of(slices, self._generation, self._decode), stop)
            self._settle(source, 0)
            self._report.tick(source)
            # Right after a failed write, nothing to read only means that it has not been read again yet.
            rested = not self._write_failed or time.monotonic() - self._retry_at > SETTLED_S
            if rested and not slices and not self._writes and not source.unplaced:
                self._health.ok()  # nothing to do
                self._recovered()

    def _place(self, source: Source, stop: Stop) -> None:
        """Ask the ledger where the unplaced partitions go on, and start reading them there."""
        if not source.unplaced or time.monotonic() < self._retry_at or not self._settle(source, PATIENCE_S):
            return
        try:
            log_ranges = source.log_ranges(source.unplaced)
            source.confirm_topic()()  # afterwards, so that they are this topic's and not its successor's
        except OutageError as error:
            self._back_off(error, "kafka")
            return
        writer = self._writers[0]
        asked = writer.submit(writer.store.positions, source.topic, log_ranges)
        while not self._is_done(asked, PATIENCE_S):
            if stop.is_set():
                return
            source.rest()
        try:
            self._generation, positions = asked.result()
        except LogEndsEarlyError as error:
            if self._ends_early(source, error):
                raise
            return  # another engine was quicker with records that came meanwhile: ask again
        except OutageError as error:
            self._back_off(error, "postgresql")
            return
        source.place(positions)
        if not self._write_failed:  # otherwise only a write shows that writing works again
            self._recovered()

    def _ends_early(self, source: Source, error: LogEndsEarlyError) -> bool:
        try:
            _, end = source.log_ranges([error.partition])[error.partition]
        except OutageError as outage:
            self._back_off(outage, "kafka")
            return False
        return end < error.expected

    def _hand_over(self, source: Source, batch: Batch, stop: Stop) -> None:
        """Have a batch written as soon as a writer has time; a batch that follows a failed one is dropped."""
        while not self._settle(source, PATIENCE_S, leave=len(self._writers) - 1):
            if stop.is_set():
                return  # it is read again
            source.rest()
        if not source.holds(batch.slices):
            return  # the one before failed, or a partition was given up meanwhile: it is read again
        before = self._writes[-1].future if self._writes else None
        writer = next(writer for writer in self._writers if writer.is_idle)
        future = writer.submit(writer.store.write, batch, source.topic, lambda: _confirm(source, before))
        self._writes.append(_Write(batch, future, time.monotonic()))

    def _settle(self, source: Source, timeout_s: float, leave: int = 0) -> bool:
        """Wait until at most `leave` writes are under way, in order, for each so long; False if there are more."""
        while len(self._writes) > leave:
            if not self._is_done(self._writes[0].future, timeout_s):
                return False
            self._finish(source, self._writes.popleft())
        return True

    def _finish(self, source: Source, write: _Write) -> None:
        """Take note of a write's end; its failure displaces every partition."""
        try:
            rejected = write.future.result()
        except PredecessorFailedError:
            pass  # everything was displaced when that one failed
        except StaleOwnerError as error:
            source.displace()
            FENCED.inc()
            structlog.get_logger().info(error.message, hint=error.hint)
        except OutageError as error:
            source.displace()
            self._write_failed = True
            self._back_off(error, "postgresql")
        else:
            BATCH_SECONDS.observe(time.monotonic() - write.started)
            BATCH_ROWS.observe(write.batch.messages)
            self._report.stored(write.batch, rejected)
            self._health.ok()
            self._recovered()

    def _is_done(self, asked: Future[Any], timeout_s: float) -> bool:
        """Wait for a store's answer; after a while, end stalled owners that hold it up."""
        if wait([asked], timeout_s).done:
            return True
        if ended := sum(writer.end_blockers(BLOCKED_S) for writer in self._writers):
            structlog.get_logger().warning("stalled sessions ended that held up the database", count=ended)
        return False

    def _back_off(self, error: OutageError, server: str) -> None:
        RETRIES.labels(server).inc()
        self._report.outage(error)
        self._retry_at = time.monotonic() + self._retry_s * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)

    def _recovered(self) -> None:
        self._write_failed = False
        self._retry_s = FIRST_RETRY_S
        self._report.recovered()


def _confirm(source: Source, before: Future[list[Rejected]] | None) -> Callable[[], None]:
    """Ask what must hold when a batch's books advance: the topic is still the same, the batch before is stored."""
    wait_for_topic = source.confirm_topic()

    def wait_for_both() -> None:
        if before is not None and before.exception() is not None:
            raise PredecessorFailedError("the batch before was not stored", hint="Both are read again.")
        wait_for_topic()

    return wait_for_both
