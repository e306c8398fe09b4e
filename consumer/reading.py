"""
One partition's records. Offset gaps are accepted only after a second read confirms them.

Some offsets hold no record for a reader: transaction markers, aborted and compacted records. A record that got lost on
its way looks the same. So a gap counts only if a second read finds it again.
"""

from collections.abc import Sequence

from common.event import MAX_EVENT_BYTES
from store.reasons import Reason
from store.record import PlainRecord, Record, Rejected

Hole = tuple[int, int]  # the first missing offset and the next record's


class Reading:
    """
    One partition's records in one call, in order; `expected` is the offset after the last of them.

    Args:
        expected: The offset that comes next.
        seen_before: Holes that an earlier read found.
    """

    def __init__(self, expected: int, seen_before: set[Hole]) -> None:
        self.expected = expected
        self.records: list[Record] = []
        self.skipped = 0
        self.suspected: set[Hole] = set()
        self._seen_before = seen_before
        self._ahead = expected

    def take(self, records: Sequence[Record]) -> None:
        """Accept the next records. After a new hole, only note further holes."""
        following = range(self.expected, self.expected + len(records))
        if not self.suspected and [record.offset() for record in records] == list(following):  # nearly always
            self.records += records
            self.expected = self._ahead = following.stop
            return
        for record in records:
            self._take_one(record)

    def reach(self, offset: int) -> None:
        """Pass the offsets before this one, which hold no record. Only note a hole that no earlier read found."""
        if offset <= self._ahead:
            return
        hole = (self._ahead, offset)
        if self.suspected or hole not in self._seen_before:
            self.suspected.add(hole)
        else:
            self.skipped += offset - self._ahead
            self.expected = offset
        self._ahead = offset

    def _take_one(self, record: Record) -> None:
        offset = record.offset()
        if offset < self._ahead:
            return
        self.reach(offset)
        if not self.suspected:
            self.records.append(record)
            self.expected = offset + 1
        self._ahead = offset + 1


def set_aside_large(records: Sequence[Record], kept_bytes: int) -> tuple[Sequence[Record], Sequence[Rejected]]:
    """
    Separate the records whose payload is too large for an event, and cut them, which frees memory.

    Args:
        records: `len` of each is that of its payload, as for a confluent_kafka.Message.
        kept_bytes: The bytes of a payload that are kept.
    Returns:
        The records to validate, and the rejected ones.
    """
    sizes = list(map(len, records))  # type: ignore[arg-type]  # see above
    if max(sizes, default=0) <= MAX_EVENT_BYTES:
        return records, ()
    rejected = [
        Rejected(_cut(record, kept_bytes), Reason.EVENT_TOO_LARGE, size)
        for record, size in zip(records, sizes, strict=True)
        if size > MAX_EVENT_BYTES
    ]
    return [record for record, size in zip(records, sizes, strict=True) if size <= MAX_EVENT_BYTES], rejected


def _cut(record: Record, kept_bytes: int) -> PlainRecord:
    kept = (record.value() or b"")[:kept_bytes]
    return PlainRecord(record.partition(), record.offset(), *record.timestamp(), record.key(), kept)
