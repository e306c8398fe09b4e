"""
Maintains the tables: partitions of the coming days, retention; for heartbeats also rollups and alarms.

It runs in its own thread and session, in every consumer. The database lets one session at a time maintain them, and
its clock decides what is old. A step waits at most 0.2 s for a lock that blocks writers, and retries later.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Final

import structlog
from psycopg import Connection
from psycopg import errors as pg

from common.errors import ConfigError, OutageError
from common.settings import Credentials, Settings
from contracts.load import contract_of
from store import alarms
from store.clocks import Clocks
from store.events import WRITE_EVERY_S, Events, write_events
from store.lag import NOTE_EVERY_S, Lag, note_log_ends
from store.session import Session
from store.steps import LONGEST_S, LOOK_EVERY_S, Done, Step, run_due

ROLLUP_EVERY_S: Final = 5.0
STORAGE_EVERY_S: Final = 60.0
DAYS_AHEAD: Final = 7  # partitions are created early: a week without a consumer does no harm
# A session that waits for a table's lock blocks later ones. Counting an old day's rows may take long.
LIMITS: Final = {"lock_timeout": "200ms", "statement_timeout": "10min"}
ROWS_AT_ONCE: Final = 10_000  # rows dropped in one transaction

DATABASE_TIME: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"
FLOOR: Final = """
SELECT coalesce(max(retention_days), 1), coalesce(max(rejected_retention_days), 1),
       coalesce(max(rollup_retention_days), 1)
FROM retention_floor
"""
LOWER_FLOOR: Final = "To drop data sooner, the owner of the tables runs: UPDATE retention_floor SET {} = {};"
# Each returns how much was done, and NULL while another session does maintenance.
REFRESH: Final = "SELECT refresh_rollups()"
DAYS_TO_MAKE: Final = "SELECT day FROM days_to_make(%s, %s::integer, %s) AS day"
MAKE: Final = "SELECT CASE WHEN maintenance_turn() THEN make_day(%s, %s::date) END"
DAYS_TO_DROP: Final = "SELECT day FROM days_to_drop(%s, %s) AS day"
DROP: Final = "SELECT drop_day(%s, %s::date)"
DROP_STRAYS: Final = "SELECT drop_strays(%s, %s, %s)"
DROP_REJECTED: Final = "SELECT drop_rejected(%s, %s)"
DROP_ROLLUPS: Final = "SELECT drop_rollups(%s, %s)"
DROP_EVENTS: Final = "SELECT drop_events(%s, %s)"
BOUND_EVENTS: Final = "SELECT drop_events(NULL, %s)"
BOUND_REJECTED: Final = "SELECT bound_rejected(%s, %s)"


class Maintenance:
    """
    Runs the steps in a thread.

    Args:
        settings: The retention.
        credentials: The login.
        lag: What this process knows of the lag; it is written to the database.
        events: Events of the pipeline, which are written to the database.
        clocks: Compares this machine's clock with the database's.
    """

    def __init__(
        self, settings: Settings, credentials: Credentials, lag: Lag, events: Events, clocks: Clocks | None = None
    ) -> None:
        consumer = settings.consumer
        self._clocks = clocks or Clocks()
        self._asked_days = {
            "retention_days": consumer.retention_days,
            "rejected_retention_days": consumer.rejected_retention_days,
            "rollup_retention_days": consumer.rollup_retention_days,
        }  # 0: for ever
        self._keep_days = dict(self._asked_days)  # not less than the database's floor
        self._events = events
        self._open_session = partial(Session, settings, credentials, "heartbeat-maintenance", LIMITS)
        self._session = self._open_session()
        self._log = structlog.get_logger()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name="maintenance", daemon=True)
        self._connection = Step("connection", ROLLUP_EVERY_S, self._connect)
        every, old = STORAGE_EVERY_S, self.drop_rows
        contract = contract_of(settings.event)
        self._table = contract.table
        of_heartbeats = [
            Step("rollups", ROLLUP_EVERY_S, self.refresh_rollups),
            Step("alarms", alarms.EVERY_S, partial(alarms.look, self._session, consumer, self._stop)),
            Step("old_rollups", every, partial(old, "rollups", DROP_ROLLUPS, "rollup_retention_days")),
        ]
        self.steps = [
            Step("clock", every, self._compare_clocks),
            Step("floor", every, self._read_floor),
            Step("log_ends", NOTE_EVERY_S, partial(note_log_ends, self._session, lag)),
            Step("events", WRITE_EVERY_S, partial(write_events, self._session, events)),
            Step("coming_days", every, self.make_days),
            *(of_heartbeats if contract.maintained else []),
            Step("old_days", every, self.drop_days),
            Step("old_strays", every, partial(old, "strays", DROP_STRAYS, "retention_days", self._table)),
            Step("old_quarantine", every, partial(old, "quarantine", DROP_REJECTED, "rejected_retention_days")),
            Step("old_events", every, partial(old, "events", DROP_EVENTS, "rollup_retention_days")),
            Step("events_bound", every, lambda: self._repeat("bound the events", BOUND_EVENTS, ROWS_AT_ONCE)[1]),
            Step("quarantine_bytes", every, partial(self.bound_quarantine, consumer.rejected_max_bytes)),
        ]

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop within about two seconds; a longer step is rolled back with its session."""
        self._stop.set()
        # By a session of its own: the other one may be in a long step.
        last = threading.Thread(target=self._write_last_events, name="events", daemon=True)
        last.start()
        for thread in (self._thread, last):
            if thread.is_alive():
                thread.join(1)
        if not self._thread.is_alive():
            self._session.close()

    def run_due(self) -> None:
        """Run the steps that are due. No step waits for long, and none stops another."""
        run_due(self._connection, self.steps, self._stop, partial(self._events.add, "maintenance_failed"))

    def refresh_rollups(self) -> Done:
        """Sum up minutes whose heartbeats changed."""
        return self._repeat("refresh the rollups", REFRESH)[1]

    def make_days(self) -> Done:
        """Create the partitions of the coming days, and of days with rows in the default partition."""
        keep = self._keep_days["retention_days"] or None
        for day in self._days("look for days to make", DAYS_TO_MAKE, self._table, keep, DAYS_AHEAD):
            made = self._number(f"make the partition of {day}", MAKE, self._table, day)
            if made is None:
                return Done.NOT_OURS
            if made:
                self._log.info("partition made", table=self._table, day=day)
        return Done.ALL

    def drop_days(self) -> Done:
        """
        Drop the partitions of old days.

        Raises:
            OutageError: A day is in use (later days were tried), or the lock that every day needs was busy.
        """
        keep, in_use = self._keep_days["retention_days"], None
        if not keep:
            return Done.ALL
        self._clocks.check()
        for day in self._days("look for days to drop", DAYS_TO_DROP, self._table, keep):
            try:
                rows = self._number(f"drop the partition of {day}", DROP, self._table, day)
            except OutageError as error:
                if not isinstance(error.__cause__, pg.ObjectInUse):
                    raise
                in_use = in_use or error
                continue
            if rows is None:
                return Done.NOT_OURS
            self._log.info("partition dropped", table=self._table, day=day, rows=rows, retention_days=keep)
        if in_use:
            raise in_use
        return Done.ALL

    def drop_rows(self, what: str, statement: str, setting: str, *table: str) -> Done:
        """Drop old rows with a function of the schema: of the table, the days to keep, the rows to drop at once."""
        if not (keep := self._keep_days[setting]):
            return Done.ALL
        self._clocks.check()
        rows, done = self._repeat(f"drop old {what}", statement, *table, keep, ROWS_AT_ONCE)
        if rows:
            self._log.info("old rows dropped", kind=what, rows=rows, **{setting: keep})
        return done

    def bound_quarantine(self, max_bytes: int) -> Done:
        """Drop the oldest quarantined messages beyond so many bytes; 0: there is no limit."""
        if not max_bytes:
            return Done.ALL
        rows, done = self._repeat("bound the quarantine", BOUND_REJECTED, max_bytes, ROWS_AT_ONCE)
        if rows:
            self._log.warning("oldest quarantined messages dropped", rows=rows, rejected_max_bytes=max_bytes)
        return done

    def _write_last_events(self) -> None:
        session = self._open_session()
        with suppress(OutageError, ConfigError):  # at a service's end, its last line counts what was not written
            write_events(session, self._events)
        session.close()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self.run_due()

    def _connect(self) -> Done:
        self._row("reach the tables for maintenance", "SELECT 1")
        return Done.ALL

    def _compare_clocks(self) -> Done:
        self._clocks.compare(lambda: float(self._row("ask for the time", DATABASE_TIME)[0]))
        return Done.ALL

    def _read_floor(self) -> Done:
        """Apply the database's retention floor, and log the settings that it overrides."""
        floors = dict(zip(self._asked_days, self._row("read the retention floor", FLOOR), strict=True))
        keep = {name: asked and max(asked, floors[name]) for name, asked in self._asked_days.items()}
        for name, asked in self._asked_days.items():
            if keep[name] not in (asked, self._keep_days[name]):
                self._log.warning(
                    "retention is longer than its setting",
                    setting=f"consumer.{name}",
                    days=asked,
                    kept_days=keep[name],
                    hint=LOWER_FLOOR.format(name, asked),
                )
        self._keep_days = keep
        return Done.ALL

    def _repeat(self, tried: str, statement: str, *arguments: object) -> tuple[int, Done]:
        """Repeat a statement until it does nothing more, in bounded time; return the sum of what it did."""
        until, total = time.monotonic() + LONGEST_S, 0
        while did := self._number(tried, statement, *arguments):
            total += did
            if self._stop.is_set() or time.monotonic() >= until:
                return total, Done.PART
        return total, Done.NOT_OURS if did is None else Done.ALL

    def _number(self, tried: str, statement: str, *arguments: object) -> int | None:
        found = self._row(tried, statement, *arguments)[0]
        return None if found is None else int(found)

    def _days(self, tried: str, statement: str, *arguments: object) -> list[str]:
        return [str(day) for (day,) in self._session.run(tried, _fetch(statement, arguments))]

    def _row(self, tried: str, statement: str, *arguments: object) -> tuple[Any, ...]:
        rows = self._session.run(tried, _fetch(statement, arguments))
        return rows[0] if rows else (None,)


def _fetch(statement: str, arguments: tuple[object, ...]) -> Callable[[Connection], list[tuple[Any, ...]]]:
    return lambda connection: connection.execute(statement, arguments or None).fetchall()
