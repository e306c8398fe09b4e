"""PostgreSQL's major versions: the volume's layout, and the way from one version to the next."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local.service import ROOT
from local.waiting import wait_until
from tests import roles
from tests.conftest import StartService
from tests.e2e.stack import DOCKER, GROUP, TOPIC, Stack, docker, stack_environment
from tests.pipeline import Database
from tests.roles import client

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

IMAGE = "postgres:17"
MARK = "CREATE TABLE marked AS SELECT 7 AS seven"
COUNT_MARKS = "SELECT count(*) FROM pg_class WHERE relname = 'marked'"


class Server:
    """Compose's PostgreSQL alone, in a project of its own."""

    def __init__(self, override: Path) -> None:
        self.environment = {**os.environ, **stack_environment(), "POSTGRESQL_PASSWORD": "secret"}
        self.volume = f"{self.environment['COMPOSE_PROJECT_NAME']}_postgresql-data"
        self._override = override
        self.use(IMAGE)

    def use(self, image: str) -> None:
        """Change the image's tag, as a person would in the file."""
        self._override.write_text(f"services: {{postgresql: {{image: '{image}'}}}}\n", encoding="utf-8")

    def compose(self, *arguments: str) -> str:
        """Run `docker compose` with these arguments; its output."""
        files = ("-f", "docker-compose.yml", "-f", str(self._override))
        return docker("compose", *files, *arguments, environment=self.environment)

    def start(self) -> None:
        """Start it, and wait until it is healthy."""
        self.compose("up", "--detach", "--wait", "postgresql")

    def psql(self, statement: str) -> str:
        """Ask it as its owner."""
        return self.compose("exec", "-T", "postgresql", "psql", "-U", "admin", "-Atc", statement, "heartbeat_db")


@pytest.fixture
def server(engine: None, tmp_path: Path) -> Iterator[Server]:  # noqa: ARG001 - asked for, not looked at
    """A PostgreSQL that is not started yet, and has no volume yet."""
    server = Server(tmp_path / "override.yml")
    yield server
    server.compose("down", "--volumes", "--timeout", "20")


@pytest.fixture
def next_image(engine: None) -> Iterator[str]:  # noqa: ARG001 - asked for, not looked at
    """An image that says it is the next major version; only its folder counts here."""
    name = "heartbeat-e2e-next-postgres"
    dockerfile = f"FROM {IMAGE}\nENV PG_MAJOR=18\n"
    subprocess.run([DOCKER, "build", "--quiet", "--tag", name, "-"], input=dockerfile.encode(), check=True)
    yield name
    docker("rmi", name)


def test_volume_of_the_earlier_layout_is_found(server: Server) -> None:
    """The data of volumes made before lies at the top: after an upgrade, the database must not look empty."""
    secret = ("--env", "POSTGRES_PASSWORD=secret", "--env", "POSTGRES_USER=admin", "--env", "POSTGRES_DB=heartbeat_db")
    earlier = docker(
        "run", "--detach", "--user=postgres", *secret, "--volume", f"{server.volume}:/var/lib/postgresql/data", IMAGE
    )
    try:
        ask = ("exec", earlier, "psql", "--host=127.0.0.1", "-U", "admin", "-c")
        environment = ("exec", "--env", "PGPASSWORD=secret", *ask[1:])
        wait_until(lambda: _succeeds(*environment, "SELECT 1", "heartbeat_db"), what="the earlier server")
        docker(*environment, MARK, "heartbeat_db")
        docker("stop", earlier)
    finally:
        docker("rm", "--force", earlier)

    server.start()
    assert server.psql("SELECT seven FROM marked") == "7"


def test_another_major_version_starts_beside_the_old_one(server: Server, next_image: str) -> None:
    """A changed tag must neither fail on the old files nor harm them: the old tag is the way back."""
    server.start()
    server.psql(MARK)
    server.use(next_image)
    server.start()
    assert server.psql(COUNT_MARKS) == "0"
    server.use(IMAGE)
    server.start()

    assert server.psql(COUNT_MARKS) == "1"
    folders = server.compose("exec", "-T", "postgresql", "sh", "-c", "cd /var/lib/postgresql; ls -d 1*/data")
    assert folders.split() == ["17/data", "18/data"]


def test_dump_of_compose_is_restored_into_the_next_major_version(
    stack: Stack, start: StartService, database: Database, tmp_path: Path
) -> None:
    """The commands of docs/production.md, "PostgreSQL's next major version": the ledger balances afterwards."""
    stack.wait_until_rows_flow()
    stack.compose("stop", "consumer")
    dump = tmp_path / "heartbeat.dump"
    pg_dump = ("compose", "exec", "-T", "postgresql", "pg_dump", "-U", "admin", "-Fc", "heartbeat_db")
    with dump.open("wb") as file:
        subprocess.run([DOCKER, *pg_dump], cwd=ROOT, stdout=file, check=True)
    stack.compose("stop", "producer")  # it has sent more meanwhile

    new = Database(database.server, f"{database.name}_restored")
    try:
        client("createdb", database, new.name)
        options = ("--exit-on-error", "--no-owner", "--no-privileges", "-d", new.name, str(dump))
        client("pg_restore", new, *options)
        with roles.made_for(new) as named:
            roles.apply(named, new, "schema.sql", "roles.sql")
            where = {
                "HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS": stack.bootstrap_servers(),
                "HEARTBEAT_KAFKA__TOPIC": TOPIC,
                "HEARTBEAT_KAFKA__GROUP_ID": GROUP,
                "HEARTBEAT_POSTGRESQL__PORT": str(new.server.port),
                "POSTGRESQL_DATABASE": new.name,
                **named.as_consumer,
            }
            consumer = start("consumer", **where)
            wait_until(lambda: sum(new.passed().values()) == stack.kafka_records(), 60, "all messages")
            assert consumer.stop() == 0
            assert start("consumer", "verify", "--full", **where).wait() == 0
        assert [_major(connection) for connection in (stack.connect(), new.connect())] == [17, 18]
        assert new.count() >= stack.kafka_records() > 0
    finally:
        new.drop()
        stack.compose("start", "producer", "consumer")


def _succeeds(*arguments: str) -> bool:
    return subprocess.run([DOCKER, *arguments], capture_output=True, check=False).returncode == 0


def _major(connection: psycopg.Connection) -> int:
    with connection:
        return connection.info.server_version // 10_000
