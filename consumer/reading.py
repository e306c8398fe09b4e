"""
One partition's records without holes that nobody has looked at twice.

Offsets may hold no record for a reader: a transaction's marker, an aborted or a compacted record. One that got lost
on its way here looks the same, so a hole is believed only when a second reading finds it again.
"""

from collections.abc import Sequence

from consumer.batch import Record

Hole = tuple[int, int]  # from the first missing offset to the next record's


class Reading:
    """
    One partition's records in one call, in order; `expected` is the offset after the last of them.

    Args:
        expected: The offset that comes next.
        seen_before: Holes that an earlier reading met, each from the first missing offset to the next record's.
    """

    def __init__(self, expected: int, seen_before: set[Hole]) -> None:
        self.expected = expected
        self.records: list[Record] = []
        self.skipped = 0
        self.suspected: set[Hole] = set()
        self._seen_before = seen_before
        self._ahead = expected

    def take(self, records: Sequence[Record]) -> None:
        """Take the next records; after a hole that nobody has seen before, only note the holes that follow."""
        following = range(self.expected, self.expected + len(records))
        if not self.suspected and [record.offset() for record in records] == list(following):  # as nearly always
            self.records += records
            self.expected = self._ahead = following.stop
            return
        for record in records:
            self._take_one(record)

    def _take_one(self, record: Record) -> None:
        offset = record.offset()
        if offset == self.expected and not self.suspected:
            self.records.append(record)
            self.expected = self._ahead = offset + 1
        elif offset >= self._ahead:
            hole = (self._ahead, offset)
            if self.suspected or (offset > self._ahead and hole not in self._seen_before):
                if offset > self._ahead:
                    self.suspected.add(hole)
            else:
                self.skipped += offset - self._ahead
                self.records.append(record)
                self.expected = offset + 1
            self._ahead = offset + 1
