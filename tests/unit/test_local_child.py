"""The promise of local/: no process outlives the one that started it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from local.child import Child
from local.errors import LocalServerError
from local.waiting import wait_until

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
# A command that leaves a child of its own behind, as a killed postmaster leaves backends.
WITH_CHILD = [
    sys.executable,
    "-c",
    """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
""",
]

# Starts a command as its child, says which processes there are, and waits to be killed.
PARENT = """
import sys, time
from local.child import Child
with open(sys.argv[1], "wb") as output:
    child = Child(sys.argv[2:], output=output, grace_s=1)
print(child.pid, child._process.pid, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and waits for its parent does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def lines_of(path: Path) -> list[str]:
    """Wait for the first line of a child's output."""
    wait_until(lambda: path.exists() and path.read_bytes().endswith(b"\n"), 10, "the child's first line")
    return path.read_text().splitlines()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Return a function that starts a command as our child, its output in a file."""
    children = []

    def start(command: list[str], **options: float) -> Child:
        with (tmp_path / "output").open("wb") as output:
            children.append(Child(command, output=output, **options))  # type: ignore[arg-type]  # a test's shorthand
        return children[-1]

    yield start
    for child in children:
        child.stop(signal.SIGKILL, grace_s=0)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Callable[[list[str]], subprocess.Popen[str]]]:
    """Return a function that starts a process which starts a command as its child."""
    parents = []

    def start(command: list[str]) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", PARENT, str(tmp_path / "output"), *command]
        parents.append(
            subprocess.Popen(
                arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
            )
        )
        return parents[-1]

    yield start
    for process in parents:
        process.kill()
        process.communicate()


def test_exit_code_is_the_commands_own(start: Callable[..., Child]) -> None:
    """The caller learns how the command ended, not how its supervisor did."""
    assert start([sys.executable, "-c", "raise SystemExit(7)"]).wait(10) == 7


def test_stop_sends_the_signal_and_waits(start: Callable[..., Child], tmp_path: Path) -> None:
    """A clean stop is over when stop() returns."""
    child = start(SLEEPER)
    lines_of(tmp_path / "output")

    assert child.stop() == 128 + signal.SIGTERM
    assert not is_alive(child.pid)


def test_command_that_ignores_the_signal_is_killed_after_the_grace(start: Callable[..., Child], tmp_path: Path) -> None:
    """A stop ends, whatever the command does."""
    child = start(DEAF)
    lines_of(tmp_path / "output")

    assert child.stop(grace_s=0.3) == 128 + signal.SIGKILL


def test_command_that_cannot_be_run_is_an_error(start: Callable[..., Child]) -> None:
    """A missing program is named at once, not found out by a timeout."""
    with pytest.raises(LocalServerError, match="cannot run /no/such/program: No such file"):
        start(["/no/such/program"])


def test_stopping_twice_does_nothing(start: Callable[..., Child]) -> None:
    """A context manager may stop what a test has stopped already."""
    child = start(SLEEPER)

    assert child.stop() == child.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="orphans can be followed on Linux only")
def test_end_means_that_no_orphan_is_left(start: Callable[..., Child], tmp_path: Path) -> None:
    """A killed postmaster's backends still hold its memory and files; the next start must not meet them."""
    child = start(WITH_CHILD)
    orphan = int(lines_of(tmp_path / "output")[0])

    child.stop(signal.SIGKILL, grace_s=0)

    assert not is_alive(orphan)


@pytest.mark.fault
@pytest.mark.parametrize("command", [SLEEPER, DEAF], ids=["heeds SIGTERM", "ignores SIGTERM"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_child_is_gone_after_its_parent(
    parent: Callable[[list[str]], subprocess.Popen[str]], tmp_path: Path, command: list[str], number: signal.Signals
) -> None:
    """Nothing keeps running, however the parent ends."""
    process = parent(command)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    lines_of(tmp_path / "output")
    assert all(map(is_alive, pids))

    process.send_signal(number)

    wait_until(lambda: not any(map(is_alive, pids)), 10, f"the end of {pids}")


@pytest.mark.fault
@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_child_is_gone_after_its_supervisor(
    parent: Callable[[list[str]], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """The supervisor may be killed as well."""
    process = parent(DEAF)
    assert process.stdout is not None
    child, supervisor = (int(word) for word in process.stdout.readline().split())
    lines_of(tmp_path / "output")

    os.kill(supervisor, signal.SIGKILL)

    wait_until(lambda: not is_alive(child), 10)


@pytest.mark.fault
def test_forked_copy_of_the_parent_does_not_keep_the_child(tmp_path: Path) -> None:
    """A fork holds the pipe open as well, and may live on; it is not the parent."""
    fork = "import os; copy = os.fork(); copy and print(copy, flush=True)"
    forking = PARENT.replace("time.sleep(600)", f"{fork}; time.sleep(600)")
    arguments = [sys.executable, "-c", forking, str(tmp_path / "output"), *SLEEPER]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    assert process.stdout is not None
    child = int(process.stdout.readline().split()[0])
    copy = int(process.stdout.readline())

    try:
        process.kill()
        process.wait()

        assert is_alive(copy)
        wait_until(lambda: not is_alive(child), 10)
    finally:
        os.kill(copy, signal.SIGKILL)
        process.stdout.close()
