"""Databases that older versions made, their schema as it stood then: `psql -f db/schema.sql` makes them as new ones."""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from local.errors import LocalServerError
from local.postgres import PostgresServer
from local.postgres_programs import program
from local.schema import apply_schema
from local.service import ROOT
from local.waiting import wait_until
from tests.catalog import catalog
from tests.conftest import StartService
from tests.pipeline import Database, Topic

pytestmark = pytest.mark.integration

OLD_SCHEMAS = sorted((ROOT / "tests" / "schemas").glob("*.sql"))  # of the first version, and of the last ledger
MIGRATIONS = sorted(path.name for path in (ROOT / "db" / "migrations").glob("[0-9]*.sql"))
FILLED = ("heartbeats", "rejected_heartbeats", "kafka_topics", "kafka_ledger")
COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum"
COPY_OUT, COPY_IN = SQL("COPY (SELECT {1} FROM {0}) TO STDOUT"), SQL("COPY {} ({}) FROM STDIN")
OLD_ROLLUPS = """
DO $$
BEGIN
    IF to_regclass('heartbeats_touched') IS NOT NULL THEN
        INSERT INTO heartbeats_touched
        SELECT DISTINCT date_trunc('minute', "timestamp"), now() - interval '1 h' FROM heartbeats;
        PERFORM refresh_rollups(1000);
    END IF;
END
$$
"""
Empty = Callable[[], Database]


@pytest.fixture
def empty(postgres_server: PostgresServer) -> Iterator[Empty]:
    """Databases without any table."""
    made: list[Database] = []

    def make() -> Database:
        made.append(Database(postgres_server, f"test_{uuid.uuid4().hex[:12]}"))
        with psycopg.connect(postgres_server.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {made[-1].name}".encode())
        return made[-1]

    yield make
    for database in made:
        database.drop()


def of_version(schema: Path, empty: Empty) -> Database:
    database = empty()
    with database.connect() as connection:
        connection.execute(schema.read_bytes())
    return database


def copy_rows(source: Database, target: Database) -> None:
    """Store in an older database what it has columns for."""
    with source.connect() as reading, target.connect() as writing:
        for table in FILLED:
            columns = SQL(", ").join(Identifier(name) for (name,) in writing.execute(COLUMNS, (table,)))
            out, into = (copy.format(Identifier(table), columns) for copy in (COPY_OUT, COPY_IN))
            with reading.cursor().copy(out) as rows, writing.cursor().copy(into) as stored:
                for row in rows:
                    stored.write(row)
        writing.execute(OLD_ROLLUPS)


@pytest.mark.parametrize("schema", OLD_SCHEMAS, ids=lambda path: path.stem)
def test_older_database_with_rows_becomes_as_a_new_one_and_goes_on(
    schema: Path, empty: Empty, start: StartService, topic: Topic, database: Database
) -> None:
    """Nothing is lost, all catalogs are equal, and the proof from the ledger holds before and after new messages."""
    topic.create()
    topic.send([(b"k", b"broken")] * 5)
    sent = topic.send_heartbeats(300)
    consumer = start("consumer")
    wait_until(lambda: database.count() == len(sent) and len(database.rejected()) == 5)
    assert consumer.stop() == 0
    old = of_version(schema, empty)
    where = {"POSTGRESQL_DATABASE": old.name}
    copy_rows(database, old)
    old.query("UPDATE rejected_heartbeats SET reason = 'refused_by_postgresql: P0001 no: ' || \"offset\"")

    for _ in range(2):
        apply_schema(old.server, old.name)
        assert catalog(old) ^ catalog(database) == set()
        assert start("consumer", "verify", "--full", **where).wait() == 0

    assert old.query("SELECT DISTINCT reason, detail = 'P0001 no: ' || \"offset\" FROM rejected_heartbeats") == [
        ("refused_by_postgresql", True)
    ]
    sent += topic.send_heartbeats(100, seed=8)
    consumer = start("consumer", **where)
    wait_until(lambda: old.count() == len(sent))
    assert consumer.stop() == 0
    assert old.lost_and_surplus(sent) == ([], [])
    assert len(old.rejected()) == 5
    assert start("consumer", "verify", "--full", **where).wait() == 0


@pytest.mark.parametrize("schema", [None, *OLD_SCHEMAS], ids=lambda path: path.stem if path else "new")
def test_several_sessions_apply_the_schema_at_once(schema: Path | None, empty: Empty, database: Database) -> None:
    """Each migration happens once: a container that starts twice must not fail, nor do anything twice."""
    one = of_version(schema, empty) if schema else empty()
    with ThreadPoolExecutor(4) as pool:
        for applied in [pool.submit(apply_schema, one.server, one.name) for _ in range(4)]:
            applied.result()

    assert catalog(one) ^ catalog(database) == set()


def test_migration_and_its_event_are_one_transaction(empty: Empty, database: Database) -> None:
    """Those before the table of events leave none, and neither does a new database nor a second run."""
    events = "SELECT kind, source, detail FROM pipeline_events ORDER BY detail"
    old = of_version(OLD_SCHEMAS[-1], empty)
    for _ in range(2):
        apply_schema(old.server, old.name)

    assert old.query(events) == [("schema_upgraded", "database", name) for name in MIGRATIONS if name >= "0014"]
    assert database.query(events) == []


def test_new_database_has_had_all_migrations(database: Database) -> None:
    """They are numbered without a gap: the list in schema.sql names every file of the folder."""
    assert database.query("SELECT number, name FROM heartbeat_migrations ORDER BY number") == [
        (int(name[:4]), name) for name in MIGRATIONS
    ]
    assert [int(name[:4]) for name in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_older_files_refuse_a_newer_database(database: Database) -> None:
    """They would put older functions over tables that these do not know."""
    database.query("INSERT INTO heartbeat_migrations VALUES (9999, '9999-of-tomorrow.sql')")
    database.query("DROP FUNCTION note_heartbeats")

    with pytest.raises(LocalServerError, match=r"the database is newer .* it has had 9999-of-tomorrow\.sql") as raised:
        apply_schema(database.server, database.name)
    assert "Nothing was changed." in raised.value.hint
    assert database.query("SELECT to_regproc('note_heartbeats')") == [(None,)]


def test_schema_from_stdin_fails_instead_of_doing_nothing(empty: Empty, tmp_path: Path) -> None:
    """The included files are looked for in the current folder; without them psql went on, and ended with 0."""
    command = [str(program("psql")), "--no-psqlrc", "--quiet", (database := empty()).server.conninfo(database.name)]
    with (ROOT / "db" / "schema.sql").open("rb") as schema:
        done = subprocess.run(command, stdin=schema, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (3, "session.sql: No such file or directory\n")


def test_migration_that_fails_names_itself_and_leaves_nothing(empty: Empty, database: Database) -> None:
    """The next run goes on with it, once the cause is gone."""
    old = of_version(OLD_SCHEMAS[0], empty)
    old.query("CREATE VIEW retention_floor AS SELECT 5 AS retention_days")

    with pytest.raises(LocalServerError, match=r"cannot apply 0005-retention-floor\.sql"):
        apply_schema(old.server, old.name)
    assert old.query("SELECT number FROM heartbeat_migrations ORDER BY number") == [(1,), (2,), (3,), (4,)]
    assert old.query("SELECT to_regclass('heartbeats_horizon')") == [(None,)]

    old.query("DROP VIEW retention_floor")
    apply_schema(old.server, old.name)
    assert catalog(old) ^ catalog(database) == set()


@pytest.mark.parametrize("last", ["CREATE SEQUENCE", "CREATE TABLE IF NOT EXISTS kafka_topics"])
@pytest.mark.parametrize("schema", OLD_SCHEMAS, ids=lambda path: path.stem)
def test_older_schema_that_was_interrupted_is_named(schema: Path, last: str, empty: Empty, database: Database) -> None:
    """The reason was a missing relation, the hint another owner; older files create one object after the other."""
    text = schema.read_text()
    applied, old = text[: text.index(";", text.index(last)) + 1], empty()
    with old.connect() as connection:
        connection.execute(applied.encode())

    with pytest.raises(LocalServerError, match=r"only a part of the tables: .*, but not .*kafka_ledger") as raised:
        apply_schema(old.server, old.name)
    assert "apply that version's file to its end" in raised.value.hint
    assert old.query("SELECT number FROM heartbeat_migrations") == []

    with old.connect() as connection:
        connection.execute(text.encode())
    apply_schema(old.server, old.name)
    assert catalog(old) ^ catalog(database) == set()


def test_killed_psql_is_named(empty: Empty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has said nothing, so the reason was empty, and the hint about something else."""
    dying = tmp_path / "psql"
    dying.write_text("#!/bin/sh\nkill -9 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr("local.schema.program", lambda _: dying)

    with pytest.raises(LocalServerError, match=r"cannot apply schema\.sql: psql was killed by signal 9\n") as raised:
        apply_schema((database := empty()).server, database.name)
    assert "Run it again" in raised.value.hint


def test_upgrade_that_was_killed_goes_on_where_it_stopped(empty: Empty, database: Database) -> None:
    old = of_version(OLD_SCHEMAS[-1], empty)
    with ThreadPoolExecutor(1) as pool, old.connect() as storing:
        with storing.transaction():
            storing.execute("INSERT INTO heartbeats_touched VALUES (now(), now())")
            upgrade = pool.submit(apply_schema, old.server, old.name)
            kill = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"
            wait_until(lambda: old.query(kill), what="the upgrade waits")
            with pytest.raises(LocalServerError, match=r"0002-await-older-rollups\.sql"):
                upgrade.result()
        assert old.query("SELECT number FROM heartbeat_migrations") == [(1,)]
    apply_schema(old.server, old.name)

    assert catalog(old) ^ catalog(database) == set()
