"""What is read in one go and committed in one transaction: events, quarantine and the offsets they came from."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from contracts.contract import Contract
from store.position import LastRecord
from store.record import Record, Rejected, reference_ms
from store.row_id import pack
from store.validation import Columns, Decode

# 2011-01-01T00:00:00Z. Kafka did not exist before, so no broker gave an earlier time.
FIRST_BROKER_MS: Final = 1_293_840_000_000
MINUTE_BITS: Final = tuple(1 << minute for minute in range(60))  # as in heartbeats_touched.minutes


@dataclass(slots=True)
class Slice:
    """
    One partition's part of a batch: the records from `from_offset` up to `to_offset`, which is not included.

    `skipped` counts the offsets in between that hold no record; `rejected` are the records that cannot be validated.
    """

    partition: int
    from_offset: int
    to_offset: int
    records: Sequence[Record]
    skipped: int = 0
    rejected: Sequence[Rejected] = ()

    @property
    def last(self) -> LastRecord | None:
        """The last record, if there is any; a rejected one is not here as Kafka holds it, and cannot be recognized."""
        offset = self.rejected[-1].record.offset() if self.rejected else -1
        if self.records and self.records[-1].offset() > offset:
            return LastRecord.of(self.records[-1])
        return LastRecord(offset, None) if self.rejected else None


@dataclass(slots=True)
class Batch:
    """
    Slices whose records were validated, ready to be written.

    `columns` are those of the valid events, in the contract's order; `records` are those they came from, and `row_ids`
    the ids of their rows, in the same order. The store counts `duplicates`, valid events that the table already had,
    and `erased`, messages of people who were forgotten, which are in none of these lists.
    """

    generation: int
    slices: Sequence[Slice]
    contract: Contract
    columns: Columns
    records: list[Record]
    row_ids: list[int]
    rejected: list[Rejected]
    minutes: set[int]  # of the events, since 1970: their rollups become outdated
    clock_ms: int  # when it was validated, see reference_ms
    duplicates: Counter[int] = field(default_factory=Counter)  # by partition
    erased: Counter[int] = field(default_factory=Counter)  # by partition

    @classmethod
    def of(cls, slices: Sequence[Slice], generation: int, decode: Decode) -> Self:
        """Validate every record; each ends in exactly one of `records` and `rejected`."""
        clock_ms = time.time_ns() // 1_000_000
        batch = cls(generation, slices, decode.contract, decode.columns_of([]), [], [], [], set(), clock_ms)
        for part in slices:
            found, records, rejected = validate(part.records, decode, batch.clock_ms)
            first_id = pack(generation, part.partition, 0)
            for column, more in zip(batch.columns, found, strict=True):
                column.extend(more)
            batch.records += records
            batch.row_ids += [first_id | record.offset() for record in records]
            batch.rejected += [*part.rejected, *rejected]
        batch.minutes.update([time_us // 60_000_000 for time_us in batch.times_us])
        return batch

    @property
    def messages(self) -> int:
        """Number of records."""
        return len(self.records) + len(self.rejected)

    @property
    def times_us(self) -> list[int]:
        """When the events happened, in microseconds since 1970."""
        return self.columns[self.contract.time_column]

    @property
    def newest_ms(self) -> int:
        """The latest time of a slice's last record, in milliseconds since 1970; 0 if no broker gave one."""
        times_ms = [part.records[-1].timestamp()[1] for part in self.slices if part.records]
        return max([time_ms for time_ms in times_ms if time_ms >= FIRST_BROKER_MS], default=0)

    def sort(self, fields: Sequence[str]) -> None:
        """Order the valid events by these fields and by their row ids."""
        named = zip(self.columns, self.contract.columns, strict=True)
        keys = [column for column, field in named if field.name in fields]
        order = list(range(len(self.records)))
        for key in (self.row_ids, *reversed(keys)):  # each keeps the order before for equal values
            order.sort(key=key.__getitem__)
        self._take(order)

    def erase(self, is_erased: Sequence[bool], is_rejected_erased: Sequence[bool]) -> None:
        """Remove and count valid events, and rejected messages; each list has one value for each of them."""
        gone = [record for record, erased in zip(self.records, is_erased, strict=True) if erased]
        gone += [one.record for one, erased in zip(self.rejected, is_rejected_erased, strict=True) if erased]
        self.erased.update(record.partition() for record in gone)
        self._take([place for place, erased in enumerate(is_erased) if not erased])
        found = zip(self.rejected, is_rejected_erased, strict=True)
        self.rejected = [one for one, erased in found if not erased]

    def _take(self, order: Sequence[int]) -> None:
        """Keep the valid events of these places, in this order."""
        self.columns = [[column[place] for place in order] for column in self.columns]
        self.records = [self.records[place] for place in order]
        self.row_ids = [self.row_ids[place] for place in order]

    def notes(self) -> dict[int, int]:
        """Return, by hour since 1970, a bit for each of its minutes in `minutes`: one row notes a whole hour."""
        hours = defaultdict[int, int](int)
        if not self.contract.maintained:
            return hours
        for minute in self.minutes:  # each comes once, so adding its bit sets it
            hours[minute // 60] += MINUTE_BITS[minute % 60]
        return hours


def validate(
    records: Sequence[Record], decode: Decode, clock_ms: int
) -> tuple[Columns, Sequence[Record], list[Rejected]]:
    """
    Validate one partition's records, together if possible.

    Args:
        records: In the order of their offsets.
        decode: Validates payloads.
        clock_ms: The consumer's clock, see reference_ms.
    Returns:
        The valid events by column, the records they came from, and the others.
    """
    payloads = [record.value() for record in records]
    record_ms = [record.timestamp()[1] for record in records]
    # What is valid by a sender's time is valid by a later one.
    if (columns := decode.all(payloads, record_ms)) is not None:
        return columns, records, []
    appended_ms = [reference_ms(record, clock_ms) for record in records]
    if appended_ms != record_ms and (columns := decode.all(payloads, appended_ms)) is not None:
        return columns, records, []
    found = list(zip(records, map(decode, payloads, appended_ms), strict=True))
    valid = [(record, event) for record, event in found if not isinstance(event, str)]
    rejected = [Rejected(record, reason) for record, reason in found if isinstance(reason, str)]
    return decode.columns_of([event for _, event in valid]), [record for record, _ in valid], rejected
