"""Turns Spark's rows into the batches of records that the store writes."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from store.batch import Batch, Slice
from store.record import PlainRecord
from store.validation import Decode

# Of the Kafka source's columns. The time is a number, so that Spark's calendar does not matter. The timestamp's type
# becomes that of `store.record.Record.timestamp`: Spark counts from -1, a missing time.
COLUMNS: Final = (
    "partition", "offset", "timestampType + 1 AS timestamp_type", "unix_millis(timestamp) AS record_ms", "key", "value"
)  # fmt: skip


def rows_of(part: pa.RecordBatch) -> list[PlainRecord]:
    """Return the records of an Arrow batch with the columns `COLUMNS`, in their order."""
    return list(map(PlainRecord, *(column.to_pylist() for column in part.columns)))


def batch_of(rows: Sequence[PlainRecord], position: int, generation: int, decode: Decode) -> Batch | None:
    """
    Validate the records from `position` on; return None if there are none.

    Args:
        rows: Records of one partition, ordered by offset. Spark has read every offset up to the last one, so missing
            offsets hold no record (for example, transaction markers).
        position: The ledger's next offset.
        generation: The topic's generation.
        decode: Validates payloads.
    """
    if not rows or rows[-1].offset() < position:
        return None
    if rows[0].offset() < position:  # another consumer stored these
        rows = [row for row in rows if row.offset() >= position]
    end = rows[-1].offset() + 1
    slices = [Slice(rows[0].partition(), position, end, rows, skipped=end - position - len(rows))]
    return Batch.of(slices, generation, decode)
