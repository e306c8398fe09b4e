"""The local Kafka and PostgreSQL go with the process that started them, however and whenever that ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from local.data_folder import locked
from local.kafka import KafkaServer
from local.postgres import PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.fault]

GONE_S = 20.0  # in which everything must be gone after its parent: a stop takes a second, or five and a SIGKILL

# Starts both servers on the folders given, says their process ids, and waits.
PARENT = """
import sys, time
from pathlib import Path
from local.kafka import KafkaServer
from local.postgres import PostgresServer
with PostgresServer(Path(sys.argv[1]) / "postgres") as postgres, KafkaServer(Path(sys.argv[1]) / "kafka") as kafka:
    print(postgres.pid, kafka.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Return a function that starts `PARENT`, in a session of its own."""
    parents = []

    def start() -> subprocess.Popen[str]:
        parents.append(
            subprocess.Popen(
                [sys.executable, "-c", PARENT, str(tmp_path)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(Path.cwd())},
                start_new_session=True,
            )
        )
        return parents[-1]

    yield start
    for process in parents:
        process.kill()
        process.communicate()


def test_servers_are_gone_after_their_parent_is_killed(
    parent: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """SIGKILL leaves no time to clean up; the broker, the postmaster and every backend end all the same."""
    process = parent()
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2, "the servers did not start; stderr says why"
    for pid in pids:
        os.kill(pid, 0)

    process.kill()

    for name, pid in zip(("postgres", "kafka"), pids, strict=True):
        with locked(tmp_path / name, patience_s=GONE_S), pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("after_s", "number"), [(0.3, signal.SIGINT), (0.8, signal.SIGKILL), (1.6, signal.SIGINT), (2.6, signal.SIGKILL)]
)
def test_nothing_is_left_of_a_start_that_was_cut_short(
    parent: Callable[[], subprocess.Popen[str]], tmp_path: Path, after_s: float, number: signal.Signals
) -> None:
    """While initdb runs, Kafka's storage is formatted or a server comes up: the next start must find a clean place."""
    process = parent()
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)  # as a terminal does: the whole group of the parent
    process.wait(GONE_S)

    for folder in (tmp_path / "postgres", tmp_path / "kafka"):
        with locked(folder, patience_s=GONE_S):
            pass
    with (
        PostgresServer(tmp_path / "postgres") as postgres,
        psycopg.connect(postgres.conninfo("postgres")) as connection,
    ):
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with KafkaServer(tmp_path / "kafka") as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        assert admin.list_topics(timeout=20).topics == {}
