"""
What the tables need besides being written to: rollups, coming days' partitions, retention.

It runs in a thread and on a session of its own, in every consumer; the database lets one at a time do it. Locks that
writers meet are waited for at most a fifth of a second, and tried again later.
"""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from psycopg import Connection

from common.errors import ConfigError, OutageError
from common.settings import Credentials, Settings
from consumer.postgres_session import Session

ROLLUP_EVERY_S: Final = 5.0
STORAGE_EVERY_S: Final = 60.0
DAYS_AHEAD: Final = 7  # partitions made before they are needed: a week without a consumer does no harm
# Whoever waits for a lock on the table holds up those that come behind. An old day may take its time to be counted.
LIMITS: Final = {"lock_timeout": "200ms", "statement_timeout": "10min"}
BITE: Final = 10_000  # rows dropped in one transaction

ONE_AT_A_TIME: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('heartbeat maintenance', 0))"
REFRESH: Final = "SELECT refresh_rollups()"
DAYS_DUE: Final = "SELECT day, todo FROM heartbeats_days_due(%s::date, %s::date)"
MAKE: Final = "SELECT make_heartbeats_partition(%s::date)"
DROP: Final = "SELECT drop_heartbeats_day(%s::date)"
DROP_STRAYS: Final = "SELECT drop_strays(%s::date::timestamp AT TIME ZONE 'UTC', %s)"
DROP_REJECTED: Final = "SELECT drop_rejected(%s::date::timestamp AT TIME ZONE 'UTC', %s)"
BOUND_REJECTED: Final = "SELECT bound_rejected(%s, %s)"
DROP_ROLLUPS: Final = "SELECT drop_rollups(%s::date::timestamp AT TIME ZONE 'UTC', %s)"
FIRST_DAY: Final = datetime(1, 1, 1, tzinfo=UTC)


class Maintenance:
    """
    The thread.

    Args:
        settings: How long things are kept.
        credentials: Who we are.
    """

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._consumer = settings.consumer
        self._session = Session(settings, credentials, "heartbeat-maintenance", LIMITS)
        self._log = structlog.get_logger()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; what is under way is rolled back with the session if it takes longer than a second."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1)
        if not self._thread.is_alive():
            self._session.close()

    def _run(self) -> None:
        storage_due = 0.0
        while not self._stop.wait(ROLLUP_EVERY_S):
            try:
                while self.refresh_rollups() and not self._stop.is_set():
                    pass
                if time.monotonic() >= storage_due:
                    self.tend_storage(datetime.now(UTC))
                    storage_due = time.monotonic() + STORAGE_EVERY_S
            except (OutageError, ConfigError) as error:  # the loop that stores meets it, too, and tells people
                self._log.debug("maintenance put off", reason=error.message)

    def refresh_rollups(self) -> int:
        """Sum up minutes whose heartbeats changed; how many, 0 when there are none left or another consumer does it."""
        return self._session.run("refresh the rollups", lambda conn: _number(conn, REFRESH))

    def tend_storage(self, now: datetime) -> None:
        """
        Make the partitions of coming days, and drop what is past its time.

        Args:
            now: By which days are old; the partitions of the coming days are always those of the database's clock.
        Raises:
            OutageError, ConfigError: The database does not answer, or a lock was not to be had; what was done stays.
        """
        keep = self._consumer
        oldest = now - timedelta(days=keep.retention_days) if keep.retention_days else FIRST_DAY
        newest = now + timedelta(days=DAYS_AHEAD)
        for day, todo in self._session.run(
            "look for days to make or drop",
            lambda conn: conn.execute(DAYS_DUE, (oldest.date(), newest.date())).fetchall(),
        ):
            if todo == "make":
                if self._one_at_a_time(f"make the partition of {day}", MAKE, day):
                    self._log.info("partition made", day=str(day))
            elif (rows := self._one_at_a_time(f"drop the partition of {day}", DROP, day)) is not None:
                self._log.info("partition dropped", day=str(day), rows=rows, retention_days=keep.retention_days)
        for what, statement, days in (
            ("old heartbeats without a partition", DROP_STRAYS, keep.retention_days),
            ("old quarantined messages", DROP_REJECTED, keep.rejected_retention_days),
            ("old rollups", DROP_ROLLUPS, keep.rollup_retention_days),
        ):
            before = (now - timedelta(days=days)).date()
            dropped = 0
            while days and (rows := self._one_at_a_time(f"drop {what}", statement, before, BITE)):
                dropped += rows
            if dropped:
                self._log.info(f"{what} dropped", rows=dropped, retention_days=days)
        if keep.rejected_max_bytes:
            self._bound_quarantine(keep.rejected_max_bytes)

    def _bound_quarantine(self, max_bytes: int) -> None:
        dropped = 0
        while rows := self._one_at_a_time("bound the quarantine", BOUND_REJECTED, max_bytes, BITE):
            dropped += rows
        if dropped:
            self._log.warning("oldest quarantined messages dropped", rows=dropped, rejected_max_bytes=max_bytes)

    def _one_at_a_time(self, tried: str, statement: str, *arguments: object) -> int | None:
        """Do one step in a transaction, unless another consumer is at it; what it returns as a number."""

        def step(connection: Connection) -> int | None:
            with connection.transaction():
                if not _number(connection, ONE_AT_A_TIME):
                    return None
                return _number(connection, statement, *arguments)

        return self._session.run(tried, step)


def _number(connection: Connection, statement: str, *arguments: object) -> int:
    row = connection.execute(statement, arguments or None).fetchone()
    return int(row[0]) if row else 0
