"""Applying db/schema.sql again: rows, rollups and settings stay, and running consumers go on."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg.sql import SQL, Identifier

from local.schema import apply_schema
from local.waiting import wait_until
from tests.pipeline import Database

pytestmark = pytest.mark.integration

TABLES = (
    "heartbeats", "rejected_heartbeats", "kafka_topics", "kafka_ledger", "heartbeats_touched", "heartbeats_per_minute",
    "heartbeats_per_customer", "heartbeats_fleet", "heartbeats_horizon", "heartbeats_outdated", "retention_floor",
)  # fmt: skip
FILL = """
INSERT INTO heartbeats (customer_id, "timestamp", heart_rate)
SELECT 'CUST-' || n, now() - n * interval '7 min', 50 + n FROM generate_series(0, 30) AS n
UNION ALL VALUES ('CUST-1', timestamptz '0001-01-01Z', 70), ('CUST-1', '9999-12-31 23:59:59Z', 70)
"""
NOTE = """
INSERT INTO heartbeats_touched
SELECT DISTINCT date_trunc('minute', "timestamp"), now() - interval '1 h' FROM heartbeats
"""

UNNUMBERED = "DELETE FROM heartbeat_migrations WHERE number <= 7"  # the migrations that take up any earlier form

# The first statements of a version that knew heartbeats_per_minute only.
OLDER_REFRESH = """
CREATE OR REPLACE FUNCTION refresh_rollups(most integer DEFAULT 10) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('heartbeat rollups', 0)) THEN
        RETURN 0;
    END IF;
    DELETE FROM heartbeats_touched;
    DELETE FROM heartbeats_per_minute WHERE minute = (SELECT max(minute) FROM heartbeats_per_minute);
    RETURN 1;
END
$$
"""


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.connect() as connection:
        return {
            table: sorted(connection.execute(SQL("SELECT {0}::text FROM {0}").format(Identifier(table))).fetchall())
            for table in TABLES
        }


@pytest.mark.parametrize("missing", [None, "heartbeats_per_customer"])
def test_running_the_schema_again_upgrades_a_filled_database(database: Database, missing: str | None) -> None:
    """What is there stays as it is; a rollup that an older version lacked is made of those that it had."""
    database.query(FILL)
    database.query(NOTE)
    database.query("SELECT refresh_rollups(20)")
    database.query(NOTE)
    database.query("SELECT make_heartbeats_partition((now() AT TIME ZONE 'UTC')::date - 2)")
    database.query("SELECT drop_day('heartbeats', (now() AT TIME ZONE 'UTC')::date - 2)")
    database.query("UPDATE retention_floor SET retention_days = 5")
    before = contents(database)
    if missing:
        database.query(f"DROP TABLE {missing} CASCADE")
        database.query(UNNUMBERED)

    for _ in range(2):
        apply_schema(database.server, database.name)
        assert contents(database) == before
    assert all(before[table] for table in ("heartbeats", *TABLES[4:]))


def test_an_older_refresh_rests_while_the_tables_that_it_lacks_are_filled(database: Database) -> None:
    """It would sum minutes up in one rollup and not in the other; one that is under way is waited for."""
    database.query(FILL)
    database.query(NOTE)
    database.query("SELECT refresh_rollups(20)")
    database.query("DROP TABLE heartbeats_per_customer CASCADE")
    database.query(UNNUMBERED)
    database.query(OLDER_REFRESH)
    with ThreadPoolExecutor(1) as pool, database.connect() as older:
        with older.transaction():
            older.execute("SELECT refresh_rollups()")
            upgrade = pool.submit(apply_schema, database.server, database.name)
            wait_until(lambda: database.query("SELECT pid FROM pg_locks WHERE NOT granted"), what="the upgrade waits")
            rested = database.query("SELECT refresh_rollups()")
        upgrade.result()

    assert rested == [(None,)]
    assert database.query("SELECT sum(readings) FROM heartbeats_per_customer WHERE width_s = 600") == database.query(
        "SELECT sum(readings) FROM heartbeats_per_minute"
    )
    assert database.query("SELECT refresh_rollups()") != [(None,)]
