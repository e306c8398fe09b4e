"""A chest strap's notifications, or a recorded file, become rows like any other heartbeat."""

import asyncio
import csv
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self

import pytest

from examples.real_heart.__main__ import MEASUREMENT, SERVICE, heart_rate, send
from local.waiting import wait_until
from tests.conftest import StartService
from tests.documents import ROOT
from tests.pipeline import Database, Topic

pytestmark = pytest.mark.integration

FOLDER: Final = ROOT / "examples" / "real_heart"
# As the specification has them: flags, rate of one or two bytes, then energy (bit 3) and intervals (bit 4) if any.
STREAM: Final = [
    ("0648", 72),  # contact
    ("104b2003", 75),  # no contact detection; an interval
    ("00ff", 255),
    ("012c01", 300),  # two bytes
    ("1f5000100020032103", 80),  # all of it
    ("0448", None),  # no contact
    ("0000", None),  # not measured yet
]


@pytest.mark.parametrize(("notification", "bpm"), STREAM)
def test_measurement_is_read_as_the_specification_has_it(notification: str, bpm: int | None) -> None:
    assert heart_rate(bytes.fromhex(notification)) == bpm


def test_example_is_short() -> None:
    """People read it before they trust it with their own heart."""
    lines = (FOLDER / "__main__.py").read_text(encoding="utf-8").splitlines()

    assert len([line for line in lines if line]) <= 60


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "`python -m examples.real_heart CUSTOMER strap|FILE.csv [BROKERS]`"),
        (("ME", "no.csv"), "cannot read no.csv: "),
        (("ME", "README.md"), "cannot read README.md: 'timestamp'\nHINT: "),
    ],
)
def test_mistake_gets_a_line_and_no_traceback(arguments: tuple[str, ...], line: str, topic: Topic) -> None:
    brokers = [topic.server.bootstrap_servers] if arguments else []
    command = [sys.executable, "-m", "examples.real_heart", *arguments, *brokers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert "Traceback" not in done.stderr


def test_file_becomes_rows(start: StartService, topic: Topic, database: Database) -> None:
    topic.create()
    path = FOLDER / "walk.csv"
    asyncio.run(send("ME", str(path), topic.server.bootstrap_servers, topic.name))
    start("consumer")
    with path.open(encoding="utf-8") as file:
        sent = [
            ("ME", datetime.fromisoformat(row["timestamp"]), int(row["heart_rate"])) for row in csv.DictReader(file)
        ]
    wait_until(lambda: database.count() == len(sent), what="the rows")

    assert database.lost_and_surplus(sent) == ([], [])


class Strap(ModuleType):
    """Stands in for `bleak`, which no machine without Bluetooth can use: a strap that sends the stream and is gone."""

    class BleakScanner:
        """Finds the strap by its service."""

        @staticmethod
        async def find_device_by_filter(is_wanted: Callable[[object, Any], bool], timeout: float) -> object:  # noqa: ASYNC109 - the library's signature
            seen = ModuleType("advertisement")
            seen.service_uuids = [SERVICE]  # type: ignore[attr-defined]  # a plain object
            return "strap" if timeout and is_wanted(None, seen) else None

    class BleakClient:
        """Notifies of all of the stream at once."""

        def __init__(self, _strap: object, disconnected_callback: Callable[[object], None]) -> None:
            self._gone = disconnected_callback

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def start_notify(self, characteristic: str, notify: Callable[[object, bytearray], None]) -> None:
            assert characteristic == MEASUREMENT
            for notification, _ in STREAM:
                notify(None, bytearray.fromhex(notification))
            self._gone(None)


def test_strap_becomes_rows(
    start: StartService, topic: Topic, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings without contact are left out, and the end of the connection ends the program."""
    topic.create()
    monkeypatch.setitem(sys.modules, "bleak", Strap("bleak"))
    asyncio.run(send("ME", "strap", topic.server.bootstrap_servers, topic.name))
    start("consumer")
    wait_until(lambda: database.count() == 5, what="the rows")

    assert sorted(rate for _, _, rate in database.rows()) == [72, 75, 80, 255, 300]


def test_readme_names_the_file_that_is_there() -> None:
    assert str(Path("examples") / "real_heart" / "walk.csv") in (FOLDER / "README.md").read_text(encoding="utf-8")
