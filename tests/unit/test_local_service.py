"""The services as child processes: their logs are read for the current events, and bounded."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.errors import LocalServerError
from local.service import Service, readable
from local.waiting import wait_until

Speaking = Callable[[str], Service]


@pytest.fixture
def speaking(tmp_path: Path) -> Iterator[Speaking]:
    """Return a function that starts a Python program as a service."""
    started: list[Service] = []

    def start(code: str) -> Service:
        started.append(Service("speaker", ("-c", code), {}, tmp_path / "speaker.log"))
        return started[-1]

    yield start
    for service in started:
        service.end()


def test_words_of_a_service_are_shown_as_text(speaking: Speaking) -> None:
    """They hold what PostgreSQL said of a row, and JSON's escapes are undone by then."""
    service = speaking("""print('{"event": "refused", "row": "A\\\\u001b[2J\\\\u202e"}\\nraw \\x1b[2J')""")
    service.wait(10)

    with pytest.raises(LocalServerError) as caught:
        service.check()
    assert service.said() == "\n    : refused row=A\\x1b[2J\\u202e\n    raw \\x1b[2J"
    assert str(caught.value).replace("\n", "").isprintable()


def test_event_of_a_service_is_one_readable_line() -> None:
    """A person who reads why a service ended wants text, not JSON."""
    event = {"event": "cannot do it", "level": "error", "timestamp": "t", "service": "consumer", "hint": "Do this."}

    assert readable(json.dumps(event)) == "error: cannot do it hint=Do this."


def test_latest_event_is_current_or_none(speaking: Speaking) -> None:
    """A rate of ten seconds ago is not the rate of now."""
    service = speaking(
        """
import datetime, json, time
def say(**event):
    event["timestamp"] = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
    print(json.dumps(event), flush=True)
print("not JSON", flush=True)
print("[1]", flush=True)
say(event="Sent", rate_per_s=4)
say(event="Sent", rate_per_s=5, level="info")
time.sleep(600)
"""
    )
    wait_until(lambda: service.latest("Sent").get("rate_per_s") == 5)

    assert service.latest("Stored") == {}
    assert [event["rate_per_s"] for event in service.events("Sent")] == [4, 5]
    assert service.said().startswith("\n    not JSON\n    [1]\n    : Sent rate_per_s=4\n    info: Sent rate_per_s=5")
    wait_until(lambda: not service.latest("Sent"))
    service.check()


def test_latest_event_is_found_behind_a_thousand_others(speaking: Speaking) -> None:
    """Many people may fall silent at once, each with a line of its own; the rate must not vanish from the picture."""
    service = speaking(
        """
import datetime, json, time
now = datetime.datetime.now(datetime.UTC).isoformat()
say = lambda **event: print(json.dumps(event | {"timestamp": now}))
say(event="Stored", rate_per_s=5)
for number in range(1000):
    say(event="alarm opened", customer_id=f"CUST-{number:06d}", kind="silent", usual_low=59.5, usual_high=101.5)
print("that is all", flush=True)
time.sleep(600)
"""
    )
    wait_until(lambda: "that is all" in service.text())

    assert service.latest("Stored")["rate_per_s"] == 5


def test_log_of_a_service_is_bounded(speaking: Speaking, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo may run for months. The service goes on writing, into the same file."""
    monkeypatch.setattr("local.service.LOG_BYTES", 10_000)
    service = speaking("""
import time
for number in range(100_000):
    print(f"line {number:90}", flush=True)
    time.sleep(0.0005)
""")

    def is_bounded_again() -> bool:
        service.bound_log()
        return "line" in service.text() and len(older.read_text()) > 10_000 if older.exists() else False

    older = service.log.with_name("speaker.log.1")
    wait_until(is_bounded_again)
    older.unlink()
    wait_until(is_bounded_again)

    lines = service.text().splitlines()
    assert lines[0].startswith("line ")
    assert older.stat().st_size + service.log.stat().st_size < 1_000_000


def test_service_that_ended_by_itself_says_why(speaking: Speaking) -> None:
    """The person reads the service's own last words and its exit code."""
    service = speaking('print(\'{"event": "cannot go on", "level": "error"}\'); raise SystemExit(2)')
    service.wait(10)

    with pytest.raises(LocalServerError, match=r"the speaker ended by itself, exit code 2;.*\n    error: cannot go on"):
        service.check()
