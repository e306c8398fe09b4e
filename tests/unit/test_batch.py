"""A batch loses no record between decoding and the ledger."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final

import confluent_kafka
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.event import MAX_FUTURE
from contracts.heartbeats import HEARTBEATS
from store.batch import FIRST_BROKER_MS, Batch, Slice
from store.ledger import steps
from store.position import LastRecord
from store.reasons import Reason
from store.record import PlainRecord, Rejected
from store.row_id import LAST_OFFSET, unpack
from store.validation import Decode
from tests.corpus.case import USUAL_MS, Case, event, read_back
from tests.corpus.hostile import CASES
from tests.records import MemoryRecord

BOUNDED: Final = settings(max_examples=60, deadline=None)
COUNTS: Final = ("stored", "rejected", "skipped", "duplicates", "erased")
SMALL: Final = [case for case in CASES if len(case.payload or b"") < 1_000]


@st.composite
def slices(draw: st.DrawFn) -> list[Slice]:
    """Draw slices of several partitions, good and hostile records mixed, with holes."""
    found = []
    for partition in draw(st.lists(st.integers(0, 65535), unique=True, max_size=4)):
        start = draw(st.integers(0, LAST_OFFSET - 100) | st.sampled_from([0, LAST_OFFSET - 100]))
        offsets = sorted(draw(st.sets(st.integers(start, start + 99), max_size=6)))
        drawn: list[Case] = [draw(st.sampled_from(SMALL)) for _ in offsets]
        records = [
            MemoryRecord(partition, offset, case.payload, case.appended_ms)
            for offset, case in zip(offsets, drawn, strict=True)
        ]
        end = offsets[-1] + 1 if offsets else start
        found.append(Slice(partition, start, end, records, skipped=end - start - len(records)))
    return found


@BOUNDED
@given(slices(), st.integers(1, 127))
@example([Slice(65535, LAST_OFFSET, LAST_OFFSET + 1, [MemoryRecord(65535, LAST_OFFSET)])], 127)
def test_every_record_becomes_one_row_with_its_place_as_id(parts: list[Slice], generation: int) -> None:
    """The check of the ledger rests on ids that name the place in Kafka, each once, in one of the two tables."""
    batch = Batch.of(parts, generation, Decode(HEARTBEATS, MAX_FUTURE))

    records = [record for part in parts for record in part.records]
    assert Counter(map(id, records)) == Counter(map(id, [*batch.records, *(one.record for one in batch.rejected)]))
    assert [*map(unpack, batch.row_ids)] == [(generation, r.partition(), r.offset()) for r in batch.records]
    assert all(0 < row_id < 2**63 for row_id in batch.row_ids)
    assert batch.messages == len(records)


@BOUNDED
@given(slices())
def test_columns_hold_what_was_decoded_in_the_order_of_their_records(parts: list[Slice]) -> None:
    """A row that PostgreSQL rejects is found by its number, whatever the customer's name."""
    decode = Decode(HEARTBEATS, MAX_FUTURE)
    batch = Batch.of(parts, 1, decode)

    assert [decode(one.value(), one.timestamp()[1]) for one in batch.records] == [*zip(*batch.columns, strict=True)]
    for one in batch.rejected:
        assert read_back(decode(one.record.value(), one.record.timestamp()[1])) == one.reason


@BOUNDED
@given(slices(), st.data())
def test_steps_account_for_every_offset(parts: list[Slice], data: st.DataObject) -> None:
    """Also those that PostgreSQL refuses later on: stored, rejected and skipped are all that was passed."""
    batch = Batch.of(parts, 3, Decode(HEARTBEATS, MAX_FUTURE))
    refused = data.draw(st.lists(st.sampled_from(batch.records), unique=True)) if batch.records else []
    rejected = [*batch.rejected, *(Rejected(record, Reason.REFUSED) for record in refused)]

    columns = steps(batch, rejected)

    rows = [*zip(*(columns[name] for name in ("partitions", "froms", "tos", *COUNTS)), strict=True)]
    assert [row[:3] for row in rows] == sorted((p.partition, p.from_offset, p.to_offset) for p in parts)  # lock order
    assert all(sum(counts) == to - start for _, start, to, *counts in rows)
    assert all(min(counts) >= 0 for _, _, _, *counts in rows)
    assert sum(columns["rejected"]) == len(rejected)


def test_halves_of_an_event_in_two_records_stay_two_rejects() -> None:
    """Joined, they would be a valid event that no sender sent."""
    whole = event()
    middle = whole.index(b', "heart_rate"')
    records = [MemoryRecord(0, 0, whole[:middle]), MemoryRecord(0, 1, whole[middle + 2 :])]

    batch = Batch.of([Slice(0, 0, 2, records)], 1, Decode(HEARTBEATS, MAX_FUTURE))

    assert batch.records == []
    assert [one.reason for one in batch.rejected] == ["not_json", "not_json"]


def test_unvalidated_records_are_rejected_and_accounted_for() -> None:
    """An unreadable batch has offsets and no payloads: each is a row of the quarantine, and the ledger balances."""
    unreadable = [Rejected(PlainRecord(5, n, 0, USUAL_MS, None, None), Reason.UNREADABLE_BATCH) for n in (2, 3)]
    large = Rejected(PlainRecord(5, 4, 2, USUAL_MS, b"key", b"x"), Reason.EVENT_TOO_LARGE, 99)
    records = [MemoryRecord(5, 0), MemoryRecord(5, 5, b"{}")]
    part = Slice(5, 0, 6, records, skipped=1, rejected=[*unreadable, large])

    batch = Batch.of([part], 2, Decode(HEARTBEATS, MAX_FUTURE))

    assert [unpack(row_id) for row_id in batch.row_ids] == [(2, 5, 0)]
    assert [(one.record.offset(), one.reason, one.payload_length) for one in batch.rejected] == [
        (2, "unreadable_batch", 0),
        (3, "unreadable_batch", 0),
        (4, "event_too_large", 99),
        (5, "customer_id_missing", 0),
    ]
    assert batch.messages == 5
    last = LastRecord.of(records[-1])
    assert steps(batch, batch.rejected) == {
        "generation": 2, "partitions": [5], "froms": [0], "tos": [6], "stored": [1], "rejected": [4], "skipped": [1],
        "duplicates": [0], "erased": [0], "last_offsets": [last.offset], "fingerprints": [last.fingerprint],
        "versions": [0],
    }  # fmt: skip


def test_newest_record_is_known_across_partitions() -> None:
    """How old the newest row is, is what people watch."""
    parts = [
        Slice(0, 0, 1, [MemoryRecord(0, 0, appended_ms=USUAL_MS + 7)]),
        Slice(1, 0, 1, [MemoryRecord(1, 0, appended_ms=USUAL_MS)]),
        Slice(2, 4, 6, [], skipped=2),
    ]

    assert Batch.of(parts, 1, Decode(HEARTBEATS, MAX_FUTURE)).newest_ms == USUAL_MS + 7
    assert Batch.of([], 1, Decode(HEARTBEATS, MAX_FUTURE)).newest_ms == 0


# What senders write where they decide (CreateTime): seconds, nothing, 0; a message format without times gives -1.
SENDERS_TIMES: Final = [
    (confluent_kafka.TIMESTAMP_CREATE_TIME, 1_735_689_600),
    (confluent_kafka.TIMESTAMP_CREATE_TIME, 0),
    (confluent_kafka.TIMESTAMP_CREATE_TIME, -1),
    (confluent_kafka.TIMESTAMP_NOT_AVAILABLE, -1),
]


@pytest.mark.parametrize(("kind", "record_ms"), SENDERS_TIMES)
def test_senders_time_that_is_no_time_condemns_no_event(kind: int, record_ms: int) -> None:
    """The consumer's clock is later and decides; an event that is ahead of the clock, too, is still refused."""
    ahead = datetime.now(UTC) + timedelta(days=2)
    payloads = [event(), event(timestamp=f'"{ahead.isoformat()}"'), b"broken", event()]
    records = [MemoryRecord(0, n, payload, record_ms, kind) for n, payload in enumerate(payloads)]

    mixed = Batch.of([Slice(0, 0, 4, records)], 1, Decode(HEARTBEATS, MAX_FUTURE))
    good = Batch.of([Slice(0, 0, 1, records[:1]), Slice(1, 0, 1, records[3:])], 1, Decode(HEARTBEATS, MAX_FUTURE))

    assert [one.offset() for one in mixed.records] == [0, 3]
    assert [one.reason for one in mixed.rejected] == ["timestamp_future", "not_json"]
    assert len(good.records) == 2
    assert good.newest_ms == 0  # an age of 56 years would be shown otherwise


def test_each_record_is_validated_by_its_own_kind_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic's setting can change between two records of a batch; a broker's time never yields to our clock."""
    clock_ms = USUAL_MS + 10 * 86_400_000
    monkeypatch.setattr(time, "time_ns", lambda: clock_ms * 1_000_000)
    later = event(timestamp=f'"{datetime.fromtimestamp(clock_ms / 1000, UTC).isoformat()}"')
    kinds = [confluent_kafka.TIMESTAMP_LOG_APPEND_TIME, confluent_kafka.TIMESTAMP_CREATE_TIME]
    records = [MemoryRecord(0, n, later, USUAL_MS, kind) for n, kind in enumerate([*kinds, kinds[0]])]

    batch = Batch.of([Slice(0, 0, 3, records)], 1, Decode(HEARTBEATS, MAX_FUTURE))

    assert [one.offset() for one in batch.records] == [1]
    assert [one.reason for one in batch.rejected] == ["timestamp_future"] * 2


def test_senders_time_that_is_later_than_our_clock_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer whose clock is slow refuses nothing that the sender's own time explains."""
    monkeypatch.setattr(time, "time_ns", lambda: FIRST_BROKER_MS * 1_000_000)
    record = MemoryRecord(0, 0, timestamp_type=confluent_kafka.TIMESTAMP_CREATE_TIME)

    batch = Batch.of([Slice(0, 0, 1, [record])], 1, Decode(HEARTBEATS, MAX_FUTURE))

    assert len(batch.records) == 1
    assert batch.newest_ms == USUAL_MS


@given(st.sets(st.integers(-62_135_596_800 // 60, 253_402_300_799 // 60), max_size=200))
def test_notes_hold_each_minute_once_in_a_row_per_hour(minutes: set[int]) -> None:
    """Ten thousand messages of six days in mixed order leave a row per hour, not one per minute."""
    notes = Batch(1, [], HEARTBEATS, [], [], [], [], minutes, 0).notes()

    assert {60 * hour + bit for hour, bits in notes.items() for bit in range(60) if bits >> bit & 1} == minutes
    assert all(0 < bits < 1 << 60 for bits in notes.values())
    assert len(notes) == len({minute // 60 for minute in minutes})
