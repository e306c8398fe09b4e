"""A real PgBouncer between us and PostgreSQL: session pooling works, sharing sessions is refused in one line."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from local.ports import HOST, find_free_port
from local.postgres_programs import ORDINARY_USER
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic

pytestmark = pytest.mark.integration

StartPooler = Callable[[str], int]
CONFIG = """
[databases]
{database} = host={host} port={server_port} user={user} password={password}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
"""


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.fixture
def pooler(database: Database, tmp_path: Path) -> Iterator[StartPooler]:
    """Start PgBouncer in front of the test's database: gives its port."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        assert "CI" not in os.environ, "pgbouncer is not installed"
        pytest.skip("pgbouncer is not installed (Debian, Ubuntu: apt install pgbouncer)")
    started: list[subprocess.Popen[bytes]] = []

    def start(mode: str) -> int:
        port, server = find_free_port(), database.server
        config = tmp_path / "pgbouncer.ini"
        config.write_text(
            CONFIG.format(
                database=database.name,
                host=HOST,
                server_port=server.port,
                user=server.superuser,
                password=server.password,
                port=port,
                mode=mode,
            )
        )
        as_user = ["-u", ORDINARY_USER] if os.geteuid() == 0 else []  # it refuses to be root
        with (tmp_path / "pgbouncer.log").open("wb") as log:
            started.append(subprocess.Popen([program, *as_user, config], stdout=log, stderr=log))
        wait_until(lambda: answers(port), what="PgBouncer listens")
        return port

    yield start
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_session_pooling_works(start: StartService, topic: Topic, database: Database, pooler: StartPooler) -> None:
    """It gives a session to one client at a time, but takes no startup options: what we set is set afterwards."""
    port = str(pooler("session"))
    database.query(f"ALTER DATABASE {database.name} SET DateStyle = 'SQL, DMY'")
    topic.create()
    sent = topic.send_heartbeats(5000)
    topic.send([(b"k", b"broken")] * 10)
    consumer = start("consumer", HEARTBEAT_POSTGRESQL__PORT=port)
    wait_until(lambda: database.passed() == topic.ends())

    assert start("consumer", "replay", HEARTBEAT_POSTGRESQL__PORT=port).wait() == 0
    assert start("consumer", "verify", "--full", HEARTBEAT_POSTGRESQL__PORT=port).wait() == 0
    assert consumer.stop() == 0
    database.query(f"ALTER DATABASE {database.name} RESET DateStyle")
    assert database.lost_and_surplus(sent) == ([], [])


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_pooling_that_shares_sessions_is_refused(
    mode: str, start: StartService, topic: Topic, database: Database, pooler: StartPooler
) -> None:
    """Prepared statements would collide every few seconds and timeouts hold for others: waiting does not help."""
    port = pooler(mode)
    topic.create()
    service = start("consumer", HEARTBEAT_POSTGRESQL__PORT=str(port))

    assert service.wait() == 2
    (error,) = [event for event in service.events() if event["level"] == "error"]
    assert "cannot use the connection pooler" in error["error"]
    assert "session pooling" in error["hint"]
    assert "Traceback" not in service.text()
    with psycopg.connect(database.conninfo, port=port, autocommit=True) as other:
        assert other.execute("SHOW statement_timeout").fetchone() == ("0",)  # others were left alone
