"""One server's outages: logged at the start, at a new cause and every ten seconds; retried after growing pauses."""

import random
import time
from typing import Final

import structlog

from common.errors import HeartbeatError
from store.events import Events
from store.metrics import RETRIES

REPEAT_S: Final = 10.0
SETTLED_S: Final = 5.0
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 2.0


class Outage:
    """
    A server's state: whether it is away, since when, and when to retry.

    Args:
        server: Its name in the log and in the metric `heartbeat_consumer_retries_total`.
        events: Gets each outage after it has ended.
    """

    def __init__(self, server: str, events: Events) -> None:
        self._server = server
        self._events = events
        self._cause = ""
        self._error: HeartbeatError | None = None
        self._began = self._told = 0.0
        self._retry_at = 0.0
        self._retry_s = FIRST_RETRY_S

    @property
    def wait_s(self) -> float:
        """Return the seconds until the next retry; 0 if it may happen now."""
        return max(0.0, self._retry_at - time.monotonic())

    @property
    def is_settled(self) -> bool:
        """
        Return whether the server is not away, or has not failed in the seconds since it could be retried.

        Right after a failure, an idle loop only means that there was no retry yet.
        """
        return self._error is None or time.monotonic() - self._retry_at > SETTLED_S

    def report(self, error: HeartbeatError) -> None:
        """Log a failure, unless the same one was logged within the last ten seconds, and double the pause."""
        RETRIES.labels(self._server).inc()
        now = time.monotonic()
        self._retry_at = now + self._retry_s * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
        if self._error is None:
            self._began, self._cause = now, error.message
        elif self._error.message == error.message and now - self._told < REPEAT_S:
            return
        self._error, self._told = error, now
        waiting_s = round(now - self._began)
        structlog.get_logger().warning("server unavailable", server=self._server, **error.fields, waiting_s=waiting_s)

    def note_success(self) -> None:
        """Note that the server works; log it if it was away."""
        self._retry_s = FIRST_RETRY_S
        if self._error is not None:
            after_s = round(time.monotonic() - self._began, 1)
            structlog.get_logger().info("recovered", server=self._server, after_s=after_s)
            self._events.add("outage", f"{self._server}: {self._cause}", began_s=self._began)
            self._error = None
