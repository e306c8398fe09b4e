"""What a person who can send SQL as Grafana's role can do to the pipeline."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.sql import SQL, Identifier
from structlog.testing import capture_logs

from tests import roles as applied
from tests.conftest import StartService
from tests.pipeline import Database
from tests.roles import PASSWORD, Roles, made_for
from tests.store import open_maintenance

pytestmark = pytest.mark.integration

TODAY = "(now() AT TIME ZONE 'UTC')::date"


@pytest.fixture
def roles(database: Database) -> Iterator[Roles]:
    with made_for(database) as made:
        yield made


@pytest.fixture
def reader(roles: Roles) -> Iterator[psycopg.Connection]:
    """A session of a person who has switched off all that the role sets."""
    with roles.connect(roles.reader) as connection:
        for setting in ("default_transaction_read_only", "statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(SQL("SET {} = 0").format(Identifier(setting)))
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE x (x integer)",
        "CREATE TEMPORARY TABLE x (x integer)",
        "SELECT lo_create(0)",
        "SELECT lo_creat(-1)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_import('/etc/hostname')",
        "SELECT pg_advisory_lock(n) FROM generate_series(1, 1000000) AS n",
        "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
        "SELECT pg_logical_emit_message(false, 'x', 'x')",
        "SET temp_file_limit = -1",
        "ALTER ROLE CURRENT_USER SET temp_file_limit = -1",
        "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
        "LOCK TABLE heartbeats IN ROW SHARE MODE",
        "LOCK TABLE schema_turn IN SHARE MODE",
        "LOCK TABLE rejected_turn IN ROW EXCLUSIVE MODE",
        "SELECT rejected_turn()",
        "SELECT note_heartbeats('-infinity', 'infinity')",
        "SELECT nextval('heartbeats_by_hand_id')",
        "SELECT FROM heartbeats FOR KEY SHARE",
        "INSERT INTO heartbeats_touched VALUES (now())",
    ],
)
def test_reader_cannot_write_or_lock(reader: psycopg.Connection, statement: str) -> None:
    """None of these depends on a setting that a person can change."""
    with pytest.raises(pg.InsufficientPrivilege), reader.transaction():
        reader.execute(statement.encode())


def test_reader_cannot_fill_the_disk_by_sorting(reader: psycopg.Connection) -> None:
    """256 MB for each of twenty connections."""
    with pytest.raises(pg.ConfigurationLimitExceeded):
        reader.execute("SELECT repeat('x', 1000), n FROM generate_series(1, 1000000) AS n ORDER BY 1, 2 DESC")


def test_reader_cannot_keep_settings_that_it_gave_itself(roles: Roles, reader: psycopg.Connection) -> None:
    """A role may change its own settings for good; running roles.sql again, as each `up` does, takes them back."""
    database = SQL("IN DATABASE {}").format(Identifier(roles.database.name))
    for where in (SQL(""), database):
        for setting in ("statement_timeout", "work_mem"):
            reader.execute(SQL("ALTER ROLE CURRENT_USER {} SET {} = '1000000'").format(where, Identifier(setting)))
    applied.apply(roles, roles.database, "roles.sql")

    with roles.connect(roles.reader) as again:
        assert again.execute("SHOW statement_timeout").fetchone() == ("10s",)
        assert again.execute("SHOW work_mem").fetchone() == ("4MB",)


def test_an_open_transaction_of_the_reader_stops_no_upgrade_and_no_replay(
    roles: Roles, reader: psycopg.Connection, start: StartService
) -> None:
    """It holds ACCESS SHARE on everything that it may read, and tomorrow has no partition yet."""
    tomorrow = roles.database.query(f"SELECT 'heartbeats_' || to_char({TODAY} + 1, 'YYYYMMDD')")[0][0]
    roles.database.query(SQL("DROP TABLE {}").format(Identifier(tomorrow)).as_string())
    tables = roles.database.query("SELECT oid::regclass::text FROM pg_class WHERE relname = ANY (heartbeat_objects())")
    names = [name for (name,) in tables if name not in {"heartbeats_by_hand_id", "forgotten"}]  # it may not read these
    # As in a database that is shared, or whose owner is no superuser.
    lock = SQL("GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO {}").format(Identifier(roles.reader))
    roles.database.query(lock.as_string())
    if reader.info.server_version >= 170_000:
        reader.execute("SET transaction_timeout = 0")  # as any role may, for itself
    with reader.transaction():
        for name in ("schema", "rollups", "replay", "maintenance"):
            reader.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"heartbeat {name}"])
        for name in names:
            reader.execute(SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(Identifier(name)))

        applied.apply(roles, roles.database, "schema.sql", "roles.sql")
        assert start("consumer", "replay", **roles.as_consumer).wait() == 0
    applied.apply(roles, roles.database, "schema.sql")

    assert roles.database.query("SELECT to_regclass(%s)::text", tomorrow) == [(tomorrow,)]


def test_reader_that_locks_heartbeats_delays_old_and_coming_days_and_nothing_else(
    roles: Roles, reader: psycopg.Connection
) -> None:
    """Rows are stored, the other steps of maintenance run, and the days follow when the lock is gone."""
    owner = roles.database
    owner.query(f"SELECT make_heartbeats_partition({TODAY} - 3)")
    owner.query(
        "INSERT INTO rejected_heartbeats VALUES (1, 'x', 0, 1, NULL, NULL, 0, 'x', now() - '9 d'::interval, now())"
    )
    far = owner.query(f"SELECT 'heartbeats_' || to_char({TODAY} + 7, 'YYYYMMDD')")[0][0]
    owner.query(SQL("DROP TABLE {}").format(Identifier(far)).as_string())
    maintenance = open_maintenance(owner, role=(roles.consumer, PASSWORD), retention_days=2, rejected_retention_days=2)
    with capture_logs() as logs, reader.transaction():
        reader.execute("LOCK TABLE heartbeats IN ACCESS SHARE MODE")
        with roles.connect(roles.consumer) as consumer:
            consumer.execute(
                "INSERT INTO heartbeats SELECT n, 'a', now() + n * interval '1 day', 70 FROM generate_series(0, 7) AS n"
            )
        maintenance.run_due()

        assert owner.query("SELECT count(*) FROM heartbeats") == [(8,)]
        assert owner.query("SELECT count(*) FROM rejected_heartbeats") == [(0,)]
        assert {log["step"] for log in logs if log["log_level"] == "warning"} == {"coming_days", "old_days"}
    for step in maintenance.steps:
        step.due = 0.0
    maintenance.run_due()
    maintenance.stop()

    assert owner.query("SELECT count(*) FROM heartbeats") == [(8,)]
    assert owner.query(
        "SELECT to_regclass(%s) IS NOT NULL, (SELECT count(*) FROM days_to_drop('heartbeats', 2))", far
    ) == [(True, 0)]
