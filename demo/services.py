"""The project's own services as child processes, and what they say of themselves on stdout, as JSON lines."""

import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from common.text import visible
from local.child import Child
from local.errors import LocalServerError

ROOT: Final = Path(__file__).resolve().parent.parent
DATA: Final = ROOT / ".local" / "demo"  # git-ignored; the next run goes on with it
STOP_GRACE_S: Final = 40.0  # longer than the producer waits for its last acknowledgements (20 s)
FRESH_S: Final = 2.5  # an event older than this says nothing about now; each comes once a second
LAST_LINES: Final = 12

PRODUCER: Final = ("-m", "producer")
# Who takes the heartbeats from Kafka to PostgreSQL, by name.
ENGINES: Final[Mapping[str, Sequence[str]]] = {"consumer": ("-m", "consumer"), "spark": ("-m", "local.spark")}
VERIFY: Final = ("-m", "consumer", "verify", "--full")


class Service:
    """
    One service that runs until it is stopped.

    Args:
        name: For people.
        arguments: Python's, such as `-m producer`.
        environment: Its whole environment.
        keep_fds: Descriptors it inherits: a lock that is to be held until it has ended.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], *, keep_fds: Sequence[int]
    ) -> None:
        self.name = name
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._events: dict[str, tuple[float, dict[str, Any]]] = {}
        reader, writer = os.pipe()
        try:
            self._child = Child(
                [sys.executable, *arguments],
                output=writer,
                keep_fds=keep_fds,
                cwd=ROOT,
                env=environment,
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self._listener = threading.Thread(target=self._listen, args=(reader,), name=f"{name} log", daemon=True)
        self._listener.start()

    def latest(self, event: str) -> Mapping[str, Any]:
        """Give the last event of this name, with its fields; empty if there is none of the last seconds."""
        at, fields = self._events.get(event, (0.0, {}))
        return fields if time.monotonic() - at < FRESH_S else {}

    def check(self) -> None:
        """
        See that it runs.

        Raises:
            LocalServerError: It has ended by itself; the message ends with what it said last.
        """
        if (code := self._child.poll()) is not None:
            self._listener.join(1)
            raise LocalServerError(
                f"the {self.name} ended by itself, exit code {code}; it said last:{self.said()}",
                hint="Mend what it says; settings are in config.yml, .env and HEARTBEAT_... variables.",
            )

    def said(self) -> str:
        """Give its last lines, indented, readable."""
        return "".join(f"\n    {line}" for line in self._lines) or " nothing"

    def stop(self, grace_s: float = STOP_GRACE_S) -> int:
        """Send SIGTERM, SIGKILL after `grace_s` seconds, wait for its end and give its exit code."""
        code = self._child.stop(signal.SIGTERM, grace_s=grace_s)
        self._listener.join(1)
        return code

    def _listen(self, reader: int) -> None:
        with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    fields = json.loads(line)
                    event = str(fields.pop("event"))
                except (ValueError, KeyError, AttributeError, TypeError):  # no event: a traceback, a warning
                    self._lines.append(visible(line.rstrip()))
                    continue
                self._events[event] = (time.monotonic(), fields)
                self._lines.append(readable(event, fields))


def readable(event: str, fields: Mapping[str, Any]) -> str:
    """Give an event as one line for people: its level, its words, its values."""
    values = " ".join(
        f"{name}={value}" for name, value in fields.items() if name not in ("level", "timestamp", "service")
    )
    return visible(f"{fields.get('level', '')}: {event} {values}".rstrip())
