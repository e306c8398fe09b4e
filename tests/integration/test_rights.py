"""What db/schema.sql and db/roles.sql give to whom, and what they leave to others."""

import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.sql import SQL, Identifier, Literal
from pydantic import SecretStr

from common.settings import Credentials
from demo.database import prepare
from local.errors import LocalServerError
from local.postgres import PostgresServer
from local.schema import apply_schema
from tests import roles as applied
from tests.pipeline import Database
from tests.roles import PASSWORD, Roles, client, environment, made_for

pytestmark = pytest.mark.integration

# Everything a schema holds by its own: partitions of days come and go.
OBJECTS = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
    AND NOT relispartition
UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


@pytest.fixture
def roles(database: Database) -> Iterator[Roles]:
    with made_for(database) as made:
        yield made


def test_schema_alone_gives_public_nothing(database: Database) -> None:
    """If roles.sql is forgotten after schema.sql, no function that runs with the owner's rights is open to all."""
    unsafe = database.query(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        " AND (has_function_privilege('public', oid, 'EXECUTE') OR 'search_path=public, pg_temp' <> ALL (proconfig))"
    )

    assert unsafe == []


def test_list_of_objects_is_complete(database: Database) -> None:
    """roles.sql touches what this list names and nothing else, so it has to name everything."""
    assert {name for (name,) in database.query(OBJECTS)} == set(
        database.query("SELECT heartbeat_objects()::text[]")[0][0]
    )


def test_search_path_does_not_depend_on_who_applies_the_schema(database: Database) -> None:
    """A schema named as the owner came first in the functions' path, if there was none when they were created."""
    client("psql", database, "-q", "-f", "db/schema.sql", PGOPTIONS="-c search_path=nowhere,pg_temp,public")
    paths = database.query(
        "SELECT DISTINCT setting FROM pg_proc, unnest(proconfig) AS setting"
        " WHERE pronamespace = 'public'::regnamespace AND setting ~ '^search_path'"
    )

    assert paths == [("search_path=public, pg_temp",)]


def test_pipeline_takes_a_schema_of_its_own_in_a_shared_database(database: Database) -> None:
    """Its functions look there and not in public, and its roles find the tables without being told."""
    database.query('CREATE SCHEMA "Heart beats"; CREATE TABLE of_others (x integer)')
    path = {"PGOPTIONS": '-c search_path="Heart\\ beats"'}
    roles = Roles(database, f"stores_{uuid.uuid4().hex[:12]}", f"looks_{uuid.uuid4().hex[:12]}")
    names = environment(roles.consumer, roles.reader, PASSWORD)
    for _ in range(2):
        client("psql", database, "-q", "-f", "db/schema.sql", "-f", "db/roles.sql", **names, **path)
    with roles.connect(roles.consumer) as consumer:
        made = consumer.execute("SELECT days_to_make('heartbeats', 7, 9)").fetchall()
        consumer.execute("INSERT INTO heartbeats VALUES (-1, 'x', now(), 70)")
    with roles.connect(roles.reader) as reader:
        seen = reader.execute("SELECT customer_id FROM heartbeats").fetchall()
    for role in (roles.consumer, roles.reader):
        database.query(SQL("DROP OWNED BY {}").format(Identifier(role)).as_string())
        database.query(SQL("DROP ROLE {}").format(Identifier(role)).as_string())

    assert (len(made), seen) == (2, [("x",)])
    assert database.count() == 0


def test_schema_refuses_an_unsafe_function(database: Database) -> None:
    """The check at its end names a function that a later version forgets to close."""
    database.query("CREATE FUNCTION fleet_width() RETURNS void LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC END")
    for statement in (
        "SELECT",
        "REVOKE EXECUTE ON FUNCTION fleet_width() FROM PUBLIC",
        "ALTER FUNCTION fleet_width() SET search_path = pg_temp, public",
    ):
        database.query(statement)
        with pytest.raises(LocalServerError, match=r"fleet_width\(\)"):
            apply_schema(database.server, database.name)


@pytest.mark.parametrize(
    ("grant", "named"),
    [
        ("GRANT CREATE ON SCHEMA public TO {reader}", None),  # taken back
        ("GRANT ALL ON ALL TABLES IN SCHEMA public TO {reader}", None),
        ("GRANT UPDATE (heart_rate) ON heartbeats TO {reader}, PUBLIC", None),
        ("GRANT EXECUTE ON FUNCTION bound_rejected TO {reader}", None),
        ("GRANT {consumer} TO {reader}", "write to heartbeats"),
        ("ALTER ROLE {reader} NOINHERIT; GRANT {consumer} TO {reader}", "call bound_rejected"),
        ("GRANT pg_write_all_data TO {reader}", "write to heartbeats"),
        ("ALTER ROLE {reader} CREATEROLE", "take on the role"),
        ("ALTER ROLE {reader} SUPERUSER", "take on the role"),
    ],
)
def test_roles_end_with_a_check_of_what_the_reader_can_write(roles: Roles, grant: str, named: str | None) -> None:
    """What roles.sql cannot take back itself, it names."""
    names = {"reader": Identifier(roles.reader), "consumer": Identifier(roles.consumer)}
    for statement in grant.split("; "):
        roles.database.query(SQL(statement).format(**names).as_string())
    if named is None:
        applied.apply(roles, roles.database, "roles.sql")
        return
    with pytest.raises(subprocess.CalledProcessError) as failed:
        applied.apply(roles, roles.database, "roles.sql")

    assert f"the reader {roles.reader} can still" in failed.value.stderr
    assert named in failed.value.stderr
    assert "HINT" in failed.value.stderr


def test_shared_database_keeps_what_others_have_there(database: Database) -> None:
    """Another application lives in the same schema by what PUBLIC may; the reader does not see its tables."""
    database.query("CREATE TABLE of_others (x integer); CREATE FUNCTION their_own() RETURNS integer RETURN 1")
    database.query("GRANT SELECT, INSERT ON of_others TO PUBLIC")
    other = f"other_{uuid.uuid4().hex[:12]}"
    database.query(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(Identifier(other), Literal(PASSWORD)).as_string())
    with made_for(database) as roles:
        with roles.connect(other) as theirs:
            theirs.execute("CREATE TEMPORARY TABLE x AS SELECT their_own(), lo_create(0), pg_try_advisory_lock(1)")
            theirs.execute("INSERT INTO public.of_others VALUES (1)")
            for table in ("heartbeats", "kafka_ledger"):
                with pytest.raises(pg.InsufficientPrivilege):
                    theirs.execute(SQL("SELECT FROM {}").format(Identifier(table)))
        database.query("REVOKE ALL ON of_others FROM PUBLIC")
        applied.apply(roles, database, "roles.sql")
        with roles.connect(roles.reader) as reader, pytest.raises(pg.InsufficientPrivilege):
            reader.execute("SELECT FROM of_others")
    database.query(SQL("DROP OWNED BY {}").format(Identifier(other)).as_string())
    database.query(SQL("DROP ROLE {}").format(Identifier(other)).as_string())


def test_owner_who_is_no_superuser_makes_the_roles(postgres_server: PostgresServer) -> None:
    """The demo's owner, or a managed server's; what only a superuser can take from the reader is named."""
    suffix = uuid.uuid4().hex[:12]
    owner, stores, looks = f"owner_{suffix}", f"stores_{suffix}", f"looks_{suffix}"
    demo = Database(postgres_server, f"demo_{suffix}")
    prepare(
        postgres_server,
        Credentials.model_construct(username=owner, password=SecretStr(PASSWORD), database=demo.name),
    )
    names = environment(stores, looks, PASSWORD)
    told = [
        client("psql", demo, "-q", "-f", "db/roles.sql", **names, PGUSER=owner, PGPASSWORD=PASSWORD).stderr
        for _ in range(2)
    ]
    with Roles(demo, stores, looks).connect(looks) as reader:
        reader.execute("SELECT FROM patient_heartbeats")
    demo.drop()
    for role in (stores, looks, owner):
        with psycopg.connect(postgres_server.conninfo(), autocommit=True) as connection:
            connection.execute(SQL("DROP ROLE {}").format(Identifier(role)))

    for warnings in told:
        assert f"the temporary files of the reader {looks} are not bounded" in warnings
        assert f"the reader {looks} can make temporary tables or large objects, or take advisory locks" in warnings


def test_schema_and_roles_are_applied_by_several_sessions_at_once(database: Database, roles: Roles) -> None:
    """They take turns; without that, one of them fails now and then."""
    database.query("DROP TABLE schema_turn")
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(applied.apply, roles, database, "schema.sql", "roles.sql") for _ in range(4)]
        for one in done:
            one.result()
