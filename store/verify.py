"""Checks the ledger: every offset that was passed is stored, rejected, skipped, expired, a duplicate or erased."""

import json
from collections.abc import Callable, Iterable
from typing import Final

from psycopg import Connection, IsolationLevel
from psycopg.sql import SQL, Identifier

from common.errors import NoLeaderError
from common.progress import progress
from common.settings import Credentials, Settings
from common.topic import TopicAdmin
from common.topic_log import TopicLog
from contracts.load import contract_of
from store.figures import Figures, Held, LedgerRow, Rows, find_faults, lines_of, values_of
from store.kafka_probe import find_replaced
from store.row_id import pack, unpack
from store.session import Session

LEDGER: Final = """
SELECT generation, partition, topic, topic_id, start_offset, next_offset, stored, rejected, skipped, expired,
       stored_dropped, rejected_dropped, last_offset, last_fingerprint, duplicates, reread, erased
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


def check(
    settings: Settings, credentials: Credentials, *, full: bool, as_json: bool, say: Callable[[str], None]
) -> bool:
    """
    Check the ledger and say what was found, a line a partition.

    Args:
        settings: Where Kafka and PostgreSQL are.
        credentials: Who we are.
        full: Count the rows by their ids instead of believing the ledger; reads both tables whole.
        as_json: Say one JSON object instead.
        say: Gets the lines.
    Returns:
        Whether everything adds up.
    Raises:
        OutageError, ConfigError: Kafka or PostgreSQL does not answer.
    """
    table = contract_of(settings.event).table
    figures = read_figures(settings, credentials, table, full=full)
    faults = find_faults(figures, table)
    if as_json:
        say(json.dumps(values_of(figures, faults)))
    else:
        for line in lines_of(figures, faults):
            say(line)
    return not faults


def read_figures(settings: Settings, credentials: Credentials, table: str, *, full: bool) -> Figures:
    """Read all that is compared; raises as `check`."""
    session = Session(settings, credentials, "heartbeat-verify")
    try:
        ledger, counted = session.run("read the ledger", lambda conn: read(conn, table, full=full))
    finally:
        session.close()
    topic_id, log_ends = _log_ends(settings)
    replaced = find_replaced(settings, {one.partition: one.position for one in ledger if one.topic_id == topic_id})
    if replaced and _log_ends(settings)[0] != topic_id:
        replaced = {}  # the topic was made again meanwhile
    return Figures(ledger, counted, topic_id, log_ends, replaced)


def read_ledger(connection: Connection, table: str) -> list[LedgerRow]:
    """Return the ledger of the topics whose events are stored in a table."""
    return [LedgerRow(*row) for row in connection.execute(LEDGER, (table,))]


def read(connection: Connection, table: str, *, full: bool) -> tuple[list[LedgerRow], tuple[Held, Held, int] | None]:
    """Return the ledger, and what the tables hold if they are counted, as of one moment."""
    connection.isolation_level = IsolationLevel.REPEATABLE_READ  # one snapshot, while consumers write
    connection.read_only = True
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")
        ledger = read_ledger(connection, table)
        if not full:
            return ledger, None
        with progress(f"compare {table} with the quarantine"):
            in_both = connection.execute(IN_BOTH.format(Identifier(table))).fetchone()
        with progress(f"count {table}"):
            stored = _rows(connection.execute(ROWS.format(Identifier(table)), (pack(1, 0, 0),)))
        with progress("count the quarantine"):
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
