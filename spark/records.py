"""What Spark hands over of Kafka, as the slices of records that the plain consumer works on."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from store.batch import Batch, Slice
from store.record import PlainRecord
from store.validation import Decode

# Of the Kafka source's columns; the time comes as a number, for a calendar of Spark's own has no part in this.
# The type's numbers become those of `store.record.Record.timestamp`: Spark counts from -1, a time that is missing.
COLUMNS: Final = (
    "partition", "offset", "timestampType + 1 AS timestamp_type", "unix_millis(timestamp) AS record_ms", "key", "value"
)  # fmt: skip


def rows_of(part: pa.RecordBatch) -> list[PlainRecord]:
    """Return the records of an Arrow batch with the columns `COLUMNS`, in their order."""
    return list(map(PlainRecord, *(column.to_pylist() for column in part.columns)))


def batch_of(rows: Sequence[PlainRecord], position: int, generation: int, decode: Decode) -> Batch | None:
    """
    Decode what lies at `position` and beyond; None if there is nothing.

    Args:
        rows: Records of one partition in the order of their offsets; between `position` and the last of them, Spark
            has seen every offset, so those without a record hold none (a transaction's markers, say).
        position: Where the ledger should stand.
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
