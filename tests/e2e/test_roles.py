"""The owner, the consumer and Grafana each have a role with the rights they need, and no others."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.sql import SQL, Identifier

from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CONSUMER, READER = "POSTGRESQL_CONSUMER", "GRAFANA_POSTGRESQL"
TABLES = ("heartbeats", "rejected_heartbeats", "kafka_topics", "kafka_ledger", "patient_heartbeats")


@pytest.fixture
def connection(stack: Stack, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A transaction of the role named by the test, taken back at the end."""
    with stack.connect(request.param) as connection, connection.transaction(force_rollback=True):
        yield connection


@pytest.mark.parametrize("connection", [CONSUMER], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM heartbeats, rejected_heartbeats, kafka_topics, kafka_ledger LIMIT 1",
        "INSERT INTO heartbeats (id, customer_id, \"timestamp\", heart_rate) VALUES (-1, 'X', '2000-01-01Z', 60)",
        """INSERT INTO rejected_heartbeats (id, topic, partition, "offset", payload_length, reason, appended_at)
           VALUES (-1, 'x', 0, 0, 0, 'x', now())""",
        "SELECT release_rejected('{-1}')",
        "SELECT maintenance_turn(), refresh_rollups()",
        "SELECT drop_strays('heartbeats', 7), drop_day('heartbeats', '2000-01-01'), drop_rejected(30)",
        "SELECT drop_rollups(90)",
        "SELECT days_to_make('heartbeats', 7, 7), days_to_drop('heartbeats', 7) FROM retention_floor",
        "LOCK TABLE kafka_topics IN SHARE ROW EXCLUSIVE MODE",
        "INSERT INTO kafka_topics (generation, topic_id, topic) VALUES (127, 'x', 'x')",
        "UPDATE kafka_ledger SET updated_at = now()",
        "SELECT make_heartbeats_partition('2000-01-01')",
        "SELECT bound_rejected(1)",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND false",
    ],
)
def test_consumer_may_do_its_work(connection: psycopg.Connection, statement: str) -> None:
    """A right that it lacks would be found out in the night."""
    connection.execute(statement.encode())


@pytest.mark.parametrize("connection", [CONSUMER], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE heartbeats SET heart_rate = 60",
        "DELETE FROM heartbeats",
        "TRUNCATE heartbeats",
        "DELETE FROM heartbeats_default",
        "DROP TABLE heartbeats",
        "ALTER TABLE heartbeats ADD COLUMN x integer",
        "SELECT nextval('heartbeats_by_hand_id')",
        "UPDATE rejected_heartbeats SET reason = 'x'",
        "DELETE FROM rejected_heartbeats",
        "UPDATE retention_floor SET retention_days = 1",
        "TRUNCATE rejected_heartbeats",
        "DELETE FROM kafka_ledger",
        "TRUNCATE kafka_ledger",
        "DELETE FROM kafka_topics",
        "SELECT attach_partition('heartbeats', 'x', '2000-01-01Z', '2000-01-02Z')",
        "CREATE TABLE x (x integer)",
        "CREATE TEMPORARY TABLE x (x integer)",
        "CREATE SCHEMA x",
        "CREATE ROLE x",
        "COPY heartbeats TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_consumer_may_do_no_more(connection: psycopg.Connection, statement: str) -> None:
    """An attacker who takes over the consumer can add rows, but not delete any."""
    with pytest.raises(pg.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_consumer_service_runs_in_its_role(stack: Stack) -> None:
    """Rights are worth nothing when the service has the owner's password."""
    names = stack.query("SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = 'heartbeat-consumer'")

    assert names == [("heartbeat_consumer",)]
    for service in ("producer", "consumer"):
        assert "owner's" not in stack.run_in(service, "python", "-c", "import os; print(os.environ)")


@pytest.mark.parametrize("connection", [READER], indirect=True)
@pytest.mark.parametrize("table", TABLES)
def test_reader_may_look_at_everything(connection: psycopg.Connection, table: str) -> None:
    """A dashboard may show whatever there is, days to come included: rights on the parent hold for its partitions."""
    connection.execute(SQL("SELECT * FROM {} LIMIT 1").format(Identifier(table)))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO heartbeats (customer_id, \"timestamp\", heart_rate) VALUES ('X', now(), 60)",
        "DELETE FROM heartbeats",
        "UPDATE kafka_ledger SET updated_at = now()",
        "DROP TABLE heartbeats",
        "SELECT make_heartbeats_partition('2000-01-01')",
        "SELECT maintenance_turn()",
        "SELECT drop_rejected(1)",
        "SELECT note_heartbeats('-infinity', 'infinity')",
        "CREATE TABLE x (x integer)",
        "CREATE TEMPORARY TABLE x (x integer)",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'heartbeat_consumer'",
    ],
)
def test_reader_cannot_change_anything(stack: Stack, statement: str) -> None:
    """Grafana passes on what a person types, and its read-only default is one that a person can switch off."""
    with stack.connect(READER) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(pg.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_reader_is_bounded(stack: Stack) -> None:
    """A dashboard left open over a too long range must not hold up the pipeline."""
    with stack.connect(READER) as connection:
        limits = [
            connection.execute(statement).fetchone()
            for statement in (
                "SHOW statement_timeout",
                "SHOW default_transaction_read_only",
                "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user",
            )
        ]

    assert limits == [("10s",), ("on",), (20,)]


@pytest.mark.parametrize(
    "statement",
    [
        """SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)
           AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)""",
        "SELECT roleid FROM pg_auth_members WHERE member::regrole::text = ANY (%s)",
        "SELECT relname FROM pg_class WHERE relowner::regrole::text = ANY (%s)",
    ],
)
def test_roles_are_nobody_special(stack: Stack, statement: str) -> None:
    """No attribute, membership or ownership gives them more than the grants say."""
    assert stack.query(statement, ["heartbeat_consumer", "heartbeat_reader"]) == []


def test_a_role_without_grants_sees_nothing(stack: Stack) -> None:
    """Everybody who can connect is PUBLIC."""
    assert stack.query(
        "SELECT has_database_privilege('public', current_database(), 'CONNECT, TEMPORARY'),"
        " has_schema_privilege('public', 'public', 'USAGE, CREATE'),"
        " has_function_privilege('public', 'make_heartbeats_partition(date)', 'EXECUTE')"
    ) == [(False, False, False)]


def test_an_upgrade_reaches_an_existing_database(stack: Stack) -> None:
    """`up -d` again is all an upgrade takes, for a new version's tables and rights as for a changed password."""
    with stack.connect() as owner:
        owner.execute("DROP VIEW patient_heartbeats")
        owner.execute("REVOKE INSERT ON heartbeats FROM heartbeat_consumer")
        owner.execute("GRANT DELETE ON heartbeats TO heartbeat_consumer")

    stack.compose("run", "--rm", "--env", "GRAFANA_POSTGRESQL_PASSWORD=changed", "schema")
    try:
        stack.connect(READER, "changed").close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            stack.connect(READER)
    finally:
        stack.compose("run", "--rm", "schema")

    with stack.connect(READER) as reader:
        reader.execute("SELECT * FROM patient_heartbeats LIMIT 1")
    assert stack.query(
        "SELECT has_table_privilege('heartbeat_consumer', 'heartbeats', 'INSERT'),"
        " has_table_privilege('heartbeat_consumer', 'heartbeats', 'DELETE')"
    ) == [(True, False)]
    stack.wait_until_rows_flow()


def test_one_role_cannot_have_both_jobs(stack: Stack) -> None:
    """Giving the owner the reader's name would make the whole database read-only for its owner."""
    with pytest.raises(AssertionError, match="must be three different roles"):
        stack.compose("run", "--rm", "--env", "GRAFANA_POSTGRESQL_USERNAME=admin", "schema")
