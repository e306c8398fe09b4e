"""An upgrade is running db/schema.sql again, on whatever a database holds."""

import pytest
from psycopg.sql import SQL, Identifier

from tests.pipeline import ROOT, Database

pytestmark = pytest.mark.integration

SCHEMA = (ROOT / "db" / "schema.sql").read_bytes()
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


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.connect() as connection:
        return {
            table: sorted(connection.execute(SQL("SELECT {0}::text FROM {0}").format(Identifier(table))).fetchall())
            for table in TABLES
        }


@pytest.mark.parametrize("missing", [None, "heartbeats_per_customer"])
def test_running_the_schema_again_upgrades_a_filled_database(database: Database, missing: str | None) -> None:
    """What is there stays as it is; a rollup that an older version lacks is made of those that it has."""
    database.query(FILL)
    database.query(NOTE)
    database.query("SELECT refresh_rollups(20)")
    database.query(NOTE)
    database.query("SELECT make_heartbeats_partition((now() AT TIME ZONE 'UTC')::date - 2)")
    database.query("SELECT drop_heartbeats_day((now() AT TIME ZONE 'UTC')::date - 2)")
    database.query("UPDATE retention_floor SET retention_days = 5")
    before = contents(database)
    if missing:
        database.query(f"DROP TABLE {missing} CASCADE")

    for _ in range(2):
        with database.connect() as connection:
            connection.execute(SCHEMA)

        assert contents(database) == before
    assert all(before[table] for table in ("heartbeats", *TABLES[4:]))


def test_a_database_from_before_the_rollups_gets_them(database: Database) -> None:
    """Its heartbeats stay as they are."""
    database.query(FILL)
    database.query(f"DROP TABLE {', '.join(TABLES[4:])} CASCADE")
    with database.connect() as connection:
        connection.execute(SCHEMA)

    assert [(table, len(rows)) for table, rows in contents(database).items() if rows] == [
        ("heartbeats", 33),
        ("retention_floor", 1),
    ]
