"""The search for alarms, a step of maintenance."""

import threading
import time
from typing import Final

import structlog

from common.settings import Consumer
from store.session import Session
from store.steps import LONGEST_S, Done

EVERY_S: Final = 2.0  # five seconds of heartbeats are looked at soon after they are complete
# More records than this wait only in a backlog. Storing them comes first: a run then looks at five seconds of event
# time and no more, which is still faster than time passes. Only what a consumer is about to store counts: an abandoned
# topic's last lag stays in the database. Consumers note the ends of the logs every 5 s.
BACKLOG: Final = 50_000
LOOK: Final = """
SELECT windows, changed, (
    SELECT coalesce(sum(records), 0) FROM kafka_lag()
    WHERE seen_at > now() - interval '30 s'
      AND topic IN (SELECT topic FROM kafka_topics WHERE table_name = 'heartbeats')
)
FROM look_for_alarms(%s, %s, %s, %s)
"""


def look(session: Session, limits: Consumer, stop: threading.Event) -> Done:
    """
    Open and close alarms: five seconds of event time in each transaction, until none are left.

    Raises:
        OutageError, ConfigError: As `Session.run`.
    """
    given = (limits.alarm_silent_s, limits.alarm_outside_s, limits.alarm_outside_bpm, limits.alarm_stuck_s)
    if not (limits.alarm_silent_s or limits.alarm_outside_s or limits.alarm_stuck_s):
        return Done.ALL
    until = time.monotonic() + LONGEST_S
    while True:
        row = session.run("look for alarms", lambda connection: connection.execute(LOOK, given).fetchone())
        windows, changed, waiting = row or (None, None, 0)
        for alarm in changed or ():
            structlog.get_logger().info("alarm closed" if alarm["ended_at"] else "alarm opened", **alarm)
        if not windows:
            return Done.NOT_OURS if windows is None else Done.ALL
        if waiting > BACKLOG:
            return Done.LATER
        if stop.is_set() or time.monotonic() >= until:
            return Done.PART
