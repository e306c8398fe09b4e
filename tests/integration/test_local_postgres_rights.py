"""PostgreSQL works where only root may enter, and has no right over the files of anybody else."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local.postgres import PostgresServer
from local.postgres_programs import ORDINARY_USER

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's PostgreSQL has that user's rights"),
]


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """Return a folder that only root may enter, as /root is."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def postgres(closed: Path) -> Iterator[PostgresServer]:
    """Start a server there under umask 077."""
    before = os.umask(0o077)
    try:
        with PostgresServer(closed / "checkout" / "postgres", settings={"fsync": "off"}) as server:
            yield server
    finally:
        os.umask(before)


def status(server: PostgresServer) -> dict[str, list[str]]:
    """Return what Linux says of the server's process: words by name."""
    lines = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: words.split() for name, words in (line.split(":", 1) for line in lines)}


def output_of(server: PostgresServer, command: str) -> str:
    """Return what a shell command prints when PostgreSQL runs it for a superuser."""
    with psycopg.connect(server.conninfo()) as connection:
        connection.execute("CREATE TEMP TABLE said (line text)")
        copy = psycopg.sql.SQL("COPY said FROM PROGRAM {}").format(psycopg.sql.Literal(f"({command}) 2>&1; true"))
        connection.execute(copy)
        return "\n".join(line for (line,) in connection.execute("SELECT line FROM said"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux only")
def test_postgres_has_no_capability_and_can_gain_none(postgres: PostgresServer) -> None:
    """Anybody who may run `COPY ... PROGRAM` has every right of the server's process."""
    facts = status(postgres)

    assert facts["Uid"] == [str(pwd.getpwnam(ORDINARY_USER).pw_uid)] * 4
    assert facts["Groups"] == []
    assert {name: int(facts[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapAmb"), 0
    )
    assert facts["NoNewPrivs"] == ["1"]


def test_postgres_reaches_its_own_folder_and_none_above(postgres: PostgresServer, closed: Path) -> None:
    """A secret beside the checkout is as safe from PostgreSQL as from every other user, whatever its own mode."""
    secret = closed / "checkout" / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)

    assert output_of(postgres, "cat PG_VERSION") == "18"
    assert "Permission denied" in output_of(postgres, f"cat {secret}")
    assert "Permission denied" in output_of(postgres, "cat ../../secret")
    assert "Permission denied" in output_of(postgres, "cat ../password")


def test_postgres_goes_on_after_a_crash_there(postgres: PostgresServer) -> None:
    """Recovery opens every file of the cluster anew."""
    with psycopg.connect(postgres.conninfo()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")

    postgres.kill()
    postgres.start()

    with psycopg.connect(postgres.conninfo()) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


def test_data_folder_made_by_an_older_version_is_used(tmp_path: Path) -> None:
    """Its folder was open to everybody; the demo's rows are still there, and the folder is closed."""
    server = PostgresServer(tmp_path / "postgres")
    with server, psycopg.connect(server.conninfo()) as connection:
        connection.execute("CREATE TABLE kept ()")
    server.data_dir.chmod(0o755)

    with server, psycopg.connect(server.conninfo()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert server.data_dir.stat().st_mode & 0o777 == 0o700
