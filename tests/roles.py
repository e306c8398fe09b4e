"""The roles of db/roles.sql on a test's database, under names of their own: roles belong to the whole server."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Identifier

from local.postgres_programs import program
from local.service import ROOT
from tests.pipeline import Database

PASSWORD = "of the tests"


@dataclass
class Roles:
    """Names of the consumer's and the reader's role, and the database where they have their rights."""

    database: Database
    consumer: str
    reader: str

    @property
    def as_consumer(self) -> dict[str, str]:
        """Return the environment of a consumer with the rights that it has in compose."""
        return {"POSTGRESQL_USERNAME": self.consumer, "POSTGRESQL_PASSWORD": PASSWORD}

    def connect(self, role: str) -> psycopg.Connection:
        """Connect as one of them."""
        server = self.database.server
        return psycopg.connect(
            host=server.host, port=server.port, dbname=self.database.name, user=role, password=PASSWORD, autocommit=True
        )


def client(name: str, database: Database, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's own client programs as the superuser."""
    server = database.server
    address = {
        "PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.superuser, "PGPASSWORD": server.password,
        "PGDATABASE": database.name, "POSTGRESQL_DATABASE": database.name,
    }  # fmt: skip
    return subprocess.run(
        [str(program(name)), *arguments],
        env={**os.environ, **address, **environment},
        cwd=ROOT,
        check=True,
        text=True,
        capture_output=True,
    )


def environment(consumer: str, reader: str, password: str) -> dict[str, str]:
    """Return the variables that db/roles.sql reads, with one password for both roles."""
    return {
        "POSTGRESQL_CONSUMER_USERNAME": consumer, "POSTGRESQL_CONSUMER_PASSWORD": password,
        "GRAFANA_POSTGRESQL_USERNAME": reader, "GRAFANA_POSTGRESQL_PASSWORD": password,
    }  # fmt: skip


def apply(roles: Roles, database: Database, *files: str) -> None:
    """Run files of `db/` by psql, as docs/production.md says."""
    names = environment(roles.consumer, roles.reader, PASSWORD)
    arguments = [part for file in files for part in ("-f", f"db/{file}")]
    client("psql", database, "-q", "-v", "ON_ERROR_STOP=1", *arguments, **names)


@contextmanager
def made_for(database: Database) -> Iterator[Roles]:
    """Make the roles, and remove them with all their rights."""
    suffix = uuid.uuid4().hex[:12]
    roles = Roles(database, f"consumer_{suffix}", f"reader_{suffix}")
    apply(roles, database, "roles.sql")
    try:
        yield roles
    finally:
        for name in (roles.consumer, roles.reader):
            database.query(SQL("DROP OWNED BY {} CASCADE").format(Identifier(name)).as_string())
            database.query(SQL("DROP ROLE {}").format(Identifier(name)).as_string())
