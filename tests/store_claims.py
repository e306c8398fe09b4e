"""What the loop's store promises in consumer/interfaces.py, as claims; a subclass holds an implementation to them."""

from typing import Protocol

import pytest

from common.errors import OutageError
from common.event import MAX_FUTURE
from common.topic_identity import TopicIdentity
from consumer.interfaces import Store
from contracts.heartbeats import HEARTBEATS
from store.batch import Batch, Slice
from store.errors import LogEndsEarlyError, StaleOwnerError
from store.position import LastRecord, Position
from store.validation import Decode
from tests.memory import MemoryCheck
from tests.records import MemoryRecord

TOPIC = TopicIdentity("heartbeats", "first id")
AGAIN = TopicIdentity("heartbeats", "second id")
START = {0: Position(0), 1: Position(0)}


class Tables(Protocol):
    """An empty database."""

    def open(self) -> Store:
        """Open a session; closed after the test."""

    def rows(self) -> list[tuple[int, int, int]]:
        """Return generation, partition and offset of each row of `heartbeats`, in order."""

    def rejected(self) -> list[tuple[int, int, int]]:
        """Return the same of the quarantine."""


def good(partition: int, start: int, end: int) -> Slice:
    return Slice(partition, start, end, [MemoryRecord(partition, offset) for offset in range(start, end)])


def batch(generation: int, *slices: Slice) -> Batch:
    return Batch.of(slices, generation, Decode(HEARTBEATS, MAX_FUTURE))


def opened(tables: Tables) -> tuple[Store, int]:
    """Open a store for a topic whose two partitions hold 100 messages each; its generation."""
    store = tables.open()
    return store, store.positions(TOPIC, {0: (0, 100), 1: (0, 100)})[0]


def positions(store: Store) -> dict[int, Position]:
    return store.positions(TOPIC, {0: (0, 100), 1: (0, 100)})[1]


class NotedCheck:
    """Notes what is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def wait(self) -> None:
        self.calls.append("wait")


class StoreClaims:
    """Needs the fixture `tables`."""

    def test_partition_that_the_ledger_does_not_know_begins_at_the_logs_start(self, tables: Tables) -> None:
        _, found = tables.open().positions(TOPIC, {0: (7, 20), 1: (0, 0)})

        assert found == {0: Position(7), 1: Position(0)}

    def test_write_stores_each_record_once_and_the_ledger_follows(self, tables: Tables) -> None:
        store, generation = opened(tables)
        broken = MemoryRecord(0, 3, b"broken")
        part = Slice(0, 0, 4, [*good(0, 0, 3).records, broken])
        rejected = store.write(batch(generation, part, good(1, 0, 2)), TOPIC, MemoryCheck())

        assert [one.record for one in rejected] == [broken]
        assert tables.rows() == [(generation, *at) for at in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]]
        assert tables.rejected() == [(generation, 0, 3)]
        last = LastRecord.of(MemoryRecord(1, 1))
        assert positions(store) == {0: Position(4, LastRecord.of(broken)), 1: Position(2, last)}

    def test_overtaken_write_raises_and_stores_nothing(self, tables: Tables) -> None:
        """Also of the partitions in which no other owner was faster: a batch is stored as a whole."""
        store, generation = opened(tables)
        other = tables.open()
        other.write(batch(generation, good(1, 0, 2)), TOPIC, MemoryCheck())
        with pytest.raises(StaleOwnerError):
            store.write(batch(generation, good(0, 0, 3), good(1, 0, 1)), TOPIC, MemoryCheck())

        assert tables.rows() == [(generation, 1, 0), (generation, 1, 1)]
        assert {p: at.next_offset for p, at in positions(store).items()} == {0: 0, 1: 2}

    def test_batch_beyond_the_ledger_raises_and_stores_nothing(self, tables: Tables) -> None:
        """The batch before it was rolled back: stored alone, it would leave a hole."""
        store, generation = opened(tables)
        with pytest.raises(StaleOwnerError):
            store.write(batch(generation, good(0, 5, 6)), TOPIC, MemoryCheck())

        assert tables.rows() == []
        assert positions(store) == START

    def test_store_writes_on_after_it_was_overtaken(self, tables: Tables) -> None:
        store, generation = opened(tables)
        with pytest.raises(StaleOwnerError):
            store.write(batch(generation, good(0, 5, 6)), TOPIC, MemoryCheck())
        store.write(batch(generation, good(0, 0, 2)), TOPIC, MemoryCheck())

        assert tables.rows() == [(generation, 0, 0), (generation, 0, 1)]

    def test_check_that_fails_stores_nothing(self, tables: Tables) -> None:
        store, generation = opened(tables)
        error = OutageError("it is away", hint="Wait.")
        with pytest.raises(OutageError, match="it is away"):
            store.write(batch(generation, good(0, 0, 3)), TOPIC, MemoryCheck(lambda: error))

        assert tables.rows() == []
        assert positions(store) == START

    def test_check_is_started_and_then_awaited(self, tables: Tables) -> None:
        """The answer comes while the rows are copied."""
        store, generation = opened(tables)
        check = NotedCheck()
        store.write(batch(generation, good(0, 0, 3)), TOPIC, check)

        assert check.calls == ["start", "wait"]

    def test_offsets_without_a_record_are_passed(self, tables: Tables) -> None:
        """The last record stays what it was."""
        store, generation = opened(tables)
        store.write(batch(generation, good(0, 0, 3)), TOPIC, MemoryCheck())
        store.write(batch(generation, Slice(0, 3, 9, [], skipped=6)), TOPIC, MemoryCheck())

        assert positions(store)[0] == Position(9, LastRecord.of(MemoryRecord(0, 2)))

    def test_topic_that_was_made_again_is_another_generation(self, tables: Tables) -> None:
        """Its offsets start again at 0, and its rows get unused ids."""
        store, first = opened(tables)
        store.write(batch(first, good(0, 0, 3)), TOPIC, MemoryCheck())
        second, found = store.positions(AGAIN, {0: (0, 2)})
        store.write(batch(second, good(0, 0, 1)), AGAIN, MemoryCheck())

        assert (second != first, found) == (True, {0: Position(0)})
        assert sorted(tables.rows()) == sorted([*((first, 0, offset) for offset in range(3)), (second, 0, 0)])
        assert positions(store)[0].next_offset == 3

    def test_log_that_ends_before_the_ledger_is_refused(self, tables: Tables) -> None:
        """Kafka lost records that are stored: new ones would get their offsets."""
        store, generation = opened(tables)
        store.write(batch(generation, good(0, 0, 3)), TOPIC, MemoryCheck())
        with pytest.raises(LogEndsEarlyError) as raised:
            store.positions(TOPIC, {0: (0, 2), 1: (0, 0)})

        assert (raised.value.partition, raised.value.expected) == (0, 3)
