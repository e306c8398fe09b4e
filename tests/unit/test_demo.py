"""What the demo shows, without the servers."""

import io
import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from common.errors import ConfigError
from demo import run, view
from demo.figures import Alarm, Figures, choose
from demo.progress import progress

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
        open_alarms={"high": 1, "silent": 1_233},
        alarms=[
            Alarm("CUST-000003", "high", datetime(2026, 11, 22, 8, 59, 7, tzinfo=UTC), 109),
            *(Alarm(f"CUST-{n:06d}", "silent", datetime(2026, 11, 22, 8, 58, tzinfo=UTC), 71) for n in range(100, 119)),
        ],
        rates={f"CUST-{n:06d}": [(float(at), 60.0 + 10 * n) for at in range(-180, 0, 5)] for n in range(1, 6)},
    ),
    addresses=("Kafka       127.0.0.1:9094", "PostgreSQL  psql -h localhost"),
)
NOTHING_YET = view.Scene(0.0, {}, {}, Figures(), ())


def drawn(scene: view.Scene, lines: int = 24) -> str:
    """Return the picture as a terminal of 80 columns shows it, without colours."""
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(view.picture(scene, lines))
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
    figures = "  sent 1,000/s  stored 998/s  lag 12  newest row 0.08 s  rows 60,123  rejected 7"

    assert view.plain(SCENE).endswith(figures + "  in alarm 1,234 (high 1, silent 1,233)")
    assert view.plain(replace(SCENE, figures=replace(SCENE.figures, open_alarms={}))).endswith(figures)


@pytest.mark.parametrize(("terminal", "taken"), [(24, 22), (35, 22), (36, 34), (200, 34)])
def test_picture_fits_a_terminal_of_80_columns(terminal: int, taken: int) -> None:
    """The smallest terminal people have, of 24 lines, shows everything, with no line broken and one line to spare."""
    lines = drawn(SCENE, terminal).splitlines()

    assert len(lines) == taken
    assert max(map(len, lines)) <= 80
    for word in ("01:01", "1,000/s", "998/s", "0.08 s", "60,123", "CUST-000042", "80.0%", "20.0%", "psql -h localhost"):
        assert any(word in line for line in lines), word
    for word in (
        "in alarm",
        "1,234",
        "3 CUST-000003  high   109 22 Nov ",
        "CUST-000103  silent  71 ",
        "2 CUST-000002          80 ",
    ):
        assert any(word in line for line in lines), word


def test_each_person_of_the_plot_is_known_without_colours() -> None:
    """A tenth of all men cannot tell red from green: a digit stands at each point, and beside the name."""
    lines = drawn(SCENE).splitlines()

    for number in range(1, 6):
        assert any(str(number) * 30 in line for line in lines), number
        assert any(f" {number} CUST-{number:06d} " in line for line in lines)


def test_all_generated_rates_are_counted_once_in_either_table() -> None:
    """A rate in no row, or in two, would make the percentages wrong."""
    for rows in (view.STEPS_BPM, view.CLASSES_BPM):
        assert [bpm for row in rows for bpm in row][:71] == list(range(50, 121))


def test_people_in_alarm_take_the_places_of_others_and_keep_them() -> None:
    """A line that changes its digit each second cannot be followed. Ids may have any form."""
    assert choose([], [], []) == []
    assert choose([], [], ["a", "b"]) == ["a", "b"]
    assert choose(["a", "b"], [], ["a", "b", "c", "d", "e", "f"]) == ["a", "b", "c", "d", "e"]
    assert choose(["a", "b", "c", "d", "e"], ["x", "b", "y"], []) == ["x", "b", "y", "d", "e"]
    assert choose(["x", "b", "y", "d", "e"], ["z", "y"], []) == ["z", "b", "y", "d", "e"]
    assert choose(["x", "b", "y", "d", "e"], [], ["a"]) == ["x", "b", "y", "d", "e"]
    assert choose([], ["p", "q", "r", "s", "t", "u"], ["p", "a"]) == ["p", "q", "r", "s", "t"]
    assert choose(["a"], ["x"], ["a", "x", "c"]) == ["x", "a", "c"]


def test_customer_is_shown_as_text_whatever_the_name_holds() -> None:
    """Any sender to the topic could clear the screen, or have one name shown as another."""
    name = "A\x1b[2J\x9bB\u202eC\u2028[red]:heart:"
    at = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
    figures = replace(
        SCENE.figures, latest=[(name, at, 72)], alarms=[Alarm(name, "low", at, 44)], rates={name: [(-9.0, 44.0)]}
    )

    lines = drawn(replace(SCENE, figures=figures)).splitlines()

    assert all(line.isprintable() for line in lines)
    assert "".join(lines).count("A\\x1b[2J") == 2
    assert len(lines) < 24


def test_nothing_yet_is_shown_as_such() -> None:
    """The first second has no figures; no figure is made up for it."""
    assert "sent -  stored -  lag 0  newest row -" in view.plain(NOTHING_YET)
    assert "0.0%" in drawn(NOTHING_YET)


@pytest.mark.parametrize(("age_s", "shown"), [(0.123, "0.12 s"), (59.0, "59.00 s"), (7200.0, "120 min")])
def test_age_is_shown_in_a_unit_that_fits(age_s: float, shown: str) -> None:
    """A demo that goes on after a night begins with an old row."""
    scene = view.Scene(0.0, {}, {}, Figures(newest_age_s=age_s), ())

    assert f"newest row {shown} " in view.plain(scene)


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


def test_figure_that_cannot_be_asked_for_is_shown_as_such() -> None:
    """While PostgreSQL is stopped, the lag of a moment ago would look like a pipeline that works."""
    scene = replace(SCENE, figures=replace(SCENE.figures, lag=None, newest_age_s=None))

    assert "  lag -  newest row -  rows 60,123" in view.plain(scene)
    assert "12 " not in drawn(scene).splitlines()[2]
