"""What the demo shows and how it reads its services, without the servers."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from common.errors import ConfigError
from demo import run, view
from demo.figures import Figures
from demo.progress import progress
from local.errors import LocalServerError
from local.service import Service, readable
from local.waiting import wait_until

SCENE = view.Scene(
    seconds=61.4,
    sent={"count": 1000, "rate_per_s": 1000},
    stored={"count": 998, "rate_per_s": 998, "lag": 12},
    figures=Figures(
        stored=60_123,
        rejected=7,
        lag=12,
        latest=[("CUST-000042", datetime(2026, 11, 22, 9, 0, tzinfo=UTC), 72)],
        newest_age_s=0.08,
        distribution={70: 4000, 120: 1000},
    ),
    addresses=("Kafka       127.0.0.1:9094", "PostgreSQL  psql -h localhost"),
)
Speaking = Callable[[str], Service]
NOTHING_YET = view.Scene(0.0, {}, {}, Figures(), ())


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


def drawn(scene: view.Scene) -> str:
    """Return the picture as a terminal of 80 columns shows it."""
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(view.picture(scene))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("text", "seconds"), [("", None), ("60", 60.0), ("0.5", 0.5)])
def test_demo_seconds_are_read(text: str, seconds: float | None) -> None:
    """Without the variable the demo runs until Ctrl-C."""
    assert run.read_seconds({"DEMO_SECONDS": text}) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "a minute", "inf", "nan"])
def test_demo_seconds_that_are_none_are_refused(text: str) -> None:
    """A typing mistake does not start a demo without end."""
    with pytest.raises(ConfigError, match=rf"DEMO_SECONDS: must be a number above 0 \(got '{text}'\)"):
        run.read_seconds({"DEMO_SECONDS": text})


def test_demo_takes_the_ports_that_compose_would() -> None:
    assert run.read_ports({}) == {"KAFKA_PORT": 9094, "POSTGRESQL_PORT": 5434}
    assert run.read_ports({"KAFKA_PORT": "19094", "POSTGRESQL_PORT": None})["KAFKA_PORT"] == 19094


@pytest.mark.parametrize("text", ["0", "65536", "-1", "kafka"])
def test_demo_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"KAFKA_PORT: must be a port, 1 to 65535 \(got '{text}'\)"):
        run.read_ports({"KAFKA_PORT": text})


def test_plain_line_tells_all_figures() -> None:
    """A log file of the demo is read without a terminal."""
    assert view.plain(SCENE).endswith(
        "  sent 1,000/s  stored 998/s  lag 12  newest row 0.08 s  rows 60,123  rejected 7"
    )


def test_picture_fits_a_terminal_of_80_by_24() -> None:
    """The smallest terminal people have shows everything, with no line broken."""
    lines = drawn(SCENE).splitlines()

    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    for word in ("01:01", "1,000/s", "998/s", "0.08 s", "60,123", "CUST-000042", "80.0%", "20.0%", "psql -h localhost"):
        assert any(word in line for line in lines), word


def test_customer_is_shown_as_text_whatever_the_name_holds() -> None:
    """Any sender to the topic could clear the screen, or have one name shown as another."""
    name = "A\x1b[2J\x9bB\u202eC\u2028[red]:heart:"
    rows = [(name, datetime(2026, 11, 22, 9, 0, tzinfo=UTC), 72)]

    lines = drawn(replace(SCENE, figures=replace(SCENE.figures, latest=rows))).splitlines()

    assert all(line.isprintable() for line in lines)
    assert "A\\x1b[2J" in "".join(lines)


def test_words_of_a_service_are_shown_as_text(speaking: Speaking) -> None:
    """They hold what PostgreSQL said of a row, and JSON's escapes are undone by then."""
    service = speaking("""print('{"event": "refused", "row": "A\\\\u001b[2J\\\\u202e"}\\nraw \\x1b[2J')""")
    service.wait(10)

    with pytest.raises(LocalServerError) as caught:
        service.check()
    assert service.said() == "\n    : refused row=A\\x1b[2J\\u202e\n    raw \\x1b[2J"
    assert str(caught.value).replace("\n", "").isprintable()


def test_nothing_yet_is_shown_as_such() -> None:
    """The first second has no figures; no figure is made up for it."""
    assert "sent -  stored -  lag 0  newest row -" in view.plain(NOTHING_YET)
    assert "0.0%" in drawn(NOTHING_YET)


@pytest.mark.parametrize(("age_s", "shown"), [(0.123, "0.12 s"), (59.0, "59.00 s"), (7200.0, "120 min")])
def test_age_is_shown_in_a_unit_that_fits(age_s: float, shown: str) -> None:
    """A demo that goes on after a night begins with an old row."""
    scene = view.Scene(0.0, {}, {}, Figures(newest_age_s=age_s), ())

    assert f"newest row {shown} " in view.plain(scene)


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


def test_progress_is_sparing_with_lines_in_a_file() -> None:
    """Forty jars in a log file are no news each."""
    console = Console(file=io.StringIO(), force_terminal=False)

    with progress(console, "starting"):
        for number in range(40):
            logging.getLogger("local.jars").info("jar %d", number)

    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "jar 0"
    assert lines[-1].startswith("starting: done in ")
    assert len(lines) == 2


def test_psql_is_named_so_that_it_can_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not everybody has psql; the one that came with the server is there in any case."""
    monkeypatch.setenv("PATH", "/nowhere")

    assert Path(run.psql()).is_file()
    monkeypatch.setenv("PATH", str(Path(run.psql()).absolute().parent))
    assert run.psql() == "psql"
