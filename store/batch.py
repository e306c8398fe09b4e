"""What is read in one go and committed in one transaction: rows, quarantine and the offsets they came from."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from store.position import LastRecord
from store.reasons import Reason
from store.record import BadRecord, Record, judged_at_ms
from store.row_id import pack
from store.rows import row
from store.validation import Decode, Heartbeat, Heartbeats

# 2011-01-01T00:00:00Z. Kafka did not exist before, so no broker gave an earlier time.
FIRST_BROKER_MS: Final = 1_293_840_000_000
MINUTE_BITS: Final = tuple(1 << minute for minute in range(60))  # as in heartbeats_touched.minutes


@dataclass(slots=True)
class Slice:
    """
    One partition's part of a batch: the records from `from_offset` up to `to_offset`, which is not included.

    `skipped` counts the offsets in between that hold no record; `bad` are the records that go into quarantine unjudged.
    """

    partition: int
    from_offset: int
    to_offset: int
    records: Sequence[Record]
    skipped: int = 0
    bad: Sequence[BadRecord] = ()

    @property
    def last(self) -> LastRecord | None:
        """The last record, if there is any; a bad one is not here as Kafka holds it, and cannot be recognized."""
        if self.bad and not (self.records and self.records[-1].offset() > self.bad[-1].offset()):
            return LastRecord(self.bad[-1].offset(), None)
        return LastRecord.of(self.records[-1]) if self.records else None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record for the quarantine: its row's id, why, and what PostgreSQL said where PostgreSQL refused it."""

    row_id: int
    record: Record
    reason: str
    payload_length: int = 0  # of a payload that is not there as a whole
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """How far the books advance for one partition, and into what its offsets turned."""

    partition: int
    from_offset: int
    to_offset: int
    stored: int
    rejected: int
    skipped: int
    last: LastRecord | None  # None: the offsets hold no record


@dataclass(slots=True)
class Batch:
    """
    Decoded slices, ready to be written.

    `rows` are those of `heartbeats` as `store.rows` writes them; `sources` are the records they came from, in the
    same order.
    """

    generation: int
    slices: Sequence[Slice]
    rows: list[bytes]
    sources: list[Record]
    rejected: list[Rejected]
    newest_ms: int
    minutes: set[int]  # of the rows, since 1970: their rollups become outdated
    clock_ms: int  # when it was decoded, see judged_at_ms

    @classmethod
    def of(cls, slices: Sequence[Slice], generation: int, decode: Decode) -> "Batch":
        """Decode every record; each ends in exactly one of `rows` and `rejected`."""
        batch = cls(generation, slices, [], [], [], 0, set(), time.time_ns() // 1_000_000)
        for part in slices:
            first_id = pack(generation, part.partition, 0)
            batch.rejected += [Rejected(first_id | one.place, one, one.reason, one.payload_length) for one in part.bad]
            if not part.records:
                continue
            appended_ms = [record.timestamp()[1] for record in part.records]
            if appended_ms[-1] >= FIRST_BROKER_MS:
                batch.newest_ms = max(batch.newest_ms, appended_ms[-1])
            records, ids = part.records, [first_id | record.offset() for record in part.records]
            payloads = [record.value() for record in records]
            heartbeats = decode.all(payloads, appended_ms)  # what it accepts by a sender's time is good by a later one
            if heartbeats is None:
                record_ms, appended_ms = appended_ms, [judged_at_ms(one, batch.clock_ms) for one in records]
                if appended_ms != record_ms:
                    heartbeats = decode.all(payloads, appended_ms)
            if heartbeats is None:
                judged = list(zip(ids, records, map(decode, payloads, appended_ms), strict=True))
                batch.rejected += [
                    Rejected(i, record, found) for i, record, found in judged if isinstance(found, Reason)
                ]
                good = [(i, record, found) for i, record, found in judged if isinstance(found, Heartbeat)]
                ids, records = [i for i, _, _ in good], [record for _, record, _ in good]
                heartbeats = Heartbeats.of([found for _, _, found in good])
            batch.rows += map(row, ids, heartbeats.times_us, heartbeats.heart_rates, heartbeats.customer_ids)
            batch.sources += records
            batch.minutes.update([time_us // 60_000_000 for time_us in heartbeats.times_us])
        return batch

    @property
    def messages(self) -> int:
        """Number of records."""
        return len(self.rows) + len(self.rejected)

    def notes(self) -> dict[int, int]:
        """Return, by hour since 1970, a bit for each of its minutes in `minutes`: one row notes a whole hour."""
        hours = defaultdict[int, int](int)
        for minute in self.minutes:  # each comes once, so adding its bit sets it
            hours[minute // 60] += MINUTE_BITS[minute % 60]
        return hours

    def steps(self, rejected: Iterable[Rejected]) -> list[Step]:
        """
        Give the books' steps, by partition.

        Args:
            rejected: All that went into quarantine, those that PostgreSQL refused included.
        """
        count = Counter(one.record.partition() for one in rejected)
        return [
            Step(
                part.partition,
                part.from_offset,
                part.to_offset,
                len(part.records) + len(part.bad) - count[part.partition],
                count[part.partition],
                part.skipped,
                part.last,
            )
            for part in sorted(self.slices, key=lambda part: part.partition)
        ]
