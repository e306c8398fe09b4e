"""
Writes to PostgreSQL: one transaction for the rows, the quarantine and the ledger.

The ledger comes last, and advances only from the batch's first offset. If it is at another offset, another consumer
was faster, and the transaction is rolled back. So a batch is stored once, no matter who writes it or how often.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from psycopg import Connection
from psycopg import errors as pg

from common.errors import LedgerError, one_line
from common.settings import Credentials, Settings
from common.topic_identity import Check, TopicIdentity
from contracts.load import contract_of
from store import ledger
from store.batch import Batch
from store.days import Days
from store.forgotten import Forgotten
from store.insert import CHECK_NOW, Unique, copy_rows, copy_statement
from store.old_rows import OldRows
from store.position import YEAR_10000_MS, Position
from store.postgres_errors import REFUSALS, is_partition_made_meanwhile, is_taken_id
from store.reasons import Reason
from store.record import Rejected, reference_ms
from store.row_id import pack
from store.rows import Encode
from store.session import Session
from store.table import check_table
from store.timestamps import EPOCH

Copy = Callable[[Connection, Batch, Check], list[Rejected]]  # returns the rows that PostgreSQL rejected
FEWEST_REFUSED: Final = 10  # refused rows; fewer say nothing about the schema

COPY_REJECTED: Final = (
    'COPY rejected_heartbeats (id, topic, partition, "offset", key, payload, payload_length, reason, appended_at,'
    " detail) FROM STDIN"
)
# Maintenance does it every minute. Within a minute, a flood can fill the disk.
BOUND_REJECTED: Final = "SELECT bound_rejected(%s, %s)"
BOUND_EVERY: Final = 50_000  # quarantined messages, or a part of the bytes that are allowed, whichever comes first
BOUND_PART: Final = 16
SHORT_LOCK_TIMEOUT: Final = "SELECT set_config('lock_timeout', '200ms', true)"


class PostgresStore:
    """
    Writes batches, one at a time.

    Args:
        settings: Address, libpq parameters, limits.
        credentials: The login.
        note_old: Gets the number of stored rows that are older than the retention, and the oldest one's microseconds
            since 1970. By default, this store warns of them.
    """

    application_name = "heartbeat-consumer"

    def __init__(
        self, settings: Settings, credentials: Credentials, note_old: Callable[[int, int], None] | None = None
    ) -> None:
        self._session = Session(settings, credentials, self.application_name)
        self._contract = contract_of(settings.event)
        self._encode = Encode(self._contract)
        self._unique = Unique(self._contract, self._encode) if self._contract.unique else None
        self._copy_events = copy_statement(self._contract, self._encode)
        self._forgotten = Forgotten(self._contract, settings.consumer.max_payload_bytes)
        self._skip_expired = settings.consumer.skip_expired
        self._max_payload_bytes = settings.consumer.max_payload_bytes
        self._days = Days(self._contract.table, settings.consumer.retention_days)
        self._note_old = note_old or OldRows(settings.consumer.retention_days).add
        self._rejected_max_bytes = settings.consumer.rejected_max_bytes
        self._quarantined = self._quarantined_bytes = 0  # since the quarantine was bounded
        self._refused_in_a_row = 0

    def positions(
        self, topic: TopicIdentity, log_ranges: Mapping[int, tuple[int, int]]
    ) -> tuple[int, dict[int, Position]]:
        """Read each partition's position, as `ledger.read`; raises `OutageError` and `ConfigError`, too."""
        return self._session.run(
            "read the ledger",
            lambda connection: self._positions(connection, topic, log_ranges),
        )

    def _positions(
        self, connection: Connection, topic: TopicIdentity, log_ranges: Mapping[int, tuple[int, int]]
    ) -> tuple[int, dict[int, Position]]:
        check_table(connection, self._contract)
        return ledger.read(connection, topic, log_ranges, self._contract.table, skip_expired=self._skip_expired)

    def write(self, batch: Batch, topic: TopicIdentity, check: Check) -> list[Rejected]:
        """
        Store a batch: rows, quarantine and ledger together, or nothing.

        Args, returns, raises: as the loop's `Store` in consumer/interfaces.py.
        """

        def transact(connection: Connection, copy: Copy) -> list[Rejected]:
            check.start()
            batch.duplicates.clear()
            with connection.transaction():
                rejected = [*batch.rejected, *copy(connection, batch, check)]
                # Locks from here on last only until COMMIT. Taken earlier, they could block the previous batch.
                check.wait()
                self._quarantine(connection, topic, batch, rejected)
                self._advance(connection, batch, rejected)
            return rejected

        def write(connection: Connection) -> list[Rejected]:
            self._days.prepare(connection, batch.minutes)
            if self._unique:
                self._unique.prepare(connection)
                # Otherwise two sessions could store the same events in two orders, and deadlock.
                batch.sort(self._contract.unique)
            try:
                try:
                    return transact(connection, self._copy_at_once)
                except REFUSALS as error:
                    if is_taken_id(connection, error):
                        raise
                    return transact(connection, self._copy_around_refused)
            except pg.UniqueViolation as error:
                if not is_taken_id(connection, error):
                    raise
                raise ledger.explain_taken_id(connection, batch, error.diag.message_detail) from error

        rejected = self._session.run("store a batch", partial(self._forgotten.store_without, batch=batch, write=write))
        refused = len(rejected) - len(batch.rejected)
        self._refused_in_a_row = self._refused_in_a_row + refused if refused == len(batch.records) else 0
        self._look_for_old(batch, rejected)
        if self._quarantined >= BOUND_EVERY or self._quarantined_bytes * BOUND_PART >= self._rejected_max_bytes > 0:
            self._session.run("bound the quarantine", self._bound_quarantine)
        return rejected

    def terminate_blockers(self) -> int:
        """Terminate the sessions with our name and role that block this one, from any thread; return their number."""
        return self._session.terminate_blockers()

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._session.close()

    def _look_for_old(self, batch: Batch, rejected: Sequence[Rejected]) -> None:
        """Note stored rows that are older than the retention, by the database's clock."""
        first_kept_minute = self._days.first_kept_minute
        old: list[int] = []
        if first_kept_minute is not None and min(batch.minutes, default=first_kept_minute) < first_kept_minute:
            refused = {id(one.record) for one in rejected}
            found = zip(batch.records, batch.times_us, strict=True)
            first_us = first_kept_minute * 60_000_000
            old = [time_us for record, time_us in found if time_us < first_us and id(record) not in refused]
        self._note_old(len(old), min(old, default=0))

    def _copy_at_once(self, connection: Connection, batch: Batch, check: Check) -> list[Rejected]:
        batch.duplicates += self._store_rows(connection, batch, range(len(batch.records)), check)
        return []

    def _copy_around_refused(self, connection: Connection, batch: Batch, check: Check) -> list[Rejected]:
        """Halve rejected blocks until single rows are left, and quarantine those. The others are stored."""
        refused: list[Rejected] = []
        allowed = len(batch.records)
        waiting = [range(allowed)]
        while waiting:
            part = waiting.pop()
            try:
                with connection.transaction():
                    duplicates = self._store_rows(connection, batch, part, check)
                    connection.execute(CHECK_NOW)
            except REFUSALS as error:
                if is_taken_id(connection, error) or is_partition_made_meanwhile(error, self._contract.table):
                    raise
                if len(part) > 1:
                    middle = part.start + len(part) // 2
                    waiting += [range(middle, part.stop), range(part.start, middle)]
                    continue
                words = f"{error.sqlstate} {one_line(error)}".replace("\0", "")
                refused.append(Rejected(batch.records[part.start], Reason.REFUSED, detail=words))
                in_a_row = self._refused_in_a_row + len(refused)
                if in_a_row >= FEWEST_REFUSED and 2 * in_a_row > self._refused_in_a_row + allowed:
                    raise LedgerError(
                        f"cannot store {self._contract.table}: PostgreSQL refused {in_a_row} of"
                        f" {self._refused_in_a_row + allowed} valid ones, lastly: {one_line(error)}",
                        hint="The table does not fit the data; compare its constraints with the contract.",
                    ) from error
            else:
                batch.duplicates += duplicates
        return refused

    def _store_rows(self, connection: Connection, batch: Batch, part: range, check: Check) -> Counter[int]:
        if not part:
            return Counter()
        encoded = self._encoded(batch, part)
        if self._unique:
            return self._unique.store(connection, batch, part, encoded, check)
        copy_rows(connection, self._copy_events, encoded, len(part))
        return Counter()

    def _encoded(self, batch: Batch, part: range) -> bytes:
        columns = [column[part.start : part.stop] for column in batch.columns]
        return self._encode(batch.row_ids[part.start : part.stop], columns)

    def _quarantine(
        self, connection: Connection, topic: TopicIdentity, batch: Batch, rejected: Sequence[Rejected]
    ) -> None:
        if not rejected:
            return
        most = self._max_payload_bytes
        with connection.cursor().copy(COPY_REJECTED) as copy:
            for one in rejected:
                record, payload, key = one.record, one.record.value(), one.record.key()
                appended_ms = reference_ms(record, batch.clock_ms)
                self._quarantined_bytes += min(len(payload or b""), most) + min(len(key or b""), most)
                copy.write_row(
                    (
                        pack(batch.generation, record.partition(), record.offset()),
                        topic.name,
                        record.partition(),
                        record.offset(),
                        key and key[:most],
                        payload and payload[:most],
                        max(len(payload or b""), one.payload_length),
                        one.reason,
                        EPOCH + timedelta(milliseconds=min(max(0, appended_ms), YEAR_10000_MS - 1)),
                        one.detail,
                    )
                )
        self._quarantined += len(rejected)

    def _bound_quarantine(self, connection: Connection) -> None:
        """Delete the oldest messages beyond the limit. If a lock is busy, a later call does it."""
        self._quarantined = self._quarantined_bytes = 0
        if not self._rejected_max_bytes:
            return
        with suppress(pg.LockNotAvailable, pg.DeadlockDetected), connection.transaction():
            connection.execute(SHORT_LOCK_TIMEOUT)
            row = connection.execute(BOUND_REJECTED, (self._rejected_max_bytes, 2 * BOUND_EVERY)).fetchone()
            if row and row[0]:
                structlog.get_logger().warning(
                    "oldest quarantined messages dropped", rows=row[0], rejected_max_bytes=self._rejected_max_bytes
                )

    def _advance(self, connection: Connection, batch: Batch, rejected: Sequence[Rejected]) -> None:
        ledger.advance(connection, batch, rejected, self._forgotten.versions)
