"""Quarantines the offsets of batches that Kafka's client cannot read. Other partitions continue meanwhile."""

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
AT_ONCE: Final = threading.BoundedSemaphore(4)  # searches at a time; each may unpack a large batch, which takes memory


class UnreadableBatches:
    """
    Partitions with an error at their position. They are paused meanwhile.

    Args:
        settings: Address, topic, options.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._searches: dict[int, _Search] = {}
        self._found: dict[int, UnreadableBatch] = {}
        self._readable: dict[int, int] = {}  # positions at which a search found no error

    @property
    def partitions(self) -> set[int]:
        """Return the partitions whose unreadable batch is being searched or passed."""
        return self._searches.keys() | self._found.keys()

    def stuck(self, positions: Mapping[int, int]) -> set[int]:
        """Return the partitions that are not being read, or have not advanced since a search."""
        return {*self._searches, *(p for p, offset in self._readable.items() if positions.get(p) == offset)}

    def search(self, partition: int, position: int) -> None:
        """Search for the end of the batch at a partition's position."""
        again = self._readable.get(partition) == position  # the search could read it, the group's client could not
        self._searches[partition] = _Search(self._settings, partition, position, RETRY_S if again else 0)

    def forget(self, partition: int) -> None:
        """Forget a partition: it was revoked, or is read again."""
        self._found.pop(partition, None)
        self._readable.pop(partition, None)
        if (search := self._searches.pop(partition, None)) is not None:
            search.cancel()

    def settle(self, partition: int) -> None:
        """Note that a partition was read to the log's end."""
        self._readable.pop(partition, None)

    def take(self, partition: int, position: int, most: int) -> Slice | None:
        """
        Return the next unreadable offsets from a partition's position.

        Args:
            partition: One of `partitions`. When it is no longer among them, reading continues at the slice's end.
            position: Its next offset.
            most: The maximum number of records in the slice.
        Returns:
            A slice whose records are all rejected; None if there are none, or none yet.
        Raises:
            ConfigError: The broker rejects us.
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
    """Searches for the batch at an offset in its own thread, until it succeeds. It logs each failure."""

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
        """Return whether the search has ended."""
        return self._found.done()

    def result(self) -> UnreadableBatch | None:
        """Return the batch; None if the record at the offset can be read. Raises as `find`, but no `OutageError`."""
        return self._found.result()

    def cancel(self) -> None:
        """Stop the search."""
        self._cancelled.set()

    def _run(self) -> None:
        self._cancelled.wait(self._wait_s)
        while not self._cancelled.is_set():
            try:
                with AT_ONCE:
                    self._found.set_result(find(self._settings, self._partition, self._offset))
            except OutageError as error:
                structlog.get_logger().error("unreadable batch has no known end", **error.fields)
                self._cancelled.wait(RETRY_S)
            except BaseException as error:  # noqa: BLE001 - `result` raises it again
                self._found.set_exception(error)
                return
            else:
                return
