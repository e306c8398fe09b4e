"""The project's own services as child processes, and the events that they log as JSON lines."""

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from common.text import visible
from local.child import Child
from local.errors import LocalServerError

ROOT: Final = Path(__file__).resolve().parent.parent
STOP_GRACE_S: Final = 40.0  # longer than the producer waits for its last acknowledgements (20 s)
FRESH_S: Final = 2.5  # an event older than this is not current; each comes once a second
TAIL_BYTES: Final = 1024 * 1024  # of the log, read for the current events: thousands of alarms may stand behind one
LAST_LINES: Final = 12
LOG_BYTES: Final = 64 * 1024**2  # four days of a line a second; arbitrary


class Service:
    """
    A running service; it ends at the latest when this process ends.

    Args:
        name: For people.
        arguments: Python's, such as `-m producer`.
        environment: Its whole environment.
        log: File for its output. An older one is deleted, and the one beside it from `bound_log`.
        keep_fds: Descriptors it inherits, such as a lock that is to be held until it has ended.
    Raises:
        LocalServerError: It cannot be started.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        keep_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._older_log = log.with_name(f"{log.name}.1")
        for older in (log, self._older_log):
            older.unlink(missing_ok=True)
        self._command = [sys.executable, *arguments]
        self._environment = environment
        self._keep_fds = keep_fds
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """
        Start it again after its end; its log continues.

        Raises:
            LocalServerError: It cannot be started.
        """
        with self.log.open(
            "ab"
        ) as output:  # appending, so that it goes on at the beginning once `bound_log` empties it
            self.process = Child(self._command, output=output, keep_fds=self._keep_fds, cwd=ROOT, env=self._environment)

    def text(self) -> str:
        """Return all that it has written."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def events(self, name: str | None = None) -> Iterator[dict[str, Any]]:
        """Return all events it has logged, oldest first; only those of this name if one is given."""
        events = map(parse, self.text().splitlines())
        return (event for event in events if event and (name is None or event["event"] == name))

    def latest(self, name: str) -> Mapping[str, Any]:
        """Return the last event of this name; empty if none was logged within the last `FRESH_S` seconds."""
        for line in reversed(self._tail()):
            if (event := parse(line)) and event["event"] == name:
                age = datetime.now(UTC) - datetime.fromisoformat(event["timestamp"])
                return event if age.total_seconds() < FRESH_S else {}
        return {}

    def said(self) -> str:
        """Return its last lines, indented, readable."""
        return "".join(f"\n    {readable(line)}" for line in self._tail()[-LAST_LINES:]) or " nothing"

    def bound_log(self) -> None:
        """
        Copy a log of more than `LOG_BYTES` to a file beside it, which is overwritten, and empty it.

        To be called now and then. Lines that are written between the two steps are lost.
        """
        if self.log.stat().st_size > LOG_BYTES:
            shutil.copyfile(self.log, self._older_log)
            os.truncate(self.log, 0)

    def check(self) -> None:
        """
        Check that it runs.

        Raises:
            LocalServerError: It has ended by itself; the message ends with its last lines.
        """
        if (code := self.process.poll()) is not None:
            raise LocalServerError(
                f"the {self.name} ended by itself, exit code {code}; its last lines:{self.said()}",
                hint="Fix what it reports; settings are in config.yml, .env and HEARTBEAT_... variables.",
            )

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.process.poll() is None:
                os.kill(self.process.pid, number)

    def wait(self, within_s: float = 30.0) -> int:
        """
        Wait for its end and return its exit code; 128 + N: ended by signal N.

        Raises:
            TimeoutError: It still runs after `within_s` seconds.
        """
        return self.process.wait(within_s)

    def stop(self, grace_s: float = STOP_GRACE_S) -> int:
        """Send SIGTERM, SIGKILL after `grace_s` seconds, wait for its end and return its exit code."""
        return self.process.stop(signal.SIGTERM, grace_s=grace_s)

    def end(self) -> None:
        """Kill it if it still runs, and wait until nothing of it is left."""
        self.process.stop(signal.SIGKILL, grace_s=0)

    def _tail(self) -> list[str]:
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()


def parse(line: str) -> dict[str, Any] | None:
    """Return the line's event with its fields; None if it is no event, but a traceback or a warning."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and "event" in fields else None


def readable(line: str) -> str:
    """Return a line of a log as one for people: of an event its level, name and fields, of any other its text."""
    if (event := parse(line)) is None:
        return visible(line)
    hidden = ("event", "level", "timestamp", "service")
    values = " ".join(f"{name}={value}" for name, value in event.items() if name not in hidden)
    return visible(f"{event.get('level', '')}: {event['event']} {values}".rstrip())
