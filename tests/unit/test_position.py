"""A record is recognized by its offset and its fingerprint."""

from dataclasses import dataclass
from typing import Final

import pytest

from common.errors import LedgerError
from store.batch import Slice
from store.position import Evidence, LastRecord, Position
from store.reasons import Reason
from store.record import PlainRecord, Rejected
from tests.memory import MemoryStore, MemoryTopic
from tests.records import GOOD, MemoryRecord
from tests.unit.running import Running


@dataclass(frozen=True, slots=True)
class Keyed(MemoryRecord):
    """A record with a key of its own."""

    own_key: bytes | None = b"key"

    def key(self) -> bytes | None:
        """Return its key."""
        return self.own_key


RECORD: Final = Keyed(0, 7, b"value", 1_800_000_000_000)
TAKEN: Final = Position(9, LastRecord.of(RECORD))


@pytest.mark.parametrize(
    "other",
    [
        Keyed(0, 7, b"other", 1_800_000_000_000),
        Keyed(0, 7, None, 1_800_000_000_000),
        Keyed(0, 7, b"value", 1_800_000_000_001),
        Keyed(0, 7, b"value", 1_800_000_000_000, own_key=b"other"),
        Keyed(0, 7, b"value", 1_800_000_000_000, own_key=None),
        Keyed(0, 7, b"yvalue", 1_800_000_000_000, own_key=b"ke"),
        Keyed(0, 7, None, 1_800_000_000_000, own_key=None),
    ],
)
def test_another_record_at_the_same_offset_is_found_once(other: Keyed) -> None:
    """Whatever it differs in; afterwards the position is asked for again."""
    evidence = Evidence()

    assert evidence.expect(0, TAKEN) == 7
    assert evidence.find_other([Keyed(1, 7, b"other"), Keyed(0, 6, b"earlier"), other]) is other
    assert evidence.find_other([other]) is None


def test_same_record_and_a_later_one_are_no_contradiction() -> None:
    """The last record may be compacted; then nothing is known."""
    same, later, unknown = Evidence(), Evidence(), Evidence()
    for evidence in (same, later, unknown):
        evidence.expect(0, TAKEN)

    assert unknown.expect(0, Position(9)) == 9  # placed anew, by a ledger that knows nothing
    assert same.find_other([RECORD, Keyed(0, 8, b"next")]) is None
    assert later.find_other([Keyed(0, 8, b"next"), Keyed(0, 7, b"other")]) is None
    assert unknown.find_other([Keyed(0, 7, b"other")]) is None


def test_rejected_record_is_the_last_one_without_a_fingerprint() -> None:
    """What is kept of it is not what Kafka holds: an unreadable batch, or a payload that was cut."""
    cut = PlainRecord(0, 8, 2, 1_800_000_000_000, b"key", b"valu")
    rejected = [Rejected(cut, Reason.EVENT_TOO_LARGE, 2**24 + 1)]

    assert Slice(0, 7, 9, [RECORD], rejected=rejected).last == LastRecord(8, None)
    assert Slice(0, 8, 9, [], rejected=rejected).last == LastRecord(8, None)
    assert Slice(0, 7, 10, [RECORD, Keyed(0, 9, b"value")], rejected=rejected).last == LastRecord.of(
        Keyed(0, 9, b"value")
    )
    assert Slice(0, 7, 9, [], skipped=2).last is None


def test_record_without_key_and_value_has_no_fingerprint() -> None:
    """It stands for what could not be read, too."""
    assert LastRecord.of(Keyed(0, 7, None, own_key=None)) == LastRecord(7, None)


def test_ledger_that_was_moved_back_is_read_from_its_offset() -> None:
    """Reading from the last record on would take what lies before it for offsets without a record."""
    evidence = Evidence()

    assert evidence.expect(0, Position(7, LastRecord.of(RECORD))) == 7
    assert evidence.expect(0, Position(3, LastRecord.of(RECORD))) == 3
    assert evidence.find_other([Keyed(0, 7, b"other")]) is None


@pytest.mark.parametrize("time_ms", [-1, 0, 253_402_300_800_000, 2**63 - 1])
def test_times_that_the_clients_read_differently_do_not_count(time_ms: int) -> None:
    assert LastRecord.of(Keyed(0, 7, b"value", time_ms)) == LastRecord.of(Keyed(0, 7, b"value", 0))


def test_worker_stops_where_another_record_is_found() -> None:
    """A log that was cut and has grown again: nothing behind the ledger's offset is stored."""
    store = MemoryStore()
    with Running(MemoryTopic.holding(10, partitions=1), store=store) as running:
        running.wait_until_stored(10)
    records = [MemoryRecord(0, offset, GOOD, 1_800_000_000_000 + offset) for offset in range(20)]
    grown = MemoryTopic("first", {0: records})
    again = Running(grown, store=MemoryStore(store.tables))
    with pytest.raises(LedgerError, match="was cut and has grown again"), again:
        again.join()

    assert len(store.tables.rows) == 10
