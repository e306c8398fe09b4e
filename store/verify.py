"""Checks the ledger: every offset that was passed is stored, rejected, skipped, expired or a duplicate."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import Connection, IsolationLevel
from psycopg.sql import SQL, Identifier

from common.errors import NoLeaderError
from common.settings import Credentials, Settings
from common.topic import TopicAdmin
from common.topic_log import TopicLog
from contracts.load import contract_of
from store.kafka_probe import find_replaced
from store.position import LastRecord, Position
from store.row_id import pack, unpack
from store.session import Session

LEDGER: Final = """
SELECT generation, partition, topic, topic_id, start_offset, next_offset, stored, rejected, skipped, expired,
       stored_dropped, rejected_dropped, last_offset, last_fingerprint, duplicates
FROM kafka_ledger JOIN kafka_topics USING (generation)
WHERE table_name = %s
ORDER BY first_seen_at, generation, partition
"""
# Rows by the generation and partition in their ids, which shows rows stored twice and rows that were never read.
# Not by kafka_place(), which PostgreSQL would call for each row.
ROWS: Final = SQL("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM {} WHERE id >= %s GROUP BY id >> 40")
# The quarantine is the same for all events; other tables' messages are their own consumers' business.
REJECTED_ROWS: Final = """
SELECT count(*), count(DISTINCT id), min(id), max(id) FROM rejected_heartbeats
WHERE id >> 56 NOT IN (SELECT generation FROM kafka_topics WHERE table_name <> %s) GROUP BY id >> 40
"""
IN_BOTH: Final = SQL("SELECT count(*) FROM rejected_heartbeats JOIN {} USING (id)")


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
    accounted = ledger.stored + ledger.rejected + ledger.skipped + ledger.expired + ledger.duplicates
    if accounted != ledger.passed:
        faults.append(f"{ledger.passed} offsets passed, {accounted} accounted for")
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


def check(settings: Settings, credentials: Credentials, *, full: bool, say: Callable[[str], None]) -> bool:
    """
    Check the ledger and say what was found, a line a partition.

    Args:
        settings: Where Kafka and PostgreSQL are.
        credentials: Who we are.
        full: Count the rows by their ids instead of believing the ledger; reads both tables whole.
        say: Gets the lines.
    Returns:
        Whether everything adds up.
    Raises:
        OutageError, ConfigError: Kafka or PostgreSQL does not answer.
    """
    table = contract_of(settings.event).table
    figures = read_figures(settings, credentials, table, full=full)
    faults = find_faults(figures, table)
    say(
        "topic           partition        from          to      stored    rejected  skipped  expired  duplicates"
        "   in Kafka beyond"
    )
    for one in figures.ledger:
        current = one.topic_id == figures.topic_id
        beyond = str(figures.log_ends.get(one.partition, 0) - one.next_offset) if current else "topic is gone"
        say(
            f"{f'{one.topic}#{one.generation}':<15} {one.partition:>9} {one.start_offset:>11} {one.next_offset:>11}"
            f" {one.stored:>11} {one.rejected:>11} {one.skipped:>8} {one.expired:>8} {one.duplicates:>11} {beyond:>17}"
        )
    for fault in faults:
        say(f"WRONG: {fault}")
    say(_summary(figures, ok=not faults))
    return not faults


def read_figures(settings: Settings, credentials: Credentials, table: str, *, full: bool) -> Figures:
    """Read all that is compared; raises as `check`."""
    session = Session(settings, credentials, "heartbeat-verify")
    try:
        ledger, counted = session.run("read the ledger", lambda conn: _read(conn, table, full=full))
    finally:
        session.close()
    topic_id, log_ends = _log_ends(settings)
    replaced = find_replaced(settings, {one.partition: one.position for one in ledger if one.topic_id == topic_id})
    if replaced and _log_ends(settings)[0] != topic_id:
        replaced = {}  # the topic was made again meanwhile
    return Figures(ledger, counted, topic_id, log_ends, replaced)


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


def _summary(figures: Figures, *, ok: bool) -> str:
    ledger = figures.ledger
    current = {one.partition: one.next_offset for one in ledger if one.topic_id == figures.topic_id}
    lag = sum(end - current.get(partition, 0) for partition, end in figures.log_ends.items())
    return (
        f"the ledger {'balances' if ok else 'DOES NOT balance'}: {sum(one.passed for one in ledger)} offsets passed"
        f" = {sum(one.stored for one in ledger)} stored + {sum(one.rejected for one in ledger)} rejected"
        f" + {sum(one.skipped for one in ledger)} skipped + {sum(one.expired for one in ledger)} expired"
        f" + {sum(one.duplicates for one in ledger)} duplicates"
        f" ({'counted row by row' if figures.counted else 'by the ledger; --full counts the rows'});"
        f" Kafka holds {lag} more"
    )


def _read(connection: Connection, table: str, *, full: bool) -> tuple[list[LedgerRow], tuple[Held, Held, int] | None]:
    connection.isolation_level = IsolationLevel.REPEATABLE_READ  # one snapshot, while consumers write
    connection.read_only = True
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")
        ledger = [LedgerRow(*row) for row in connection.execute(LEDGER, (table,))]
        if not full:
            return ledger, None
        in_both = connection.execute(IN_BOTH.format(Identifier(table))).fetchone()
        stored = _rows(connection.execute(ROWS.format(Identifier(table)), (pack(1, 0, 0),)))
        rejected = _rows(connection.execute(REJECTED_ROWS, (table,)))
        return ledger, (stored, rejected, in_both[0] if in_both else 0)


def _rows(found: Iterable[tuple[int, int, int, int]]) -> Held:
    held = {}
    for count, distinct, first_id, last_id in found:
        generation, partition, first = unpack(first_id)
        held[generation, partition] = Rows(count, distinct, first, unpack(last_id)[2])
    return held


def _log_ends(settings: Settings) -> tuple[str | None, dict[int, int]]:
    log = TopicLog(settings)
    try:
        state = TopicAdmin(settings.kafka).look()
        if state is None:
            return None, {}
        ends = {partition: end for partition, (_, end) in log.ranges(range(state.partitions)).items()}
        if leaderless := set(range(state.partitions)) - ends.keys():
            raise NoLeaderError(settings.kafka.topic, leaderless)
        return state.topic_id, ends
    finally:
        log.close()
