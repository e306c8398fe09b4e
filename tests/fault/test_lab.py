"""The experiments of docs/lab.md on a real demo: they print what the page shows, and nothing is lost."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from local.postgres_programs import program
from local.waiting import wait_until
from tests.demo import Demo, copy_project
from tests.documents import ROOT, shape

pytestmark = [pytest.mark.integration, pytest.mark.fault]

PAGE: Final = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
SETTINGS: Final = {
    "HEARTBEAT_PRODUCER__EPISODES_PER_HOUR": "0",  # no alarms but that of the experiment
    "HEARTBEAT_CONSUMER__ALARM_OUTSIDE_S": "10",
}
SECTIONS: Final = {
    found[1]: section for section in PAGE.split("\n## ")[1:] if (found := re.search(r"make inject WHAT=(\w+)", section))
}
# Two demos at a time, each with half of the experiments.
GROUPS: Final = [("kill", "stall", "postgresql", "machine"), ("junk", "bomb", "clock", "disk", "topic", "heart")]


class Running:
    """A running demo, its output so far, and the programs that a person uses beside it."""

    def __init__(self, demo: Demo, output: Path) -> None:
        self.demo = demo
        self.output = output

    def inject(self, what: str) -> list[str]:
        """Run `make inject`'s command; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "demo.inject", what],
            cwd=self.demo.folder,
            env={**os.environ, **SETTINGS},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def psql(self, statement: str) -> set[str]:
        """Return the shapes of the lines that psql prints."""
        found = re.search(r"psql -h localhost -p (\d+) -U (\w+) -d (\w+)", self.output.read_text())
        assert found
        done = subprocess.run(
            [program("psql"), "-X", "-h", "127.0.0.1", "-p", found[1], "-U", found[2], "-d", found[3], "-c", statement],
            env={**os.environ, "PGPASSWORD": "admin"},
            capture_output=True,
            text=True,
            check=False,
        )
        return shapes(done.stdout.splitlines())


def shapes(lines: Sequence[str]) -> set[str]:
    """Return the lines' shapes, without a table's rule, whose length depends on the values."""
    return {shape(line) for line in lines if not re.fullmatch(r"[-+ ]*", line)}


@contextlib.contextmanager
def running(tmp_path: Path) -> Iterator[Running]:
    """Run the demo until the end of the block; it has to end well, with a ledger that balances."""
    output = tmp_path / "output"
    with output.open("wb") as file:
        demo = Demo(copy_project(tmp_path), file.fileno(), **SETTINGS)
    try:
        wait_until(lambda: re.search(r"stored [\d,]+/s", output.read_text()), 60, "the demo stores")
        yield Running(demo, output)
        demo.interrupt()
        code = demo.process.wait(60)
    finally:
        print("the demo said:", output.read_text())
        demo.interrupt(9)  # type: ignore[arg-type]  # SIGKILL
        demo.process.wait()
    assert code == 0
    assert "Kafka holds 0 more" in output.read_text()
    assert demo.running() == []


def test_page_has_ten_experiments_in_two_groups() -> None:
    assert sorted(SECTIONS) == sorted(what for group in GROUPS for what in group)
    assert len(SECTIONS) == 10


@pytest.mark.timeout(400)  # two minutes on a machine that does nothing else
@pytest.mark.parametrize("group", GROUPS, ids=["programs", "messages"])
def test_experiments_show_what_the_page_shows(tmp_path: Path, group: Sequence[str], subtests: pytest.Subtests) -> None:
    """A person compares the terminal with the page; at the end the demo itself checks every row."""
    with running(tmp_path) as pipeline:
        for what in group:
            with subtests.test(what):
                check(pipeline, what)


def check(pipeline: Running, what: str) -> None:
    """Do one experiment and compare each block of its section."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", SECTIONS[what], re.MULTILINE | re.DOTALL)
    begins = len(pipeline.output.read_text())
    (command,) = (block.splitlines() for language, block in blocks if language == "console")
    assert list(map(shape, pipeline.inject(what))) == list(map(shape, command[1:]))

    statement = ""
    for language, block in blocks:
        if language == "sql":
            statement = block
        elif language == "text":
            shown, asked = shapes(block.splitlines()), statement
            statement = ""

            def missing(shown: set[str] = shown, asked: str = asked) -> set[str]:
                said = pipeline.psql(asked) if asked else shapes(pipeline.output.read_text()[begins:].splitlines())
                return shown - said

            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not missing(), 40, every_s=0.5)
            assert missing() == set()
