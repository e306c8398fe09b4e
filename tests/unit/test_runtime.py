"""
Signals stop a service, logs can be read by people and by machines, and every ending has its exit code.

More than 250 lines: each of them is tried in a process of its own.
"""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from common.runtime import StopFlag

ROOT: Final = Path(__file__).parents[2]
DEADLINE_S: Final = 20  # for a process to start or to end, on a busy machine

WAITS: Final = """
from common.runtime import StopFlag
stop = StopFlag()
stop.listen()
print("listening", flush=True)
print("set" if stop.wait(60) else "late", flush=True)
import signal
while True:
    signal.pause()
"""
WORKS: Final = """
from common.runtime import StopFlag
stop = StopFlag()
stop.listen()
print("listening", flush=True)
while not stop.is_set():
    pass
print("set", flush=True)
"""
LOGS: Final = """
import sys, structlog
from common.runtime import configure_logging
from common.settings import Logging
configure_logging(Logging(format=sys.argv[1], level=sys.argv[2]), service="consumer")
log = structlog.get_logger()
log.debug("detail", n=1)
log.info("Stored", count=1000, text='two\\nlines "quoted"')
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""
HOSTILE: Final = """
import sys, structlog
from common.runtime import configure_logging
from common.settings import Logging
configure_logging(Logging(format=sys.argv[1]), service="consumer")
hostile = "A\\x1b[2J\\x07\\x7f\\x9b\\u202eB\\u2028\\ud800"
log = structlog.get_logger()
log.error(hostile, word=hostile, words=f"in {hostile}", several=[hostile], error=ValueError(hostile))
try:
    raise ValueError(hostile)
except ValueError:
    log.exception("failed")
"""
ENDS: Final = """
import sys
from common import errors, runtime
from common.settings import Logging
def main():
    if sys.argv[1] == "returns":
        return 7
    if sys.argv[1] == "ValueError":
        raise ValueError("ours")
    if sys.argv[1] == "Ctrl-C":
        raise KeyboardInterrupt
    raise getattr(errors, sys.argv[1])("cannot do it: 1", hint="Do it.")
if sys.argv[2] == "configured":
    runtime.configure_logging(Logging(format="json"), service="producer")
sys.exit(runtime.run("producer", main, out=sys.stderr if sys.argv[2] == "a command" else None))
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts Python code in a process of its own."""
    started = []

    def start(code: str, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *arguments]
        process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    """Wait for a line of a process's output."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_asks_and_second_one_kills(start: Start, first: signal.Signals, second: signal.Signals) -> None:
    """A stop that takes too long for its person's liking ends at once, whichever way they ask."""
    process = start(WAITS)
    assert line_of(process) == "listening"
    process.send_signal(first)
    assert line_of(process) == "set"
    assert process.poll() is None

    process.send_signal(second)

    assert process.wait(DEADLINE_S) == -second


def test_signal_is_heard_by_a_service_that_never_waits(start: Start) -> None:
    """A busy loop looks at the flag between two batches and ends by itself."""
    process = start(WORKS)
    assert line_of(process) == "listening"

    process.send_signal(signal.SIGTERM)

    assert line_of(process) == "set"
    assert process.wait(DEADLINE_S) == 0


def test_wait_ends_at_the_flag_or_after_its_time() -> None:
    """A stop is not held up by a pause between two tries, nor a pause cut short without one."""
    stop = StopFlag()
    began = time.monotonic()
    in_vain = stop.wait(0.05)
    waited_s = time.monotonic() - began
    threading.Timer(0.05, stop.set).start()

    assert not in_vain
    assert waited_s >= 0.05
    assert stop.wait(DEADLINE_S)
    assert stop.is_set()


def test_flag_once_set_stays_set() -> None:
    """Each later wait returns at once."""
    stop = StopFlag()
    assert not stop.is_set()
    assert not stop.wait(0)
    assert not stop.wait(-1)

    for _ in range(3):
        stop.set()

    assert [stop.wait(DEADLINE_S) for _ in range(3)] == [True] * 3


@pytest.mark.parametrize("form", ["auto", "json"])
def test_log_is_one_json_object_a_line_where_no_terminal_is(start: Start, form: str) -> None:
    """Whatever collects the logs needs no parser of its own; a traceback does not break the lines."""
    output, errors = start(LOGS, form, "info").communicate(timeout=DEADLINE_S)
    stored, failed = (json.loads(line) for line in output.splitlines())

    assert errors == ""
    assert stored.pop("timestamp").endswith("Z")
    assert stored == {
        "event": "Stored", "level": "info", "service": "consumer", "count": 1000, "text": 'two\nlines "quoted"',
    }  # fmt: skip
    assert failed["level"] == "error"
    assert "ZeroDivisionError" in failed["exception"]


def test_log_level_is_applied(start: Start) -> None:
    """Details appear only on request."""
    loud, _ = start(LOGS, "json", "debug").communicate(timeout=DEADLINE_S)
    quiet, _ = start(LOGS, "json", "error").communicate(timeout=DEADLINE_S)

    assert [json.loads(line)["event"] for line in loud.splitlines()] == ["detail", "Stored", "failed"]
    assert [json.loads(line)["event"] for line in quiet.splitlines()] == ["failed"]


def test_console_is_readable_without_colours_in_a_file(start: Start) -> None:
    """`docker compose logs` with a person before it, by setting."""
    output, _ = start(LOGS, "console", "info").communicate(timeout=DEADLINE_S)

    assert "Stored" in output
    assert "count=1000" in output
    assert "service=consumer" in output
    assert "\x1b" not in output


@pytest.mark.parametrize("form", ["console", "json"])
def test_log_is_text_whatever_a_message_holds(start: Start, form: str) -> None:
    """A terminal obeys escape sequences: those of a customer's name could clear it, or hide lines of the log."""
    output, errors = start(HOSTILE, form).communicate(timeout=DEADLINE_S)

    assert errors == ""
    assert output.count("[2J") == 6  # each is shown
    assert all(line.isprintable() for line in output.split("\n"))


def test_log_on_a_terminal_is_readable(start: Start) -> None:
    """A person who starts a service by hand reads text, in colours."""
    ours, theirs = pty.openpty()
    process = start(LOGS, "auto", "info", stdout=theirs)
    process.wait(DEADLINE_S)
    output = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)

    assert "Stored" in output
    assert "\x1b[" in output
    assert '{"' not in output


@pytest.mark.parametrize("logging", ["configured", "not configured"])
@pytest.mark.parametrize(("error", "code"), [("ConfigError", 2), ("OutageError", 1), ("LedgerError", 3)])
def test_error_becomes_one_line_with_its_hint_and_its_exit_code(
    start: Start, error: str, code: int, logging: str
) -> None:
    """Also when what is wrong is the settings that say how to log."""
    process = start(ENDS, error, logging)
    output, errors = process.communicate(timeout=DEADLINE_S)
    line = json.loads(output)

    assert process.returncode == code
    assert (line["event"], line["error"], line["hint"]) == ("failed", "cannot do it: 1", "Do it.")
    assert line["level"] == "error"
    assert line["service"] == "producer"
    assert errors == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("ConfigError", 2, "cannot do it: 1"),
        ("Ctrl-C", 130, "stopped by Ctrl-C"),
    ],
)
def test_ending_of_a_command_is_one_line_on_stderr(start: Start, error: str, code: int, message: str) -> None:
    """What it prints is for other programs; a person who stops it has found no defect."""
    process = start(ENDS, error, "a command")
    output, errors = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == code
    assert output == ""
    assert json.loads(errors)["error"] == message


def test_return_value_is_the_exit_code(start: Start) -> None:
    """A service that ended as it should says so."""
    process = start(ENDS, "returns", "configured")

    assert process.communicate(timeout=DEADLINE_S) == ("", "")
    assert process.returncode == 7


def test_defect_keeps_its_traceback(start: Start) -> None:
    """What only we can mend must reach us whole."""
    process = start(ENDS, "ValueError", "configured")
    _, errors = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 1
    assert "Traceback" in errors
    assert "ValueError: ours" in errors
