"""A hole in the offsets is believed only when a second reading finds it again."""

from itertools import pairwise
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.event import MAX_EVENT_BYTES
from consumer.reading import Hole, Reading, set_aside_large
from store.reasons import Reason
from tests.records import MemoryRecord

BOUNDED: Final = settings(max_examples=200, deadline=None)
OFFSETS: Final = st.integers(0, 30)
LOGS: Final = st.sets(OFFSETS).map(sorted)  # the offsets that hold a record


def read(start: int, offsets: list[int], seen: set[Hole] | None = None) -> Reading:
    """Read records from `start` on, as one call of the consumer does."""
    reading = Reading(start, seen or set())
    reading.take([MemoryRecord(0, offset) for offset in offsets])
    return reading


def taken(reading: Reading) -> list[int]:
    """Return the offsets of what was handed out."""
    return [record.offset() for record in reading.records]


def test_records_without_a_hole_are_handed_out_at_once() -> None:
    """The usual case costs no second reading."""
    reading = read(5, [5, 6, 7])

    assert taken(reading) == [5, 6, 7]
    assert (reading.expected, reading.skipped, reading.suspected) == (8, 0, set())


def test_hole_stops_the_first_reading_and_not_the_second() -> None:
    """What is missing for good (a transaction's marker, say) holds the partition up once, not for ever."""
    first = read(5, [5, 6, 9, 10, 13])
    second = read(first.expected, [9, 10, 13, 14], first.suspected)

    assert (taken(first), first.skipped, first.suspected) == ([5, 6], 0, {(7, 9), (11, 13)})
    assert (taken(second), second.skipped, second.suspected) == ([9, 10, 13, 14], 4, set())


def test_record_that_reappears_is_delivered() -> None:
    """A record that got lost on its way here is not lost."""
    first = read(5, [5, 8])
    second = read(first.expected, [6, 7, 8], first.suspected)

    assert (taken(first), taken(second), second.skipped) == ([5], [6, 7, 8], 0)


def test_hole_that_shrinks_is_looked_at_again() -> None:
    """A second reading that finds another hole than the first has confirmed nothing."""
    first = read(5, [9])
    second = read(first.expected, [7, 9], first.suspected)
    third = read(second.expected, [7, 9], second.suspected)

    assert (taken(first), taken(second)) == ([], [])
    assert (taken(third), third.skipped) == ([7, 9], 3)


def test_repeated_record_is_dropped() -> None:
    """A fetch that overlaps the last one stores nothing twice."""
    assert taken(read(5, [3, 4, 5, 5, 6, 4, 7])) == [5, 6, 7]


def test_end_of_the_log_behind_a_hole_is_believed_on_the_second_reading() -> None:
    """A marker at the log's end has no record behind it: only the client's position tells that it was passed."""
    first = read(5, [5, 6])
    first.reach(9)
    second = read(first.expected, [], first.suspected)
    second.reach(9)

    assert (taken(first), first.expected, first.skipped, first.suspected) == ([5, 6], 7, 0, {(7, 9)})
    assert (taken(second), second.expected, second.skipped, second.suspected) == ([], 9, 2, set())


def test_end_of_the_log_right_behind_the_records_changes_nothing() -> None:
    """The client reports it again and again while records trickle in."""
    reading = read(5, [5, 6])
    reading.reach(7)
    reading.reach(3)

    assert (reading.expected, reading.skipped, reading.suspected) == (7, 0, set())


def test_record_in_what_looked_like_the_end_is_delivered() -> None:
    """A record that got lost on its way here is not lost, at the log's end either."""
    first = read(5, [])
    first.reach(8)
    second = read(first.expected, [6], first.suspected)
    second.reach(8)

    assert (taken(second), second.skipped, second.suspected) == ([], 0, {(5, 6), (7, 8)})


class SizedRecord(MemoryRecord):
    """A record whose length is that of its payload, as a consumed message's is."""

    def __len__(self) -> int:
        return len(self.payload or b"")


def test_payloads_too_large_for_an_event_are_cut_and_set_aside() -> None:
    """A batch keeps its records until it is stored; a few payloads of 270 MB would be too much for that."""
    large = b"x" * (MAX_EVENT_BYTES + 1)
    records = [SizedRecord(3, 0), SizedRecord(3, 1, large, 77), SizedRecord(3, 2, None), SizedRecord(3, 3, large[1:])]

    kept, bad = set_aside_large(records, 10)

    assert kept == [records[0], records[2], records[3]]
    (one,) = bad
    assert (one.reason, one.payload_length) == (Reason.EVENT_TOO_LARGE, MAX_EVENT_BYTES + 1)
    assert (one.record.partition(), one.record.offset(), one.record.timestamp()) == (3, 1, (2, 77))
    assert (one.record.key(), one.record.value()) == (b"CUST-000001", b"x" * 10)
    assert set_aside_large(kept, 10) == (kept, ())


@BOUNDED
@given(OFFSETS, st.lists(OFFSETS), st.sets(st.tuples(OFFSETS, OFFSETS)))
@example(0, [2], {(0, 2)})
def test_whatever_arrives_is_handed_out_in_order_up_to_holes_seen_before(
    start: int, offsets: list[int], seen: set[Hole]
) -> None:
    """The ledger balances for any order of any records: what lies between two is a hole that was seen before."""
    reading = read(start, offsets, seen)

    holes = [
        (last + 1, following) for last, following in pairwise([start - 1, *taken(reading)]) if following > last + 1
    ]
    assert all(last < following for last, following in pairwise([start - 1, *taken(reading)]))
    assert set(holes) <= seen
    assert reading.skipped == sum(end - begin for begin, end in holes)
    assert reading.expected == start + len(reading.records) + reading.skipped
    assert all(begin >= reading.expected and begin < end for begin, end in reading.suspected)


@BOUNDED
@given(LOGS, st.sets(OFFSETS), st.integers(1, 30), OFFSETS)
def test_log_with_holes_is_delivered_once_even_if_the_first_reading_lost_some(
    log: list[int], lost: set[int], at_once: int, start: int
) -> None:
    """Nothing that Kafka holds is dropped or repeated, however short each reading is and whatever one of them lost."""
    expected, seen, delivered, skipped = start, set[Hole](), list[int](), 0
    rest = [offset for offset in log if offset >= start]

    for turn in range(3 * len(rest) + 3):  # a hole costs a reading more, and so does what was lost
        arriving = [offset for offset in rest if offset >= expected and not (turn == 0 and offset in lost)]
        reading = read(expected, arriving[:at_once], seen)
        delivered += taken(reading)
        skipped += reading.skipped
        expected, seen = reading.expected, reading.suspected

    assert delivered == rest
    assert skipped == (rest[-1] + 1 - start - len(rest) if rest else 0)


@BOUNDED
@given(st.lists(OFFSETS), st.sets(st.tuples(OFFSETS, OFFSETS)))
def test_it_does_not_matter_in_how_many_runs_records_come(offsets: list[int], seen: set[Hole]) -> None:
    """The client mixes partitions as it likes; the short way for whole runs must agree with one record at a time."""
    at_once, one_by_one = read(3, offsets, seen), Reading(3, seen)
    for offset in offsets:
        one_by_one.take([MemoryRecord(0, offset)])

    assert taken(at_once) == taken(one_by_one)
    assert (at_once.expected, at_once.skipped) == (one_by_one.expected, one_by_one.skipped)
    assert at_once.suspected == one_by_one.suspected
