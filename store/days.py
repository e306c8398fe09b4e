"""
Creates the partitions for a batch's days before its rows are copied.

Rows of a day without a partition go into the default partition, or into that of all old days. This is half as fast,
and creating the day's partition later moves its rows under a lock.
"""

import time
from collections.abc import Iterable
from typing import Final

from psycopg import Connection
from psycopg import errors as pg

from store.postgres_errors import REFUSALS

MINUTES_A_DAY: Final = 1440
DAYS_BACK, DAYS_AHEAD = 60, 7  # as in make_day() of db/partitions.sql
ASK_EVERY_S: Final = 60.0  # what day it is, and which partitions there are
LONGEST_S: Final = 0.7  # for one batch's days, so that no partition pauses for a second; later batches make the others
LEAST_S: Final = 0.05  # a day takes 10 to 50 ms on a busy machine; with less time left, it is not started
PUT_OFF_S: Final = 0.5  # after a lock timeout; meanwhile rows go to the default partition

ASK: Final = """
SELECT (now() AT TIME ZONE 'UTC')::date - date '1970-01-01',
       ARRAY(SELECT to_date(substring(relname FROM '[0-9]{8}$'), 'YYYYMMDD') - date '1970-01-01'
             FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
             WHERE inhparent = to_regclass(table_name) AND relname ~ format('^%%s_[0-9]{8}$', table_name)),
       (SELECT coalesce(max(retention_days), 1) FROM retention_floor)
FROM daily_tables WHERE table_name = %s
"""
# Writers to the default partition queue behind this lock request, so each attempt is short.
LIMITS: Final = "SELECT set_config('lock_timeout', '200ms', true), set_config('statement_timeout', %s, true)"
MAKE: Final = "SELECT make_day(%s, date '1970-01-01' + %s)"


class Days:
    """
    The days' partitions as one connection knows them. Days are counted since 1970, in UTC, by the database's clock.

    Args:
        table: The table; no day is created if it is not partitioned by day.
        retention_days: Of its rows, at least the database's floor. Older days get no partition, because maintenance
            would drop it. 0: for ever.
    """

    def __init__(self, table: str, retention_days: int) -> None:
        self._table = table
        self._retention_days = retention_days
        self._wanted = range(0)  # days that get a partition
        self._settled: set[int] = set()  # days that have a partition, or cannot get one now
        self._connection: Connection | None = None  # a new one follows a failure: ask again
        self._ask_at = self._try_at = 0.0
        self._is_held = False  # a lock was busy until the time was over: now one attempt at a time
        self.first_kept_minute: int | None = None  # the next maintenance drops older rows

    def prepare(self, connection: Connection, minutes: Iterable[int]) -> None:
        """
        Create the missing partitions of a batch's days, in bounded time, each in its own transaction.

        Args:
            connection: Outside of a transaction.
            minutes: The minutes of the batch's rows, since 1970.
        Raises:
            psycopg.Error: The database failed. A lock timeout is no failure: a later call retries.
        """
        now = time.monotonic()
        if connection is not self._connection or now >= self._ask_at:
            self._ask(connection)
            self._connection, self._ask_at, self._try_at = connection, now + ASK_EVERY_S, now
        days = {minute // MINUTES_A_DAY for minute in minutes} - self._settled
        missing = sorted(day for day in days if day in self._wanted)
        if missing and now >= self._try_at:
            self._make_all(connection, missing)

    def _make_all(self, connection: Connection, missing: list[int]) -> None:
        """Create days, the newest first, until all exist or the time is over. Retry after a lock timeout."""
        until, made = time.monotonic() + LONGEST_S, True
        while missing and (left_s := until - time.monotonic()) > LEAST_S and (made or not self._is_held):
            made = self._make(connection, missing[-1], left_s)
            if made:
                missing.pop()
        self._is_held = not made
        if self._is_held:
            self._try_at = time.monotonic() + PUT_OFF_S

    def _ask(self, connection: Connection) -> None:
        self._wanted, self._settled, self.first_kept_minute = range(0), set(), None
        if (row := connection.execute(ASK, (self._table,)).fetchone()) is None:
            return
        today, existing, floor_days = row
        kept_days = self._retention_days and max(self._retention_days, floor_days)
        self._wanted = range(today - min(kept_days or DAYS_BACK, DAYS_BACK), today + DAYS_AHEAD + 1)
        self._settled = set(existing)
        if kept_days:
            self.first_kept_minute = (today - kept_days) * MINUTES_A_DAY

    def _make(self, connection: Connection, day: int, within_s: float) -> bool:
        """Create a day's partition unless that is impossible; return False to retry."""
        try:
            with connection.transaction():
                connection.execute(LIMITS, (f"{within_s * 1000:.0f}ms",))
                connection.execute(MAKE, (self._table, day))
        except (pg.LockNotAvailable, pg.DeadlockDetected):
            return False
        except pg.QueryCanceled:
            if within_s < LONGEST_S - LEAST_S:
                return False
            # Otherwise there are too many rows to move or to read.
        except REFUSALS:
            pass  # the table does not allow it; maintenance tries it, too, and says why
        self._settled.add(day)
        return True
