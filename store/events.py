"""
Events of the pipeline, such as an outage or a rebalance, for dashboards and alert rules: the table `pipeline_events`.

The threads that store rows only append to a list in memory. Maintenance writes it to the database.
"""

import socket
import threading
import time
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID, uuid4

import structlog

from common.text import visible
from store.metrics import EVENTS_DROPPED
from store.session import Session
from store.steps import Done

WRITE_EVERY_S: Final = 2.0
MOST_WAITING: Final = 1000  # events in memory, arbitrary: an outage of hours causes tens
SOURCE_LENGTH, DETAIL_LENGTH = 100, 500  # the table's limits

# Times are sent as ages, and the database subtracts them from its own clock. The id makes a second attempt harmless if
# the outcome of the first one's COMMIT is unknown.
WRITE: Final = """
INSERT INTO pipeline_events (id, started_at, ended_at, kind, source, detail)
SELECT id, statement_timestamp() - began_ago_s * interval '1 s', statement_timestamp() - ended_ago_s * interval '1 s',
       kind, %(source)s, detail
FROM unnest(%(ids)s::uuid[], %(began_ago_s)s::float8[], %(ended_ago_s)s::float8[], %(kinds)s::text[],
            %(details)s::text[]) AS waiting (id, began_ago_s, ended_ago_s, kind, detail)
ON CONFLICT DO NOTHING
"""

Kind = Literal["started", "stopped", "rebalance", "fenced", "outage", "maintenance_failed"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Times are monotonic, in seconds; `ended_s` is None if it has no duration."""

    kind: Kind
    detail: str | None
    began_s: float
    ended_s: float | None


class Events:
    """
    Events that are not in the database yet. Any thread may call the methods; none of them waits for a server.

    Args:
        service: The service's name.
    """

    def __init__(self, service: str) -> None:
        self.source = visible(f"{service} {socket.gethostname()}")[:SOURCE_LENGTH]
        self._waiting: dict[UUID, Event] = {}  # oldest first
        self._lock = threading.Lock()
        self._is_full = False

    def add(self, kind: Kind, detail: str | None = None, *, began_s: float | None = None) -> None:
        """
        Note an event that has just happened, or, with `began_s` (monotonic), one that has just ended.

        If too many wait, the oldest one is dropped and counted, with one log line until all have been written.
        """
        now = time.monotonic()
        text = None if detail is None else visible(detail)[:DETAIL_LENGTH]
        event = Event(kind, text, now, None) if began_s is None else Event(kind, text, began_s, now)
        with self._lock:
            is_first_loss = False
            if len(self._waiting) >= MOST_WAITING:
                del self._waiting[next(iter(self._waiting))]
                EVENTS_DROPPED.inc()
                is_first_loss, self._is_full = not self._is_full, True
            self._waiting[uuid4()] = event
        if is_first_loss:
            structlog.get_logger().warning(
                "oldest events of the pipeline dropped",
                most=MOST_WAITING,
                hint="No heartbeat is affected. PostgreSQL is away, or a line `maintenance failed` says why they wait.",
            )

    @property
    def waiting(self) -> dict[UUID, Event]:
        """Return the events that are not known to be in the database, by id."""
        with self._lock:
            return dict(self._waiting)

    def forget(self, ids: dict[UUID, Event]) -> None:
        """Forget events that are in the database."""
        with self._lock:
            for one in ids:
                self._waiting.pop(one, None)
            self._is_full = self._is_full and bool(self._waiting)


def write_events(session: Session, events: Events) -> Done:
    """
    Write the waiting events to the database, a step of maintenance.

    Raises:
        OutageError, ConfigError: As `Session.run`.
    """
    if waiting := events.waiting:
        found = waiting.values()

        def given() -> dict[str, object]:
            now = time.monotonic()
            return {
                "source": events.source,
                "ids": list(waiting),
                "began_ago_s": [now - event.began_s for event in found],
                "ended_ago_s": [None if event.ended_s is None else now - event.ended_s for event in found],
                "kinds": [event.kind for event in found],
                "details": [event.detail for event in found],
            }

        session.run("write the events of the pipeline", lambda connection: connection.execute(WRITE, given()))
        events.forget(waiting)
    return Done.ALL
