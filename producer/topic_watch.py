"""Checks the topic while nothing is acknowledged: it may have been deleted or re-created."""

import contextlib
import time
from contextvars import copy_context
from threading import Thread
from typing import Final

from common.errors import ConfigError
from common.runtime import StopFlag
from common.settings import Kafka
from common.topic import TopicState, ensure_topic

PATIENCE_S: Final = 5.0  # for the client to find the new topic by itself; it looks about once a second


class TopicWatch:
    """
    Creates the topic again if it was deleted, and detects that it was re-created.

    Args:
        kafka: Addresses and the topic.
        stop: Ends the waiting for a broker.
        state: The topic as it is now.
    """

    def __init__(self, kafka: Kafka, stop: StopFlag, state: TopicState | None) -> None:
        self._kafka = kafka
        self._stop = stop
        self._state = state
        self._new_since: float | None = None

    def look(self) -> None:
        """Check the topic in a thread, since that waits for the broker; its log lines keep our context."""
        Thread(target=copy_context().run, args=(self._look,), daemon=True).start()

    def wants_new_client(self, *, is_stuck: bool) -> bool:
        """
        Return True, once, if the client waits for a topic that no longer exists.

        Usually it finds the new one by itself. It does not when the new one's leader epoch is lower than the old one's,
        as after the loss of Kafka's volume.
        """
        since = self._new_since
        if since is None:
            return False
        waited = time.monotonic() - since > PATIENCE_S
        if waited or not is_stuck:
            self._new_since = None
        return waited and is_stuck

    def _look(self) -> None:
        with contextlib.suppress(ConfigError):  # the sender's own error says more
            state = ensure_topic(self._kafka, self._stop, self._state)
            if state is None:
                return
            # Partitions that were added are found by the client itself; a new client would drop messages in flight.
            is_another = self._state is None or state.topic_id != self._state.topic_id
            self._state = state
            if is_another:
                self._new_since = time.monotonic()
