"""A partition's position, and how to recognize the last record that was taken from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from struct import pack
from typing import Final, Self

from store.record import Record

YEAR_10000_MS: Final = 253_402_300_800_000


@dataclass(frozen=True, slots=True)
class LastRecord:
    """
    The last record that was taken from a partition.

    `fingerprint` is a hash of its time, key and value. None: it has neither key nor value and cannot be recognized.
    """

    offset: int
    fingerprint: int | None

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return a record's offset and fingerprint, which is the same in both engines."""
        key, value, time_ms = record.key(), record.value(), record.timestamp()[1]
        if key is None and value is None:
            return cls(record.offset(), None)
        if not 0 < time_ms < YEAR_10000_MS:
            time_ms = 0  # the engines' clients read such times differently
        lengths = [-1 if part is None else len(part) for part in (key, value)]
        digest = blake2b(pack(">qii", time_ms, *lengths), digest_size=8)
        digest.update(key or b"")
        digest.update(value or b"")
        return cls(record.offset(), int.from_bytes(digest.digest(), signed=True))


@dataclass(frozen=True, slots=True)
class Position:
    """
    The next offset of a partition.

    `last` is the last record that was taken. None: there is none, it is unknown, or Kafka dropped it.
    """

    next_offset: int
    last: LastRecord | None = None


class Evidence:
    """The last records that were taken, by partition, until a read shows whether Kafka still holds them."""

    def __init__(self) -> None:
        self._last: dict[int, LastRecord] = {}

    def expect(self, partition: int, position: Position) -> int:
        """Note the last record of a partition; return the offset to read from in order to see it."""
        if position.last is None or position.last.offset >= position.next_offset:  # or the ledger was moved back
            self.forget(partition)
            return position.next_offset
        self._last[partition] = position.last
        return position.last.offset

    def forget(self, partition: int) -> None:
        """Forget the last record of a partition."""
        self._last.pop(partition, None)

    def find_other(self, records: Iterable[Record]) -> Record | None:
        """
        Compare each partition's first record with the expected one.

        A record at a later offset shows nothing: the expected one may have been compacted.

        Returns:
            A record that differs from the one that was taken at its offset.
        """
        for record in records if self._last else ():
            last = self._last.get(record.partition())
            if last is not None and record.offset() >= last.offset:
                del self._last[record.partition()]
                if record.offset() == last.offset and LastRecord.of(record) != last:
                    return record
        return None
