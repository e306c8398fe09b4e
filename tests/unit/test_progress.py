"""A person sees how far a command is, and the results on stdout stay clean."""

import io
import sys

import pytest
import structlog

from common import progress as shown
from common.progress import progress
from local.waiting import wait_until


class Terminal(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True


def test_terminal_shows_a_bar_and_stdout_stays_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The results may be written to a file while the bar is on the screen."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("read again", 200) as advance:
        advance(150)
        wait_until(lambda: "150/200" in terminal.getvalue(), 5)
        print("a result")
    with progress("count heartbeats"):
        pass

    assert "read again" in terminal.getvalue()
    assert "count heartbeats" in terminal.getvalue()
    assert capsys.readouterr().out == "a result\n"


def test_elsewhere_a_line_every_ten_seconds_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log without a word for an hour looks like a command that hangs."""
    assert shown.EVERY_S == 10
    monkeypatch.setattr(shown, "EVERY_S", 0.01)
    with structlog.testing.capture_logs() as lines:
        with progress("read again", 200) as advance:
            advance(50)
            advance(100)
            wait_until(lambda: any(line["done"] == 150 for line in lines), 5)
        with progress("count heartbeats"):
            wait_until(lambda: any(line["step"] == "count heartbeats" for line in lines), 5)
        count = len(lines)

    assert {line["event"] for line in lines} == {"progress"}
    assert {line.get("total") for line in lines} == {200, None}
    assert len(lines) == count


def test_short_step_writes_no_line() -> None:
    """What takes a moment needs no progress."""
    with structlog.testing.capture_logs() as lines, progress("read again", 10) as advance:
        advance(10)

    assert lines == []
