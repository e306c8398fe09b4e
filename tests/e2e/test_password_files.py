"""docker-compose.secrets.yml and the page's commands on a real volume: passwords from files, and a changed one."""

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.service import ROOT
from tests.e2e.stack import DOCKER, free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("engine")]

Compose = Callable[..., subprocess.CompletedProcess[bytes]]
PASSWORDS = {
    "postgresql_password": "it's $PATH",
    "postgresql_consumer_password": 'say "`hi`"',
    "grafana_postgresql_password": "pa$word",
    "grafana_password": "grafana word",
}


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[Compose]:
    """Return `docker compose --env-file`, with a copy of .env whose passwords are placeholders, under another name."""
    for name, password in PASSWORDS.items():
        (tmp_path / name).write_text(f"{password}\n")
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    placeholders = [f"{line.partition('=')[0]}=placeholder" if "PASSWORD=" in line else line for line in lines]
    placeholders += [
        f"COMPOSE_PROJECT_NAME=heartbeat-e2e-{uuid.uuid4().hex[:8]}",
        "COMPOSE_FILE=docker-compose.yml:docker-compose.secrets.yml",
        f"SECRETS_FOLDER={tmp_path}",
        f"POSTGRESQL_PORT={free_ports(1)[0]}",
    ]
    (tmp_path / "heartbeat.env").write_text("\n".join(placeholders))
    own = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "DOCKER_HOST"}}

    def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [DOCKER, "compose", "--env-file", str(tmp_path / "heartbeat.env"), *arguments]
        return subprocess.run(command, cwd=ROOT, env=own, input=given, capture_output=True, check=False, timeout=240)

    yield run
    run("down", "--volumes")


def test_schema_backup_and_restore_work_with_passwords_from_files(compose: Compose, tmp_path: Path) -> None:
    """The job has what pg_dump and pg_restore need; afterwards, another password names the old volume as the cause."""
    job = ("run", "--rm", "-T", "schema")
    applied = compose(*job)
    dump = compose(*job, "pg_dump", "-Fc")
    made = compose(*job, "createdb", "heartbeat_restored")
    restored = compose(
        *job, "pg_restore", "--exit-on-error", "--no-owner", "--no-privileges", "-d", "heartbeat_restored",
        given=dump.stdout,
    )  # fmt: skip
    found = compose(*job, "psql", "-Atc", "SELECT count(*) FROM kafka_ledger", "heartbeat_restored")
    (tmp_path / "postgresql_password").write_text("changed")
    refused = compose(*job)

    assert [done.returncode for done in (applied, dump, made, restored, found)] == [0] * 5, applied.stderr
    assert found.stdout == b"0\n"
    assert refused.returncode == 2
    assert b"HINT: A PostgreSQL volume keeps the owner, password and database of its first start" in refused.stderr
    for done in (applied, dump, made, restored, found, refused):
        assert not any(password.encode() in done.stdout + done.stderr for password in PASSWORDS.values())
