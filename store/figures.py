"""What the ledger, the tables and Kafka say, the faults in it, and how it is shown. Nothing here asks a server."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from store.position import LastRecord, Position

COUNTS: Final = ("stored", "rejected", "skipped", "expired", "duplicates", "erased")


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One partition's row of the ledger."""

    generation: int
    partition: int
    topic: str
    topic_id: str
    start_offset: int
    next_offset: int
    stored: int
    rejected: int
    skipped: int
    expired: int
    stored_dropped: int
    rejected_dropped: int
    last_offset: int | None = None
    last_fingerprint: int | None = None
    duplicates: int = 0
    reread: int = 0
    erased: int = 0

    @property
    def passed(self) -> int:
        """Offsets that were taken from Kafka."""
        return self.next_offset - self.start_offset

    @property
    def position(self) -> Position:
        """The next offset, and the last record that was taken."""
        if self.last_offset is None or self.last_fingerprint is None:
            return Position(self.next_offset)
        return Position(self.next_offset, LastRecord(self.last_offset, self.last_fingerprint))


@dataclass(frozen=True, slots=True)
class Rows:
    """What a table holds of one partition, by its rows' ids."""

    count: int = 0
    distinct: int = 0
    first: int = 0
    last: int = 0


LedgerKey = tuple[int, int]  # generation, partition
Held = Mapping[LedgerKey, Rows]


def faults_of(ledger: LedgerRow, stored: Rows | None, rejected: Rows | None, table: str = "heartbeats") -> list[str]:
    """
    Return the faults of one partition; an empty list means that it has none.

    Args:
        ledger: Its row of the ledger.
        stored: Its rows in `table`; None: not counted.
        rejected: Its rows in `rejected_heartbeats`; None: not counted.
        table: Where its events are stored.
    """
    faults = []
    accounted = sum(getattr(ledger, name) for name in COUNTS)
    if accounted != ledger.passed + ledger.reread:
        faults.append(f"{ledger.passed + ledger.reread} offsets passed, {accounted} accounted for")
    for name, rows, expected in (
        (table, stored, ledger.stored - ledger.stored_dropped),
        ("rejected_heartbeats", rejected, ledger.rejected - ledger.rejected_dropped),
    ):
        if rows is None:
            continue
        if rows.count != expected:
            faults.append(f"{name} holds {rows.count} rows, the ledger says {expected}")
        if rows.count != rows.distinct:
            faults.append(f"{name} holds {rows.count - rows.distinct} rows twice")
        if rows.count and not ledger.start_offset <= rows.first <= rows.last < ledger.next_offset:
            faults.append(f"{name} holds offsets {rows.first} to {rows.last}, outside of what was read")
    return faults


@dataclass(frozen=True, slots=True)
class Figures:
    """What the ledger, the tables and Kafka say, as of one moment each."""

    ledger: Sequence[LedgerRow]
    counted: tuple[Held, Held, int] | None  # stored, rejected, ids in both tables; None: not counted
    topic_id: str | None  # of the topic as it is now; None: there is none
    log_ends: Mapping[int, int]
    replaced: Mapping[int, int]  # by partition, the offset at which Kafka holds another record

    @property
    def sums(self) -> dict[str, int]:
        """Return the sums over all partitions."""
        return {name: sum(getattr(one, name) for one in self.ledger) for name in ("passed", "reread", *COUNTS)}

    @property
    def lag(self) -> int:
        """Return the number of offsets that Kafka holds beyond the ledger."""
        current = {one.partition: one.next_offset for one in self.ledger if one.topic_id == self.topic_id}
        return sum(end - current.get(partition, 0) for partition, end in self.log_ends.items())

    def beyond(self, one: LedgerRow) -> int | None:
        """Return the number of offsets that Kafka holds beyond a partition's ledger; None: the topic is gone."""
        return self.log_ends.get(one.partition, 0) - one.next_offset if one.topic_id == self.topic_id else None


def find_faults(figures: Figures, table: str) -> list[str]:
    """Return what does not add up; an empty list means that everything does."""
    faults: list[str] = []
    stored, rejected, in_both = figures.counted or ({}, {}, 0)
    for one in figures.ledger:
        key = (one.generation, one.partition)
        rows = (stored.get(key, Rows()), rejected.get(key, Rows())) if figures.counted else (None, None)
        found = faults_of(one, rows[0], rows[1], table)
        if one.topic_id == figures.topic_id:
            if figures.log_ends.get(one.partition, 0) < one.next_offset:
                found.append("Kafka's log ends before the ledger")
            if one.partition in figures.replaced:
                found.append(
                    "Kafka's log was cut and has grown again, it holds another record at offset"
                    f" {figures.replaced[one.partition]}"
                )
        faults += [f"{one.topic}#{one.generation}[{one.partition}]: {fault}" for fault in found]
    known = {(one.generation, one.partition) for one in figures.ledger}
    faults += [f"generation {g}, partition {p}: rows without a ledger" for g, p in sorted({*stored, *rejected} - known)]
    if in_both:
        faults.append(f"{in_both} messages are stored and in quarantine")
    return faults


def lines_of(figures: Figures, faults: Sequence[str]) -> Iterator[str]:
    """Yield what a person reads: a line for each partition and each fault, and a summary."""
    yield (
        "topic           partition        from          to  read again      stored    rejected  skipped  expired"
        "  duplicates      erased   in Kafka beyond"
    )
    for one in figures.ledger:
        beyond = figures.beyond(one)
        yield (
            f"{f'{one.topic}#{one.generation}':<15} {one.partition:>9} {one.start_offset:>11} {one.next_offset:>11}"
            f" {one.reread:>11} {one.stored:>11} {one.rejected:>11} {one.skipped:>8} {one.expired:>8}"
            f" {one.duplicates:>11} {one.erased:>11} {'topic is gone' if beyond is None else beyond:>17}"
        )
    for fault in faults:
        yield f"WRONG: {fault}"
    sums = figures.sums
    again = f" + {sums['reread']} read again" if sums["reread"] else ""
    yield (
        f"the ledger {'DOES NOT balance' if faults else 'balances'}: {sums['passed']} offsets passed{again}"
        f" = {' + '.join(f'{sums[name]} {name}' for name in COUNTS)}"
        f" ({'counted row by row' if figures.counted else 'by the ledger; --full counts the rows'});"
        f" Kafka holds {figures.lag} more"
    )


def values_of(figures: Figures, faults: Sequence[str]) -> dict[str, Any]:
    """Return the same for machines."""
    return {
        "balances": not faults,
        "counted": figures.counted is not None,
        **figures.sums,
        "in_kafka_beyond": figures.lag,
        "faults": faults,
        "partitions": [
            {
                "topic": one.topic,
                "generation": one.generation,
                "partition": one.partition,
                "from": one.start_offset,
                "to": one.next_offset,
                **{name: getattr(one, name) for name in ("reread", *COUNTS, "stored_dropped", "rejected_dropped")},
                "in_kafka_beyond": figures.beyond(one),
            }
            for one in figures.ledger
        ],
    }
