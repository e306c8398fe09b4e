"""db/roles.sql sends no password, since PostgreSQL logs statements."""

import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from local.postgres import PostgresServer
from local.schema import apply_schema
from tests.pipeline import Database
from tests.roles import client, environment

pytestmark = pytest.mark.integration

PASSWORDS = [
    "it's \"pa$word\" \\ `x` :'y' ${z} %s",
    "Grüße, 東京",
    "x" * 300,
    "SCRAM-SHA-256$4096:not a$verifier:",
    "md5" + "0" * 32,
]


@pytest.fixture(scope="module")
def logging_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A server that logs each statement."""
    settings = {
        "fsync": "off",
        "log_statement": "all",
        "log_min_duration_statement": "0",
        "log_parameter_max_length": "-1",
    }
    with PostgresServer(tmp_path_factory.mktemp("postgres"), settings=settings) as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE logged")
        apply_schema(server, "logged")
        yield Database(server, "logged")


def log_of(database: Database) -> str:
    return (database.server.data_dir / "postgres.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("password", PASSWORDS)
def test_passwords_are_not_sent_and_let_their_roles_in(logging_server: Database, password: str) -> None:
    """PostgreSQL logs the statements, and knows from the SCRAM verifier whether a password is right."""
    client("psql", logging_server, "-q", "-f", "db/roles.sql", **environment("stores", "looks", password))
    server = logging_server.server
    for role in ("stores", "looks"):
        psycopg.connect(host=server.host, port=server.port, dbname="logged", user=role, password=password).close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(host=server.host, port=server.port, dbname="logged", user=role, password=password + "x")
    log = log_of(logging_server)

    assert 'ALTER ROLE "looks" LOGIN PASSWORD \'SCRAM-SHA-256$4096:' in log
    assert password not in log.replace("''", "'").replace(
        "SCRAM-SHA-256$4096:not a$verifier:", "", password.count("md5")
    )


def test_statement_that_fails_shows_no_password(logging_server: Database) -> None:
    """An owner who did not make the role may not change its password: the statement fails, and is logged."""
    password = "never to be seen"
    logging_server.query("CREATE ROLE weak_owner LOGIN CREATEROLE PASSWORD 'x'")
    logging_server.query("CREATE ROLE old_stores; CREATE ROLE old_looks; GRANT pg_read_all_data TO weak_owner")
    logging_server.query("ALTER DATABASE logged OWNER TO weak_owner")
    for (statement,) in logging_server.query(
        "SELECT format('ALTER TABLE %s OWNER TO weak_owner', oid::regclass) FROM pg_class"
        " WHERE relname = ANY (heartbeat_objects()) AND relkind IN ('r', 'p') UNION ALL"
        " SELECT format('ALTER FUNCTION %s OWNER TO weak_owner', oid::regprocedure) FROM pg_proc"
        " WHERE proname = ANY (heartbeat_objects())"
    ):
        logging_server.query(statement)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        client(
            "psql", logging_server, "-q", "-f", "db/roles.sql",
            **environment("old_stores", "old_looks", password), PGUSER="weak_owner", PGPASSWORD="x",
        )  # fmt: skip

    assert "permission denied to alter role" in failed.value.stderr
    assert 'STATEMENT:  ALTER ROLE "old_stores" LOGIN PASSWORD \'SCRAM-SHA-256$' in log_of(logging_server)
    assert password not in failed.value.stderr + failed.value.stdout + log_of(logging_server)


@pytest.mark.parametrize("password", ["", "ﬁne", "e\u0301", "a\u00adb", "a\u200bb"])
def test_password_that_clients_would_rewrite_is_refused(logging_server: Database, password: str) -> None:
    """SASLprep makes another password of these, and of those of no password an open door."""
    with pytest.raises(subprocess.CalledProcessError) as failed:
        client("psql", logging_server, "-q", "-f", "db/roles.sql", **environment("stores", "looks", password))

    assert "cannot compute the passwords' SCRAM verifiers" in failed.value.stderr
    assert "POSTGRESQL_CONSUMER_PASSWORD" in failed.value.stderr
