"""PostgreSQL's major versions: the volume's layout, and the way from one version to the next."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from local.service import ROOT
from local.waiting import wait_until
from tests.documents import section_commands
from tests.e2e.stack import DOCKER, PIPELINE, Stack, docker, stack_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PRODUCTION: Final = ROOT / "docs" / "production.md"
OLD, NEW = "17", "18"
MARK: Final = "CREATE TABLE marked AS SELECT 7 AS seven"
READ_MARK: Final = "SELECT seven FROM marked"


class Server:
    """Compose's PostgreSQL alone, in a project of its own."""

    def __init__(self) -> None:
        self.environment = {**os.environ, **stack_environment(), "POSTGRESQL_PASSWORD": "secret"}
        self.volume = f"{self.environment['COMPOSE_PROJECT_NAME']}_postgresql-data"
        self.version = NEW

    def compose(self, *arguments: str) -> str:
        """Run `docker compose` with these arguments; its output."""
        return docker("compose", *arguments, environment={**self.environment, "POSTGRESQL_VERSION": self.version})

    def start(self, version: str) -> None:
        """Start this version, and wait until it is healthy."""
        self.version = version
        self.compose("up", "--detach", "--wait", "postgresql")

    def log(self) -> str:
        """Return what the server printed."""
        return self.compose("logs", "--no-log-prefix", "postgresql")

    def psql(self, statement: str) -> str:
        """Ask it as its owner."""
        return self.compose("exec", "-T", "postgresql", "psql", "-U", "admin", "-Atc", statement, "heartbeat_db")


@pytest.fixture
def server(engine: None) -> Iterator[Server]:  # noqa: ARG001 - asked for, not looked at
    """A PostgreSQL that is not started yet, and has no volume yet."""
    server = Server()
    yield server
    server.compose("down", "--volumes", "--timeout", "20")


def make_volume_of_the_first_layout(server: Server) -> None:
    """Store a mark with the files of 17 at the top of the volume, as this file's first versions mounted it."""
    secret = ("--env", "POSTGRES_PASSWORD=secret", "--env", "POSTGRES_USER=admin", "--env", "POSTGRES_DB=heartbeat_db")
    mount = ("--volume", f"{server.volume}:/var/lib/postgresql/data")
    earlier = docker("run", "--detach", "--user=postgres", *secret, *mount, f"postgres:{OLD}")
    try:
        psql = ("exec", "--env", "PGPASSWORD=secret", earlier, "psql", "--host=127.0.0.1", "-U", "admin", "-c")
        wait_until(lambda: _succeeds(*psql, "SELECT 1", "heartbeat_db"), what="the earlier server")
        docker(*psql, MARK, "heartbeat_db")
        docker("stop", earlier)
    finally:
        docker("rm", "--force", earlier)


def make_volume_of_the_present_layout(server: Server) -> None:
    """Store a mark with the files of 17 in their own folder."""
    server.start(OLD)
    server.psql(MARK)


@pytest.mark.parametrize("make_volume", [make_volume_of_the_first_layout, make_volume_of_the_present_layout])
def test_upgraded_file_refuses_the_old_volume_and_leaves_it_unchanged(
    server: Server, make_volume: Callable[[Server], None]
) -> None:
    """A person pulls the new file and types `up -d`: an empty database beside the old rows would look like a loss."""
    make_volume(server)

    server.version = NEW
    server.compose("up", "--detach", "postgresql")
    wait_until(lambda: "cannot start" in server.log(), what="the refusal")
    said = server.log()
    server.start(OLD)

    assert f"cannot start PostgreSQL {NEW}: the volume has data of PostgreSQL {OLD} only; it is unchanged\n" in said
    assert f"HINT: Set POSTGRESQL_VERSION={OLD} in .env" in said
    assert server.psql(READ_MARK) == "7"
    assert f"{NEW}\n" not in server.compose("exec", "-T", "postgresql", "ls", "/var/lib/postgresql") + "\n"


@pytest.fixture
def env_file(engine: None, tmp_path: Path) -> Iterator[Path]:  # noqa: ARG001 - asked for, not looked at
    """The values of a person who has kept the old version, for a pipeline of its own."""
    file = tmp_path / "heartbeat.env"
    values = (ROOT / ".env").read_text(encoding="utf-8")
    file.write_text(f"{values}\nPOSTGRESQL_VERSION={OLD}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in stack_environment().items():
            environment.setenv(name, value)
        yield file


def test_documented_commands_lead_to_the_next_major_version(env_file: Path) -> None:
    """Every row and offset arrives, the ledger balances, and the old database is still the way back."""
    stack = Stack()
    up = ("compose", "--env-file", str(env_file), "up", "--build", "--detach", "--wait", *PIPELINE)
    commands = section_commands(PRODUCTION, "PostgreSQL's next major version")
    commands = commands.replace("/etc/heartbeat.env", str(env_file)).replace("heartbeat.dump", f"{env_file}.dump")
    commands = commands.replace("up -d --build", f"up -d --build {' '.join(PIPELINE)}")  # no image of Grafana here
    try:
        docker(*up)
        stack.wait_until_rows_flow()
        before = stack.rows()

        done = subprocess.run(["/bin/sh", "-ec", commands], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert _major(stack) == NEW
        assert stack.rows() >= before
        stack.wait_until_rows_flow()
        stack.assert_nothing_is_missing_or_twice()

        values = env_file.read_text(encoding="utf-8")
        env_file.write_text(values.replace(f"_VERSION={NEW}", f"_VERSION={OLD}"), encoding="utf-8")
        docker(*up)
        assert _major(stack) == OLD
        stack.wait_until_rows_flow()
        stack.assert_nothing_is_missing_or_twice()
    finally:
        stack.remove()


def _succeeds(*arguments: str) -> bool:
    return subprocess.run([DOCKER, *arguments], capture_output=True, check=False).returncode == 0


def _major(stack: Stack) -> str:
    return str(stack.query("SHOW server_version_num")[0][0])[:2]
