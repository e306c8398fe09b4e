"""
Replaces what was stored of a range of offsets by what its records give now.

Each batch is one transaction: it deletes the range's rows and quarantined messages, stores the batch, and counts both
in the ledger. The ledger's next offset stays. Consumers of either engine store only offsets from there on, so a reread
does not concern them. As they do, it obeys the list of forgotten people.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from common.errors import ConfigError, LedgerError
from common.settings import Credentials, Settings
from common.topic_identity import Check, TopicIdentity
from store.batch import Batch
from store.errors import ForgottenChangedError, NotHeldError
from store.ledger import steps
from store.postgres import PostgresStore
from store.record import Rejected
from store.row_id import LAST_OFFSET, pack, unpack
from store.table import check_table

MAY_DELETE: Final = "SELECT has_table_privilege(%s, 'DELETE') AND has_table_privilege('rejected_heartbeats', 'DELETE')"
# Neither a replay nor a second reread may move a message meanwhile.
ONE_AT_A_TIME: Final = "SELECT rejected_turn()"
DELETE_ROWS: Final = SQL(
    "DELETE FROM {} WHERE id BETWEEN %s AND %s RETURNING id, floor(extract(epoch FROM {}) / 60)::bigint"
)
DELETE_REJECTED: Final = "DELETE FROM rejected_heartbeats WHERE id BETWEEN %s AND %s RETURNING id"
NOTE: Final = """
INSERT INTO heartbeats_touched (minute, minutes)
SELECT to_timestamp(3600 * hour), minutes FROM unnest(%s::bigint[], %s::bigint[]) AS note (hour, minutes)
"""
# Not `updated_at`: it shows that the consumers advance.
TALLY: Final = """
UPDATE kafka_ledger
SET reread = reread + %(offsets)s, stored = stored + %(stored)s, rejected = rejected + %(rejected)s,
    skipped = skipped + %(skipped)s, duplicates = duplicates + %(duplicates)s, erased = erased + %(erased)s,
    stored_dropped = stored_dropped + %(rows_replaced)s + %(rows_missed)s,
    rejected_dropped = rejected_dropped + %(messages_replaced)s + %(messages_missed)s
WHERE generation = %(generation)s AND partition = %(partition)s
  AND start_offset <= %(from_offset)s AND next_offset >= %(to_offset)s
RETURNING forgotten_version
"""
HELD: Final = SQL("""
SELECT (SELECT count(*) FROM {} WHERE id BETWEEN %(first)s AND %(last)s)
     + (SELECT count(*) FROM rejected_heartbeats WHERE id BETWEEN %(first)s AND %(last)s)
""")
MISSING: Final = SQL("""
SELECT greatest(0, stored - stored_dropped - (SELECT count(*) FROM {} WHERE id BETWEEN %(first)s AND %(last)s)),
       greatest(0, rejected - rejected_dropped
                   - (SELECT count(*) FROM rejected_heartbeats WHERE id BETWEEN %(first)s AND %(last)s))
FROM kafka_ledger WHERE generation = %(generation)s AND partition = %(partition)s
""")


@dataclass
class Tally:
    """
    What became of offsets that were read again, and what was there before.

    `rows_missed` and `messages_missed` are rows and quarantined messages that the ledger counted, but that somebody had
    deleted by hand.
    """

    offsets: int = 0
    stored: int = 0
    rejected: int = 0
    skipped: int = 0
    duplicates: int = 0
    erased: int = 0
    rows_replaced: int = 0
    messages_replaced: int = 0
    rows_missed: int = 0
    messages_missed: int = 0

    def add(self, other: "Tally") -> None:
        """Add the figures of another one."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


class Rewriter(PostgresStore):
    """
    Writes batches of offsets that were taken before.

    Args:
        settings, credentials: As for every store; the role must be allowed to delete.
        dry_run: Roll each batch back.
    """

    application_name = "heartbeat-reread"

    def __init__(self, settings: Settings, credentials: Credentials, *, dry_run: bool) -> None:
        super().__init__(settings, credentials)
        self._username = credentials.username
        self._dry_run = dry_run
        self._replaced = Tally()
        self._missing_rows = self._missing_messages = self._absent = 0
        self._delete_rows = DELETE_ROWS.format(Identifier(self._contract.table), Identifier(self._contract.time))

    def check(self) -> None:
        """Raise a `ConfigError` if the table does not fit the contract, or if the role must not delete."""
        self._session.run("read rows again", self._check)

    def _check(self, connection: Connection) -> None:
        check_table(connection, self._contract)
        if connection.execute(MAY_DELETE, (self._contract.table,)).fetchone() != (True,):
            raise ConfigError(
                f"cannot read rows again as {self._username}: this role must not delete rows",
                hint="Run it as the owner of the tables: set POSTGRESQL_USERNAME and POSTGRESQL_PASSWORD.",
            )

    def begin(self, generation: int, partition: int, start: int, end: int) -> None:
        """Find out how many rows and messages the ledger counts that are not there, before a range is read again."""
        self._missing_rows, self._missing_messages = self._session.run(
            "count the rows", lambda connection: self._count_missing(connection, generation, partition, start, end)
        )

    def _count_missing(
        self, connection: Connection, generation: int, partition: int, start: int, end: int
    ) -> tuple[int, int]:
        given = {"generation": generation, "partition": partition}
        table = Identifier(self._contract.table)
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0")
            ids = {"first": pack(generation, partition, start), "last": pack(generation, partition, end - 1)}
            if connection.execute(HELD.format(table), ids).fetchone() == (end - start,):
                return 0, 0  # usual, and a small range then does not cost a look at all rows
            ids = {"first": pack(generation, partition, 0), "last": pack(generation, partition, LAST_OFFSET)}
            rows, messages = connection.execute(MISSING.format(table), given | ids).fetchone() or (0, 0)
        return rows, messages

    def rewrite(self, batch: Batch, topic: TopicIdentity, check: Check) -> Tally:
        """
        Replace what was stored of a batch's offsets by the batch; change nothing in a dry run.

        Args:
            batch: A single slice, whose offsets were taken before.
            topic: As for `write`.
            check: As for `write`.
        Returns:
            What it became, and what was there before.
        Raises:
            NotHeldError: The batch lacks a record whose row or quarantined message is there.
            LedgerError: The ledger has not taken these offsets.
            HeartbeatError: As `write`.
        """
        self.write(batch, topic, check)
        self._missing_rows -= self._replaced.rows_missed
        self._missing_messages -= self._replaced.messages_missed
        return self._replaced

    def _copy_at_once(self, connection: Connection, batch: Batch, check: Check) -> list[Rejected]:
        self._clear(connection, batch)
        return super()._copy_at_once(connection, batch, check)

    def _copy_around_refused(self, connection: Connection, batch: Batch, check: Check) -> list[Rejected]:
        self._clear(connection, batch)
        return super()._copy_around_refused(connection, batch, check)

    def _bound_quarantine(self, connection: Connection) -> None:
        if not self._dry_run:
            super()._bound_quarantine(connection)

    def _clear(self, connection: Connection, batch: Batch) -> None:
        """Delete what is there; raise if one of it would be lost."""
        (part,) = batch.slices
        connection.execute(ONE_AT_A_TIME)
        ids = [pack(batch.generation, part.partition, offset) for offset in (part.from_offset, part.to_offset - 1)]
        rows = connection.execute(self._delete_rows, ids).fetchall()
        messages = connection.execute(DELETE_REJECTED, ids).fetchall()
        given = {record.offset() for record in [*part.records, *(one.record for one in part.rejected)]}
        there = {unpack(row_id)[2] for row_id, *_ in [*rows, *messages]}
        if lost := sorted(there - given):
            raise NotHeldError(
                f"cannot read partition {part.partition} again: Kafka does not hold the records of {len(lost)} stored"
                f" offsets, the first is {lost[0]}",
                hint="Their rows stay. Is the topic compacted? Then its records cannot be read again.",
            )
        batch.minutes.update(minute for _, minute in rows)
        # Without the forgotten people: nothing is there of them if they were erased before.
        kept = {record.offset() for record in [*batch.records, *(one.record for one in batch.rejected)]}
        self._absent = len(kept - there)
        self._replaced = Tally(rows_replaced=len(rows), messages_replaced=len(messages))

    def _advance(self, connection: Connection, batch: Batch, rejected: Sequence[Rejected]) -> None:
        (part,) = batch.slices
        found, replaced = steps(batch, rejected), self._replaced
        replaced.offsets = part.to_offset - part.from_offset
        for name in ("stored", "rejected", "skipped", "duplicates", "erased"):
            (count,) = found[name]
            setattr(replaced, name, count)
        replaced.rows_missed = min(self._absent, self._missing_rows)
        replaced.messages_missed = min(self._absent - replaced.rows_missed, self._missing_messages)
        where = {"generation": batch.generation, "partition": part.partition}
        offsets = {"from_offset": part.from_offset, "to_offset": part.to_offset}
        version = connection.execute(TALLY, vars(replaced) | where | offsets).fetchone()
        if version is None:
            raise LedgerError(
                f"cannot read partition {part.partition} again: the ledger has not taken the offsets"
                f" {part.from_offset} to {part.to_offset - 1}",
                hint="Was the ledger restored or set back meanwhile? Nothing of these offsets was changed.",
            )
        if version != (self._forgotten.versions.get(part.partition, 0),):
            raise ForgottenChangedError
        notes = batch.notes()
        connection.execute(NOTE, (list(notes), list(notes.values())))
        if self._dry_run:
            raise psycopg.Rollback
