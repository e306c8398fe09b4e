"""`python -m demo` in a fresh copy of the project: it checks its ledger, goes on, and leaves nothing running."""

import contextlib
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.ports import find_free_port
from local.waiting import wait_until
from tests.demo import Demo, copy_project
from tests.documents import ROOT, blocks, shape

pytestmark = pytest.mark.integration

GONE_S = 20.0  # in which nothing may be left after a SIGKILL; it takes a second, unless a starting broker hangs (5 s)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_project(tmp_path)


@pytest.fixture
def demo(folder: Path) -> Iterator[Callable[..., tuple[Demo, Path]]]:
    """Return a function that starts the demo; its output goes to the file returned."""
    runs: list[Demo] = []

    def start(**environment: str) -> tuple[Demo, Path]:
        output = folder.parent / f"output-{len(runs)}"
        with output.open("wb") as file:
            runs.append(Demo(folder, file.fileno(), **environment))
        return runs[-1], output

    yield start
    for number, run in enumerate(runs):
        print(f"run {number} said:", (folder.parent / f"output-{number}").read_text())
        run.interrupt(signal.SIGKILL)
        run.process.wait()


def test_demo_balances_its_ledger_and_the_next_one_continues(demo: Callable[..., tuple[Demo, Path]]) -> None:
    """The first command of the README: rows flow, nothing is lost, and data stays."""
    rows = []
    for _ in range(2):
        kafka_port, postgresql_port = find_free_port(), find_free_port()
        ports = {"KAFKA_PORT": str(kafka_port), "POSTGRESQL_PORT": str(postgresql_port)}
        run, output = demo(DEMO_SECONDS="2", **ports)
        assert run.process.wait(60) == 0, output.read_text()
        assert run.running() == []
        said = output.read_text()
        balance = re.search(r"the ledger balances: (\d+) offsets passed .*; Kafka holds 0 more", said)
        assert balance, said
        rows.append(int(balance[1]))
        shown = next(block for block in blocks(ROOT / "README.md", "text") if "in Kafka beyond" in block).splitlines()
        assert {shape(line) for line in shown} - {"..."} <= {shape(line) for line in said.splitlines()}
        assert f"Kafka       127.0.0.1:{kafka_port}, topic heartbeats" in said
        assert re.search(rf"PostgreSQL  .*psql -h localhost -p {postgresql_port} -U admin -d heartbeat_db", said)

    assert 2_000 <= rows[0] <= 6_000
    assert 2_000 <= rows[1] - rows[0] <= 6_000


@pytest.mark.fault
@pytest.mark.parametrize("after_s", [0.8, 1.8, 3.0])
def test_ctrl_c_while_starting_leaves_nothing_and_is_no_failure(
    demo: Callable[..., tuple[Demo, Path]], after_s: float
) -> None:
    """Somebody changes their mind while initdb, the broker or the services come up."""
    run, output = demo()
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.wait(after_s)

    run.interrupt()

    assert run.process.wait(40) == 0, output.read_text()
    assert run.running() == []
    assert "Traceback" not in output.read_text()


@pytest.mark.fault
def test_ctrl_c_on_a_terminal_stops_the_view_and_checks_the_ledger(folder: Path) -> None:
    """The usual end of a demo."""
    terminal, inside = pty.openpty()
    run = Demo(folder, inside, TERM="xterm", COLUMNS="80", LINES="24")
    os.close(inside)
    os.set_blocking(terminal, False)
    said = bytearray()

    def heard(words: str) -> bool:
        with contextlib.suppress(OSError):  # nothing to read now; or everything has ended
            said.extend(os.read(terminal, 65536))
        return words.encode() in said

    try:
        wait_until(lambda: heard("newest rows") and heard("CUST-"), 60)
        run.interrupt()
        wait_until(lambda: heard("the ledger balances"), 60)
        wait_until(lambda: heard("") and run.process.poll() is not None, 60)
    finally:
        print("it said:", said.decode(errors="replace"))
        run.interrupt(signal.SIGKILL)
        run.process.wait()
        os.close(terminal)

    assert run.process.wait() == 0
    assert run.running() == []


@pytest.mark.fault
@pytest.mark.parametrize(("words", "name"), [("-m consumer", "the consumer"), ("kafka.Kafka", "kafka")])
def test_what_ends_by_itself_is_named(demo: Callable[..., tuple[Demo, Path]], words: str, name: str) -> None:
    """A picture that stands still explains nothing."""
    run, output = demo()
    wait_until(lambda: re.search(r"stored [\d,]+/s", output.read_text()), 60)
    victim = run.find(words)
    assert victim is not None

    victim.kill()

    assert run.process.wait(60) == 1
    assert re.search(
        rf"^{name} ended by itself, exit code 137; its last lines:\n    (.|\n)*\nHINT: ",
        output.read_text(),
        re.MULTILINE,
    )
    assert run.running() == []


@pytest.mark.fault
def test_nothing_is_left_of_a_demo_that_was_killed(demo: Callable[..., tuple[Demo, Path]]) -> None:
    """Broker, postmaster, backends and services end, although no process could tell them to."""
    run, output = demo()
    wait_until(lambda: re.search(r"stored [\d,]+/s", output.read_text()), 60)
    assert len(run.running()) > 10

    run.interrupt(signal.SIGKILL)

    wait_until(lambda: run.running() == [], GONE_S)


def test_second_demo_at_once_is_refused(demo: Callable[..., tuple[Demo, Path]]) -> None:
    """Two of them would share one folder of data."""
    first, _ = demo()
    wait_until(lambda: first.find("-m demo") and (first.folder / ".local" / "demo" / "lock").exists())

    second, output = demo()

    assert second.process.wait(30) == 1
    assert "another process uses it\nHINT: " in output.read_text()
    first.interrupt()
    assert first.process.wait(40) == 0
