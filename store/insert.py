"""Stores events: by COPY or, if it finds duplicates of `unique` fields, by an INSERT that omits them."""

from collections import Counter
from typing import Final

from psycopg import Connection
from psycopg import errors as pg
from psycopg.sql import SQL, Composed, Identifier

from common.topic_identity import Check
from contracts.contract import ROW_ID, Contract
from contracts.fields import Text
from store.batch import Batch
from store.ledger import explain_taken_id
from store.row_id import unpack
from store.rows import Encode
from store.table import check_unique

COPY_EVENTS: Final = SQL("COPY {} ({}) FROM STDIN (FORMAT binary)")
# A pooler may pass a session on with its tables, which may have had other columns.
DROP: Final = SQL("DROP TABLE IF EXISTS {incoming}")
# Without constraints: the INSERT checks them.
CREATE: Final = SQL(
    "CREATE TEMPORARY TABLE {incoming} ON COMMIT DELETE ROWS AS SELECT {columns} FROM {table} WITH NO DATA"
)
WITHOUT_DUPLICATES: Final = 100  # batches, arbitrary
# All sessions insert in the order of the unique fields (that of `Batch.sort`), so that two do not deadlock. Of
# duplicates in a batch, the one with the smallest row id is stored. ON CONFLICT covers only the unique fields. So an id
# that exists already raises an error, or the SELECT finds it: the SELECT does not see what its own statement inserted.
# OVERRIDING: as COPY does, so that the row id goes into a column GENERATED ALWAYS AS IDENTITY.
INSERT: Final = SQL(
    """
WITH stored AS (
    INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
    SELECT {columns} FROM {incoming} ORDER BY {order}, {id}
    ON CONFLICT ({unique}) DO NOTHING RETURNING {id}
)
SELECT {id}, EXISTS (SELECT FROM {table} AS held WHERE held.{id} = incoming.{id})
FROM {incoming} AS incoming WHERE NOT EXISTS (SELECT FROM stored WHERE stored.{id} = incoming.{id})
"""
)
ORDER: Final = SQL("{}")
ORDER_TEXT: Final = SQL('{} COLLATE "C"')  # as Python orders it
EMPTY: Final = SQL("DELETE FROM {incoming}")
# A deferred constraint would fail only at COMMIT, when the row is unknown.
CHECK_NOW: Final = "SET CONSTRAINTS ALL IMMEDIATE"


def copy_statement(contract: Contract, encode: Encode) -> Composed:
    """Return the statement that copies what `encode` writes into the contract's table."""
    return COPY_EVENTS.format(Identifier(contract.table), SQL(", ").join(map(Identifier, encode.columns_written)))


def copy_rows(connection: Connection, statement: Composed, encoded: bytes, rows: int) -> None:
    """
    Copy so many rows.

    Raises:
        psycopg.Error: PostgreSQL refused a row. `RaiseException`, as if a trigger had raised it, also if one skipped a
            row: PostgreSQL reports no error then, and the row would be lost.
    """
    cursor = connection.cursor()
    with cursor.copy(statement) as copy:
        copy.write(encoded)
    if cursor.rowcount != rows:
        raise pg.RaiseException(f"the table took {cursor.rowcount} of {rows} rows: a trigger skipped the others")


class Unique:
    """
    Stores only events that the table does not have yet, compared by the contract's `unique` fields.

    It copies them straight into the table. If the table has one of them already, it copies them into a temporary table
    and inserts from there, also the next `WITHOUT_DUPLICATES` batches: a COPY in vain leaves dead rows.
    """

    def __init__(self, contract: Contract, encode: Encode) -> None:
        self._contract = contract
        columns = SQL(", ").join(map(Identifier, encode.columns_written))
        unique = SQL(", ").join(map(Identifier, contract.unique))
        ordered = [field for field in contract.fields if field.name in contract.unique]
        order = SQL(", ").join(
            [(ORDER_TEXT if isinstance(field, Text) else ORDER).format(Identifier(field.name)) for field in ordered]
        )
        table = Identifier(contract.table)
        # A session finds its temporary tables first. No contract's table has a space in its name.
        incoming = Identifier("pg_temp", f"incoming {contract.table}")
        self._copy, self._copy_incoming = copy_statement(contract, encode), COPY_EVENTS.format(incoming, columns)
        self._drop, self._empty = DROP.format(incoming=incoming), EMPTY.format(incoming=incoming)
        self._create = CREATE.format(incoming=incoming, columns=columns, table=table)
        self._insert = INSERT.format(
            incoming=incoming, columns=columns, table=table, unique=unique, order=order, id=Identifier(ROW_ID)
        )
        self._prepared: Connection | None = None
        self._without_duplicates = WITHOUT_DUPLICATES  # batches in a row, the last ones

    def prepare(self, connection: Connection) -> None:
        """Create the temporary table, once in each session, outside of a transaction."""
        if connection is not self._prepared:
            connection.execute(self._drop)
            connection.execute(self._create)
            self._prepared = connection

    def store(self, connection: Connection, batch: Batch, part: range, encoded: bytes, check: Check) -> Counter[int]:
        """
        Store a part of a batch.

        Other sessions that store the same events wait until the transaction ends.

        Args:
            connection: In a transaction.
            batch: The batch.
            part: Which of its events.
            encoded: These events, for COPY.
            check: Waited for before the table is written to.
        Returns:
            The number of duplicates by partition.
        Raises:
            psycopg.Error: As `copy_rows`, except for duplicates.
            StaleOwnerError, LedgerError: A row id is taken, as `explain_taken_id`.
            ConfigError: The index on the unique fields was dropped.
        """
        is_direct = self._without_duplicates >= WITHOUT_DUPLICATES
        if not is_direct:
            copy_rows(connection, self._copy_incoming, encoded, len(part))
        check.wait()  # else the previous batch could wait for this one's events, and this one for that batch
        if is_direct:
            try:
                with connection.transaction():
                    copy_rows(connection, self._copy, encoded, len(part))
            except pg.UniqueViolation:
                self._without_duplicates = 0
                copy_rows(connection, self._copy_incoming, encoded, len(part))
            else:
                check_unique(connection, self._contract)  # now the table is locked: COPY itself does without the index
                return Counter()
        dropped = connection.execute(self._insert).fetchall()
        if taken := [row_id for row_id, is_taken in dropped if is_taken]:
            raise explain_taken_id(connection, batch, f"id {min(taken)} is taken")
        if len(part) < len(batch.records):  # the transaction also copies other parts
            connection.execute(self._empty)
        self._without_duplicates = 0 if dropped else self._without_duplicates + 1
        return Counter(unpack(row_id)[1] for row_id, _ in dropped)
