"""Maintenance on a real server: what one step meets there keeps no other from its work."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from common.errors import OutageError
from local.waiting import wait_until
from store.maintenance import Maintenance
from tests.pipeline import Database
from tests.store import open_maintenance

pytestmark = pytest.mark.integration

TODAY = "(now() AT TIME ZONE 'UTC')::date"
AGE = "UPDATE heartbeats_touched SET noted_at = noted_at - interval '1 h'"
NOTED = "SELECT count(*) FROM noted_minutes('-infinity', 'infinity')"
COMING = "SELECT to_regclass('heartbeats_' || to_char((now() AT TIME ZONE 'UTC')::date + 7, 'YYYYMMDD')) IS NOT NULL"
OLD = """
SELECT make_heartbeats_partition((now() AT TIME ZONE 'UTC')::date - ago) FROM generate_series(9, 11) AS ago;
INSERT INTO heartbeats (customer_id, "timestamp", heart_rate)
SELECT 'CUST-1', now() - ago * interval '1 day', 70 FROM generate_series(9, 11) AS ago;
"""
DAYS_LEFT = """
SELECT array_agg(ago ORDER BY ago) FROM generate_series(9, 11) AS ago
WHERE to_regclass('heartbeats_' || to_char((now() AT TIME ZONE 'UTC')::date - ago, 'YYYYMMDD')) IS NOT NULL
"""


@pytest.fixture
def maintenance(database: Database) -> Iterator[Maintenance]:
    """Without its thread: each step is called here."""
    made = open_maintenance(database, retention_days=7)
    yield made
    made.stop()


@pytest.fixture
def forgotten(database: Database) -> Iterator[psycopg.Connection]:
    """A transaction that somebody left open in a terminal."""
    with database.connect() as connection:
        connection.execute("BEGIN")
        yield connection


def again(maintenance: Maintenance) -> list[dict[str, Any]]:
    """Run every step, due or not; what was logged."""
    for step in maintenance.steps:
        step.due = 0.0
    with capture_logs() as logs:
        maintenance.run_due()
    return [dict(log) for log in logs]


def failed(logs: list[dict[str, Any]]) -> list[str]:
    return [log["step"] for log in logs if log["event"] == "maintenance failed"]


def make_days_scarce(database: Database) -> None:
    database.query(OLD)
    database.query(f"DO $$ BEGIN EXECUTE 'DROP TABLE heartbeats_' || to_char({TODAY} + 7, 'YYYYMMDD'); END $$")


@pytest.mark.parametrize("table", ["heartbeats", "heartbeats_of_the_day"])
def test_forgotten_transaction_on_an_old_day_keeps_no_coming_day_from_being_made(
    database: Database, maintenance: Maintenance, forgotten: psycopg.Connection, table: str
) -> None:
    """Without coming days, a week later all rows go to one table, and moving them holds up everything."""
    make_days_scarce(database)
    middle = database.query(f"SELECT 'heartbeats_' || to_char({TODAY} - 10, 'YYYYMMDD'), ({TODAY} - 10)::timestamp")[0]
    if table == "heartbeats":
        forgotten.execute(f"SELECT FROM heartbeats WHERE \"timestamp\" = '{middle[1]}Z'".encode())
    else:
        forgotten.execute(f"SELECT FROM {middle[0]}".encode())

    logs = again(maintenance)
    assert failed(logs) == ["old_days"]
    assert database.query(COMING) == [(True,)]
    assert 10 in database.query(DAYS_LEFT)[0][0]
    assert failed(again(maintenance)) == []  # told once

    forgotten.execute("ROLLBACK")
    logs = again(maintenance)
    assert [log["step"] for log in logs if log["event"] == "maintenance recovered"] == ["old_days"]
    assert database.query(DAYS_LEFT) == [(None,)]


def test_day_in_use_costs_no_count_and_holds_up_no_other_day(
    database: Database, maintenance: Maintenance, forgotten: psycopg.Connection
) -> None:
    """The days beside it are dropped; its own rows are not read, minute after minute, for a drop that cannot follow."""
    make_days_scarce(database)
    name = database.query(f"SELECT 'heartbeats_' || to_char({TODAY} - 10, 'YYYYMMDD')")[0][0]
    forgotten.execute(f"LOCK TABLE {name} IN ACCESS SHARE MODE".encode())
    scans = "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = %s"
    before = database.query(scans, name)
    for _ in range(3):
        with pytest.raises(OutageError, match="a transaction uses it"):
            maintenance.drop_days()
    maintenance.stop()  # the server counts a session's scans when it ends, at the latest

    wait_until(
        lambda: database.query("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%maint%'") == [(0,)]
    )
    assert database.query(scans, name) == before
    assert database.query(DAYS_LEFT) == [([10],)]


def test_refresh_that_fails_for_ever_keeps_no_old_day_from_being_dropped(
    database: Database, maintenance: Maintenance
) -> None:
    """A full disk of rows is worse than rollups that are late."""
    make_days_scarce(database)
    database.query("ALTER TABLE heartbeats_per_minute ADD CONSTRAINT broken CHECK (false)")
    database.query("SELECT note_heartbeats(now() - interval '9 days', now())")
    database.query("INSERT INTO heartbeats VALUES (DEFAULT, 'CUST-1', now(), 70)")
    database.query("SELECT note_heartbeats(now() - interval '1 min', now() + interval '1 min')")
    database.query(AGE)

    logs = again(maintenance)
    assert failed(logs) == ["rollups"]
    assert database.query(DAYS_LEFT) == [(None,)]
    assert failed(again(maintenance)) == []
    assert database.query(NOTED) == [(1,)]

    database.query("ALTER TABLE heartbeats_per_minute DROP CONSTRAINT broken")
    again(maintenance)
    assert database.query(NOTED) == [(0,)]


def test_lost_session_is_one_failure(database: Database, maintenance: Maintenance) -> None:
    """Each step meets the lost connection, and one warning tells of it."""
    again(maintenance)
    database.query(
        "SELECT pg_terminate_backend(pid, 9000) FROM pg_stat_activity WHERE application_name = 'heartbeat-maintenance'"
    )

    assert failed(again(maintenance)) == ["connection"]
    maintenance.steps[0].due = 0.0
    wait_until(lambda: any(log["event"] == "maintenance recovered" for log in again(maintenance)))
