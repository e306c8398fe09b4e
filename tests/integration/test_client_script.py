"""db/client.sh, the schema job's entry point: passwords from files, and a hint for an old volume."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local.postgres_programs import program
from local.service import ROOT
from tests import roles
from tests.pipeline import Database
from tests.roles import Roles

pytestmark = pytest.mark.integration

PASSWORD = 'it\'s $PATH `a` \\ "b"'
APPLY = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=db/schema.sql", "--file=db/roles.sql"]


@pytest.fixture
def named(database: Database) -> Iterator[Roles]:
    with roles.made_for(database) as made:
        yield made


def run(database: Database, named: Roles, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script as the job does: all passwords but those given are missing."""
    server, programs = database.server, str(Path(program("psql")).parent)
    own = {
        "PATH": f"{programs}:{os.environ['PATH']}", "PGHOST": server.host, "PGPORT": str(server.port),
        "PGUSER": server.superuser, "PGDATABASE": database.name, "POSTGRESQL_DATABASE": database.name,
        "POSTGRESQL_CONSUMER_USERNAME": named.consumer, "GRAFANA_POSTGRESQL_USERNAME": named.reader,
        "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
    }  # fmt: skip
    return subprocess.run(
        ["/bin/sh", "db/client.sh", *arguments],
        cwd=ROOT,
        env=own | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def files(folder: Path, **passwords: str) -> dict[str, str]:
    """Write each password into a file, and give the variables that name the files."""
    for name, password in passwords.items():
        (folder / name).write_text(f"{password}\n")
    return {f"{name}_FILE": str(folder / name) for name in passwords}


def test_roles_get_the_passwords_of_the_files(database: Database, named: Roles, tmp_path: Path) -> None:
    """Whatever signs they hold: no shell reads them."""
    given = files(
        tmp_path,
        PGPASSWORD=database.server.password,
        POSTGRESQL_CONSUMER_PASSWORD=PASSWORD,
        GRAFANA_POSTGRESQL_PASSWORD=PASSWORD[::-1],
    )
    done = run(database, named, APPLY, **given)
    server = database.server

    assert (done.returncode, done.stderr) == (0, "")
    for role, password in ((named.consumer, PASSWORD), (named.reader, PASSWORD[::-1])):
        psycopg.connect(host=server.host, port=server.port, dbname=database.name, user=role, password=password).close()


def test_wrong_owner_password_names_the_old_volume(database: Database, named: Roles, tmp_path: Path) -> None:
    """PostgreSQL uses POSTGRES_PASSWORD only with an empty volume."""
    done = run(database, named, APPLY, **files(tmp_path, PGPASSWORD="hunter2"))

    assert done.returncode == 2
    assert "password authentication failed" in done.stderr
    assert "HINT: A PostgreSQL volume keeps the owner, password and database of its first start." in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("content", ["", None], ids=["empty", "missing"])
def test_file_without_a_password_is_refused(
    database: Database, named: Roles, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "hunter2"
    if content is not None:
        path.write_text(content)
    done = run(database, named, APPLY, PGPASSWORD="x", GRAFANA_POSTGRESQL_PASSWORD_FILE=str(path))

    assert done.returncode == 2
    assert "GRAFANA_POSTGRESQL_PASSWORD_FILE" in done.stderr
    assert "hunter2" not in done.stderr


def test_two_sources_are_refused(database: Database, named: Roles) -> None:
    done = run(database, named, APPLY, PGPASSWORD="hunter2", PGPASSWORD_FILE="/nowhere")

    assert done.returncode == 2
    assert "both PGPASSWORD and PGPASSWORD_FILE" in done.stderr
    assert "hunter2" not in done.stderr
