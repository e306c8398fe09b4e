"""Batches that Kafka's client cannot read: their offsets are quarantined, and other partitions go on meanwhile."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextvars import copy_context
from typing import Final

import structlog

from common.errors import OutageError
from common.settings import Settings
from consumer.batch_end import UnreadableBatch, find
from store.batch import Slice
from store.reasons import Reason
from store.record import PlainRecord, Rejected

RETRY_S: Final = 10.0
AT_ONCE: Final = threading.BoundedSemaphore(4)  # searches; each may unpack a large batch, which takes memory


class UnreadableBatches:
    """
    The partitions at whose position Kafka's client reports an error; they are paused meanwhile.

    Args:
        settings: Address, topic, options.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._searches: dict[int, _Search] = {}
        self._found: dict[int, UnreadableBatch] = {}
        self._readable: dict[int, int] = {}  # positions at which a search found nothing wrong

    @property
    def partitions(self) -> set[int]:
        """Return the partitions that are looked into or passed."""
        return self._searches.keys() | self._found.keys()

    def stuck(self, positions: Mapping[int, int]) -> set[int]:
        """Return the partitions whose reading does not go on, or has not gone on yet after a search."""
        return {*self._searches, *(p for p, offset in self._readable.items() if positions.get(p) == offset)}

    def search(self, partition: int, position: int) -> None:
        """Search for the end of the batch at a partition's position."""
        again = self._readable.get(partition) == position  # read by the other client, and not by the group's
        self._searches[partition] = _Search(self._settings, partition, position, RETRY_S if again else 0)

    def forget(self, partition: int) -> None:
        """Drop what is known of a partition: it was given up, or is read anew."""
        self._found.pop(partition, None)
        self._readable.pop(partition, None)
        if (search := self._searches.pop(partition, None)) is not None:
            search.cancel()

    def settle(self, partition: int) -> None:
        """Note that a partition was read to the log's end."""
        self._readable.pop(partition, None)

    def take(self, partition: int, position: int, most: int) -> Slice | None:
        """
        Return the next unreadable offsets from a partition's position on.

        Args:
            partition: One of `partitions`. Once it is none of them any more, reading goes on at the slice's end.
            position: Where it stands.
            most: How many records the slice may have.
        Returns:
            A slice whose records are all bad; None if there are none, or none yet.
        Raises:
            ConfigError: The broker refuses us.
        """
        if (search := self._searches.get(partition)) is not None:
            if not search.is_done:
                return None
            del self._searches[partition]
            if (found := search.result()) is None:
                self._readable[partition] = position
                return None
            self._found[partition] = found
            structlog.get_logger().error(
                "unreadable batch quarantined",
                topic=self._settings.kafka.topic,
                partition=partition,
                from_offset=found.from_offset,
                to_offset=found.to_offset - 1,
                kafka_says=found.words,
            )
        batch = self._found[partition]
        first = max(position, batch.from_offset)
        end = min(first + most, batch.to_offset)
        if end == batch.to_offset:
            del self._found[partition]
        now_ms = time.time_ns() // 1_000_000
        records = [PlainRecord(partition, offset, 0, now_ms, None, None) for offset in range(first, end)]
        rejected = [Rejected(record, Reason.UNREADABLE_BATCH) for record in records]
        return Slice(partition, position, end, [], skipped=first - position, rejected=rejected)


class _Search:
    """Searches, in a thread of its own, for the batch at an offset until there is an answer; each failure is logged."""

    def __init__(self, settings: Settings, partition: int, offset: int, wait_s: float) -> None:
        self._settings = settings
        self._partition = partition
        self._offset = offset
        self._wait_s = wait_s
        self._cancelled = threading.Event()
        self._found: Future[UnreadableBatch | None] = Future()
        threading.Thread(target=copy_context().run, args=(self._run,), name="search", daemon=True).start()

    @property
    def is_done(self) -> bool:
        """Return whether there is an answer."""
        return self._found.done()

    def result(self) -> UnreadableBatch | None:
        """Return the batch; None if what stands at the offset can be read. Raises as `find`, but no `OutageError`."""
        return self._found.result()

    def cancel(self) -> None:
        """Stop searching; nobody wants the answer any more."""
        self._cancelled.set()

    def _run(self) -> None:
        self._cancelled.wait(self._wait_s)
        while not self._cancelled.is_set():
            try:
                with AT_ONCE:
                    self._found.set_result(find(self._settings, self._partition, self._offset))
            except OutageError as error:
                structlog.get_logger().error("unreadable batch has no known end", error=error.message, hint=error.hint)
                self._cancelled.wait(RETRY_S)
            except BaseException as error:  # noqa: BLE001 - raised again by whoever asks for the result
                self._found.set_exception(error)
                return
            else:
                return
