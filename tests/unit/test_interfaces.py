"""The ends in memory keep what the loop's ends promise, or the loop's tests would prove nothing."""

import pytest

from tests.memory import MemorySource, MemoryStore, MemoryTables, MemoryTopic, RecordId
from tests.records import MemoryRecord
from tests.source_claims import SourceClaims
from tests.store_claims import StoreClaims
from tests.unit.running import replaced


class MemoryLog:
    """A topic in memory, and the sessions that read it."""

    def __init__(self) -> None:
        self._topic = MemoryTopic.holding(0)
        self.opened: list[MemorySource] = []

    def send(self, partition: int, messages: int) -> None:
        records = self._topic.partitions[partition]
        records += [MemoryRecord(partition, len(records) + n) for n in range(messages)]

    def open(self) -> MemorySource:
        self.opened.append(MemorySource(self._topic, lambda: None))
        self.opened[-1].subscribe()
        return self.opened[-1]

    def take_away(self, source: MemorySource) -> int:
        source.turns.append(lambda: source.revoke([1]))
        source.rest()
        return 1

    def replace(self) -> None:
        self.opened[-1].gone = replaced()


class Tables:
    """Tables in memory."""

    def __init__(self) -> None:
        self._tables = MemoryTables()

    def open(self) -> MemoryStore:
        return MemoryStore(self._tables)

    def rows(self) -> list[RecordId]:
        return self._tables.record_ids()

    def rejected(self) -> list[RecordId]:
        return [(1, one.record.partition(), one.record.offset()) for one in self._tables.rejected]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def tables() -> Tables:
    return Tables()


class TestMemorySource(SourceClaims):
    """The claims of tests/source_claims.py."""


class TestMemoryStore(StoreClaims):
    """The claims of tests/store_claims.py."""
