"""What the loop's source promises in consumer/interfaces.py, as claims; a subclass holds an implementation to them."""

from collections.abc import Sequence
from typing import Protocol

import pytest

from common.errors import TopicReplacedError
from consumer.interfaces import Source
from local.waiting import wait_until
from store.batch import Slice
from store.errors import RecordReplacedError
from store.position import LastRecord, Position

START = {0: Position(0), 1: Position(0)}


class Log(Protocol):
    """A topic with the partitions 0 and 1, and what a test does to it."""

    def send(self, partition: int, messages: int) -> None:
        """Append valid messages."""

    def open(self) -> Source:
        """Open a session that has subscribed; closed after the test."""

    def take_away(self, source: Source) -> int:
        """Have a session give up one of its two partitions; which."""

    def replace(self) -> None:
        """Delete the topic and make it again."""


def assigned(log: Log) -> Source:
    source = log.open()
    wait_until(lambda: source.read() == [] and source.unstarted == {0, 1})
    return source


def read(source: Source, messages: int) -> list[Slice]:
    found: list[Slice] = []

    def is_enough() -> bool:
        found.extend(source.read())
        return sum(len(part.records) for part in found) >= messages

    wait_until(is_enough, what=f"{messages} messages")
    return found


def offsets(slices: Sequence[Slice], partition: int = 0) -> list[int]:
    return [record.offset() for part in slices if part.partition == partition for record in part.records]


class SourceClaims:
    """Needs the fixture `log`."""

    def test_assigned_partitions_wait_for_their_place(self, log: Log) -> None:
        """The ledger alone decides where reading starts, never the group's offsets."""
        log.send(0, 5)
        source = assigned(log)

        assert [source.read() for _ in range(3)] == [[], [], []]
        assert source.unstarted == {0, 1}

    def test_reading_starts_at_the_place(self, log: Log) -> None:
        log.send(0, 5)
        log.send(1, 5)
        source = assigned(log)
        source.start_at({0: Position(3)})

        assert offsets(read(source, 2)) == [3, 4]
        assert source.unstarted == {1}

    def test_slices_of_a_partition_follow_each_other(self, log: Log) -> None:
        """A slice that began elsewhere than the one before ended would leave a hole, or come twice."""
        source = assigned(log)
        source.start_at(START)
        found = []
        for _ in range(3):
            log.send(0, 25)
            log.send(1, 5)
            found += read(source, 30)

        for partition, messages in ((0, 75), (1, 15)):
            parts = [part for part in found if part.partition == partition]
            ends = [0, *(part.to_offset for part in parts)]
            assert [part.from_offset for part in parts] == ends[:-1]
            assert offsets(found, partition) == list(range(messages))

    def test_place_moves_no_partition_that_is_being_read(self, log: Log) -> None:
        """An answer of the ledger that comes late must not turn the reading back."""
        log.send(0, 5)
        source = assigned(log)
        source.start_at(START)
        read(source, 5)
        source.start_at(START)
        log.send(0, 1)

        assert offsets(read(source, 1)) == [5]

    def test_displaced_partitions_are_read_again_from_their_place(self, log: Log) -> None:
        """After a failure, only the ledger knows what was stored."""
        log.send(0, 5)
        source = assigned(log)
        source.start_at(START)
        (*_, last) = read(source, 5)
        source.forget_positions()

        assert source.unstarted == {0, 1}
        assert not source.holds(last)
        assert source.read() == []
        source.start_at({0: Position(2)})
        assert offsets(read(source, 3)) == [2, 3, 4]

    def test_only_the_last_slice_of_a_partition_is_held(self, log: Log) -> None:
        source = assigned(log)
        source.start_at(START)
        log.send(0, 5)
        (*_, first) = read(source, 5)
        assert source.holds(first)
        log.send(0, 5)
        (*_, second) = read(source, 5)

        assert source.holds(second)
        assert not source.holds(first)

    def test_partition_that_was_given_up_is_not_read_on(self, log: Log) -> None:
        """Its new owner reads it; both would only fence each other."""
        log.send(0, 5)
        log.send(1, 5)
        source = assigned(log)
        source.start_at(START)
        before = read(source, 10)
        gone = log.take_away(source)
        log.send(0, 1)
        log.send(1, 1)
        after = read(source, 1)

        assert {part.partition for part in after} == {1 - gone}
        assert [part.partition for part in before if source.holds(part)] == []
        assert set(source.log_ends()) == {1 - gone}
        assert source.unstarted == set()

    def test_rest_reads_nothing_and_loses_nothing(self, log: Log) -> None:
        """A slow database holds up the reading, not the membership."""
        source = assigned(log)
        source.start_at(START)
        log.send(0, 5)
        read(source, 5)
        log.send(0, 5)
        for _ in range(3):
            source.rest()

        assert offsets(read(source, 5)) == [5, 6, 7, 8, 9]

    def test_record_before_the_place_is_compared_and_not_read_again(self, log: Log) -> None:
        log.send(0, 5)
        source = assigned(log)
        source.start_at(START)
        taken = [record for part in read(source, 5) for record in part.records][2]
        source.forget_positions()
        source.start_at({0: Position(3, LastRecord.of(taken))})

        assert offsets(read(source, 2)) == [3, 4]

    def test_another_record_before_the_place_stops_the_reading(self, log: Log) -> None:
        """The log was cut and has grown again: its offsets mean other records now."""
        log.send(0, 5)
        source = assigned(log)
        source.start_at({0: Position(3, LastRecord(2, 1))})

        with pytest.raises(RecordReplacedError):
            read(source, 2)

    def test_log_ranges_and_ends_are_those_of_the_log(self, log: Log) -> None:
        log.send(0, 5)
        source = log.open()
        assert source.log_ends() == {}
        wait_until(lambda: source.read() == [] and source.unstarted == {0, 1})
        source.start_at(START)

        assert source.log_ranges([0, 1]) == {0: (0, 5), 1: (0, 0)}
        wait_until(lambda: source.read() is not None and source.log_ends() == {0: 5, 1: 0})

    def test_check_tells_a_topic_that_was_made_again(self, log: Log) -> None:
        """What was read of the old one must not count for the new one."""
        check = log.open().check_topic()
        check.wait()
        log.replace()

        def is_replaced() -> bool:
            check.start()
            try:
                check.wait()
            except TopicReplacedError:
                return True
            return False

        wait_until(is_replaced)
