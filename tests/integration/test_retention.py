"""
What deletes: by the database's clock alone, and never what is younger than the owner's floor.

More than 250 lines: one list of statements that a stolen role may try.
"""

import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from psycopg import errors as pg
from structlog.testing import capture_logs

from store.clocks import Clocks
from store.steps import Done
from tests.pipeline import Database
from tests.roles import PASSWORD, Roles, made_for
from tests.store import open_maintenance

pytestmark = pytest.mark.integration

DAY_S = 86_400.0
# A heartbeat, a quarantined message and rollups of each of the last days: today, yesterday, and so on. The first day's
# heartbeat and the second to last lie in the default partition.
FILL = """
SELECT make_heartbeats_partition((now() AT TIME ZONE 'UTC')::date - 2);
INSERT INTO heartbeats (id, customer_id, "timestamp", heart_rate)
SELECT kafka_place_id(1, 0, n), 'CUST-' || n, now() - n * interval '1 day', 70 FROM generate_series(0, 9) AS n;
INSERT INTO rejected_heartbeats
SELECT kafka_place_id(1, 1, n), 'heartbeats', 1, n, NULL, 'x', 1, 'not_json', now() - n * interval '1 day', now()
FROM generate_series(0, 9) AS n;
INSERT INTO pipeline_events (kind, source, noted_at)
SELECT 'outage', 'consumer x', now() - n * interval '1 day' FROM generate_series(0, 9) AS n;
INSERT INTO kafka_topics VALUES (1, 'id', 'heartbeats');
INSERT INTO kafka_ledger VALUES (1, 0, 0, 10, 10, 0), (1, 1, 0, 10, 0, 10);
SELECT note_heartbeats('-infinity', 'infinity');
UPDATE heartbeats_touched SET noted_at = noted_at - interval '1 h';
SELECT refresh_rollups(100);
"""
DAYS = """
SELECT array_agg(DISTINCT (now() AT TIME ZONE 'UTC')::date - (at AT TIME ZONE 'UTC')::date) FROM (
    SELECT {column} FROM {table}) AS kept (at)
"""
KEPT = {
    "heartbeats": DAYS.format(table="heartbeats", column='"timestamp"'),
    "quarantine": DAYS.format(table="rejected_heartbeats", column="rejected_at"),
    "minutes": DAYS.format(table="heartbeats_per_minute", column="minute"),
    "fleet": DAYS.format(table="heartbeats_fleet", column="bucket"),
    "customers": DAYS.format(table="heartbeats_per_customer", column="bucket"),
    "events": DAYS.format(table="pipeline_events", column="noted_at"),
}
TODAY = "(now() AT TIME ZONE 'UTC')::date"


@pytest.fixture
def roles(database: Database) -> Iterator[Roles]:
    with database.connect() as owner:
        owner.execute(FILL)
    with made_for(database) as made:
        yield made


def kept(database: Database) -> dict[str, list[int]]:
    """By kind, how many days old what is left is."""
    return {kind: database.query(statement)[0][0] for kind, statement in KEPT.items()}


WHOLE = {kind: [*range(10)] for kind in KEPT}
FLOOR = {kind: [0, 1] for kind in KEPT}

REFUSED = [
    "SELECT drop_strays('heartbeats', 0)", "SELECT drop_strays('heartbeats', -1)",
    "SELECT drop_strays('heartbeats', NULL)", "SELECT drop_strays('heartbeats', 2147483647)",
    "SELECT drop_strays('heartbeats', 36501)", "SELECT drop_strays('heartbeats', now() + interval '30 days', 100)",
    "SELECT drop_rejected(0)", "SELECT drop_rejected(-36500)", "SELECT drop_rejected(NULL)", "SELECT drop_rollups(0)",
    "SELECT drop_rollups(NULL, NULL)", "SELECT drop_rollups(1, -1)", "SELECT drop_rejected(now())",
    "SELECT drop_rollups('infinity'::timestamptz)", "SELECT heartbeats_days_due('9999-01-01', '9999-01-01')",
    f"SELECT drop_day('heartbeats', {TODAY})", f"SELECT drop_day('heartbeats', {TODAY} - 1)",
    "SELECT drop_day('heartbeats', NULL)", "SELECT drop_day('heartbeats', 'infinity')",
    f"SELECT drop_day('heartbeats', (to_char({TODAY}, 'YYYY-MM-DD') || ' BC')::date)",
    "UPDATE retention_floor SET retention_days = 1", "DELETE FROM retention_floor",
    "INSERT INTO retention_floor DEFAULT VALUES", "TRUNCATE retention_floor", "DROP TABLE retention_floor",
    "CREATE OR REPLACE FUNCTION retention_limit(text, integer) RETURNS timestamptz RETURN now()",
    "CREATE TEMPORARY TABLE retention_floor AS SELECT true AS only_row, -9 AS retention_days",
    "DELETE FROM heartbeats", "DELETE FROM heartbeats_default", "TRUNCATE heartbeats", "UPDATE heartbeats SET id = 0",
    "DELETE FROM rejected_heartbeats", "TRUNCATE rejected_heartbeats", "DELETE FROM heartbeats_per_minute",
    "INSERT INTO heartbeats_horizon VALUES (true, 'infinity')", "DELETE FROM heartbeats_outdated",
    "UPDATE retention_floor SET rejected_max_bytes = 67108864",
    "SELECT release_rejected(array_agg(id), 'rejected_heartbeats') FROM rejected_heartbeats",
    "DELETE FROM pipeline_events", "UPDATE pipeline_events SET kind = 'stopped'", "TRUNCATE pipeline_events",
    "SELECT drop_events(0)",
    "INSERT INTO pipeline_events (kind, source, noted_at) VALUES ('outage', 'x', '2999-01-01')",
    "INSERT INTO rejected_heartbeats SELECT 7, 'x', 1, 7, NULL, 'x', 1, 'not_json', '2999-01-01', now()",
]  # fmt: skip
HARMLESS = [
    "SELECT release_rejected(array_agg(id)) FROM rejected_heartbeats",
    "SELECT drop_day('heartbeats', '-infinity')",
    "SELECT bound_rejected(1)",
    "INSERT INTO heartbeats_touched VALUES ('infinity', '-infinity', -1), (now(), '-infinity', -1)",
    "SELECT refresh_rollups()",
    "SELECT drop_events(NULL)",
]


def test_stolen_role_cannot_erase_recent_data(roles: Roles, subtests: pytest.Subtests) -> None:
    """An attacker who takes over the consumer has its rights, and chooses the settings of the session."""
    odd = "SET \"TimeZone\" = 'Pacific/Kiritimati'; SET \"DateStyle\" = 'SQL, DMY'; SET search_path = pg_temp, public"
    refusals = (pg.InsufficientPrivilege, pg.RaiseException, pg.UndefinedFunction, pg.DataError)
    with roles.connect(roles.consumer) as stolen:
        stolen.execute(odd)
        for statement in [*REFUSED, *HARMLESS]:
            with subtests.test(statement):
                with nullcontext() if statement in HARMLESS else pytest.raises(refusals):
                    stolen.execute(statement.encode())

                assert kept(roles.database) == WHOLE


def test_smallest_retention_keeps_today_and_yesterday(roles: Roles) -> None:
    """All that the consumer's role can drop is older than the floor, and the ledger says how much it was."""
    with roles.connect(roles.consumer) as stolen:
        day = f"drop_day('heartbeats', {TODAY} - 2)"
        old = "drop_strays('heartbeats', 1), drop_rejected(1), drop_rollups(1), drop_events(1)"
        stolen.execute(f"SELECT {old}, {day}".encode())

    assert kept(roles.database) == FLOOR
    assert roles.database.query("SELECT sum(stored_dropped), sum(rejected_dropped) FROM kafka_ledger") == [(8, 8)]


def test_a_name_does_not_make_a_day_old(roles: Roles) -> None:
    """A partition is dropped for the rows that it holds, not for what it is called."""
    today = roles.database.query(f"SELECT 'heartbeats_' || to_char({TODAY}, 'YYYYMMDD')")[0][0]
    roles.database.query(f"ALTER TABLE {today} RENAME TO heartbeats_20200101")
    with roles.connect(roles.consumer) as stolen, pytest.raises(pg.RaiseException, match="does not hold"):
        stolen.execute("SELECT drop_day('heartbeats', '2020-01-01')")

    assert kept(roles.database) == WHOLE


@pytest.mark.parametrize("ahead_days", [30, -30])
def test_consumer_whose_clock_is_wrong_drops_nothing(roles: Roles, ahead_days: int) -> None:
    """One of two consumers is 30 days ahead: the database's clock decides, and the difference is a warning."""
    wrong = Clocks(lambda: time.time() + ahead_days * DAY_S)
    maintenance = open_maintenance(roles.database, role=(roles.consumer, PASSWORD), clocks=wrong)
    with capture_logs() as logs:
        maintenance.run_due()
    maintenance.stop()
    told = [log for log in logs if log["event"] == "clock differs from the database's"]

    assert [round(log["ahead_s"] / DAY_S) for log in told] == [ahead_days]
    assert told[0]["log_level"] == "warning"
    assert kept(roles.database) == WHOLE


def test_consumer_drops_by_the_databases_clock_in_its_role(roles: Roles) -> None:
    """The rights of db/roles.sql are enough for all maintenance, and what is due is done."""
    maintenance = open_maintenance(
        roles.database,
        role=(roles.consumer, PASSWORD),
        retention_days=3,
        rejected_retention_days=5,
        rollup_retention_days=4,
    )
    with capture_logs() as logs:
        maintenance.run_due()
    maintenance.stop()

    assert [log for log in logs if log["log_level"] == "warning"] == []
    assert kept(roles.database) == {
        "heartbeats": [*range(4)], "quarantine": [*range(6)],
        "minutes": [*range(5)], "fleet": [*range(5)], "customers": [*range(5)], "events": [*range(5)],
    }  # fmt: skip


def test_floor_goes_over_a_shorter_retention_and_says_so_once(roles: Roles) -> None:
    """A person who set fewer days reads why more are kept, and which statement changes that."""
    roles.database.query("UPDATE retention_floor SET retention_days = 5, rejected_retention_days = 30")
    maintenance = open_maintenance(roles.database, role=(roles.consumer, PASSWORD), retention_days=2)
    with capture_logs() as logs:
        for _ in range(2):
            maintenance.run_due()
            for step in maintenance.steps:
                step.due = 0.0
    told = [log for log in logs if log["log_level"] == "warning"]

    assert [(log["event"], log["setting"]) for log in told] == [
        ("retention is longer than its setting", "consumer.retention_days")
    ]
    assert "UPDATE retention_floor SET retention_days = 2;" in told[0]["hint"]
    assert kept(roles.database)["heartbeats"] == [*range(6)]
    roles.database.query("UPDATE retention_floor SET retention_days = 2")
    maintenance.run_due()
    maintenance.stop()
    assert kept(roles.database)["heartbeats"] == [*range(3)]


def test_replay_releases_only_what_is_stored(roles: Roles) -> None:
    """A message leaves the quarantine once its heartbeat is in the table, and never otherwise."""
    with roles.connect(roles.consumer) as consumer:
        consumer.execute(
            "INSERT INTO heartbeats VALUES (kafka_place_id(1, 1, 3), 'CUST-1', now(), 70)",
        )
        released = consumer.execute("SELECT release_rejected(array_agg(id)) FROM rejected_heartbeats").fetchone()

    assert released == (1,)
    assert kept(roles.database)["quarantine"] == [0, 1, 2, *range(4, 10)]


def test_a_reader_cannot_hold_up_maintenance(roles: Roles) -> None:
    """Grafana passes on whatever a person types, also a transaction that stays open."""
    maintenance = open_maintenance(roles.database, role=(roles.consumer, PASSWORD), rollup_retention_days=2)
    with roles.connect(roles.reader) as reader:
        reader.execute("SET default_transaction_read_only = off")
        for mode in ("EXCLUSIVE", "ROW EXCLUSIVE", "SHARE"):
            with pytest.raises(pg.InsufficientPrivilege), reader.transaction():
                reader.execute(f"LOCK TABLE maintenance_turn IN {mode} MODE".encode())
        with pytest.raises(pg.InsufficientPrivilege):
            reader.execute("SELECT maintenance_turn()")
        with reader.transaction():
            reader.execute("SELECT FROM maintenance_turn, retention_floor, heartbeats_horizon, heartbeats_outdated")
            reader.execute("LOCK TABLE maintenance_turn IN ACCESS SHARE MODE")

            assert maintenance.refresh_rollups() is Done.ALL
            maintenance.run_due()
    maintenance.stop()

    assert kept(roles.database)["minutes"] == [0, 1, 2]


def test_one_session_at_a_time_maintains(roles: Roles) -> None:
    """A second one does nothing, and says so; it waits for nothing."""
    maintenance = open_maintenance(roles.database, role=(roles.consumer, PASSWORD), retention_days=2)
    with roles.connect(roles.consumer) as other, other.transaction():
        assert other.execute("SELECT maintenance_turn()").fetchone() == (True,)
        assert maintenance.refresh_rollups() is Done.NOT_OURS
        maintenance.run_due()
        assert kept(roles.database) == WHOLE
    for step in maintenance.steps:
        step.due = 0.0
    maintenance.run_due()
    maintenance.stop()

    assert kept(roles.database)["heartbeats"] == [0, 1, 2]


def test_a_person_can_lower_the_floor_to_a_day_at_least(roles: Roles) -> None:
    """Today and yesterday stay, whatever is set."""
    with pytest.raises(pg.CheckViolation):
        roles.database.query("UPDATE retention_floor SET retention_days = 0")
    roles.database.query("TRUNCATE retention_floor")
    maintenance = open_maintenance(
        roles.database,
        role=(roles.consumer, PASSWORD),
        retention_days=1,
        rejected_retention_days=1,
        rollup_retention_days=1,
    )
    maintenance.run_due()
    maintenance.stop()

    assert kept(roles.database) == FLOOR
