"""What Spark hands over of Kafka, as the slices of records that the plain consumer works on."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from store.batch import Batch, Slice
from store.validation import Decode

# Of the Kafka source's columns; the time comes as a number, for a calendar of Spark's own has no part in this.
# The type's numbers become those of `store.record.Record.timestamp`: Spark counts from -1, a time that is missing.
COLUMNS: Final = (
    "partition", "offset", "timestampType + 1 AS timestamp_type", "unix_millis(timestamp) AS record_ms", "key", "value"
)  # fmt: skip


class Row:
    """One Kafka record, with the methods of a `store.record.Record`."""

    __slots__ = ("_key", "_offset", "_partition", "_timestamp", "_value")

    def __init__(  # noqa: PLR0913, PLR0917 - the columns above
        self, partition: int, offset: int, timestamp_type: int, record_ms: int, key: bytes | None, value: bytes | None
    ) -> None:
        self._partition = partition
        self._offset = offset
        self._timestamp = timestamp_type, record_ms
        self._key = key
        self._value = value

    def partition(self) -> int:
        """Give its partition."""
        return self._partition

    def offset(self) -> int:
        """Give its offset."""
        return self._offset

    def key(self) -> bytes | None:
        """Give its key."""
        return self._key

    def value(self) -> bytes | None:
        """Give its payload, None for a tombstone."""
        return self._value

    def timestamp(self) -> tuple[int, int]:
        """Give what kind of time it has (2: the broker's) and the time, in milliseconds since 1970."""
        return self._timestamp


def rows_of(part: pa.RecordBatch) -> list[Row]:
    """Give the records of an Arrow batch with the columns `COLUMNS`, in their order."""
    return list(map(Row, *(column.to_pylist() for column in part.columns)))


def batch_of(rows: Sequence[Row], position: int, generation: int, decode: Decode) -> Batch | None:
    """
    Decode what lies at `position` and beyond; None if there is nothing.

    Args:
        rows: Records of one partition in the order of their offsets; between `position` and the last of them, Spark
            has seen every offset, so those without a record hold none (a transaction's markers, say).
        position: Where the books should stand.
        generation: The topic's number.
        decode: Judges payloads.
    """
    if not rows or rows[-1].offset() < position:
        return None
    if rows[0].offset() < position:  # somebody else was quicker
        rows = [row for row in rows if row.offset() >= position]
    end = rows[-1].offset() + 1
    slices = [Slice(rows[0].partition(), position, end, rows, skipped=end - position - len(rows))]
    return Batch.of(slices, generation, decode)
