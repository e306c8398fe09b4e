"""Looks after the topic while nothing is acknowledged: it may be gone, or be another one."""

import contextlib
from contextvars import copy_context
from threading import Thread

from common.errors import ConfigError
from common.runtime import StopFlag
from common.settings import Kafka
from common.topic import TopicState, ensure_topic


class TopicWatch:
    """
    Makes the topic again if somebody deleted it, and tells whether it is a new one since the last time.

    Args:
        kafka: Addresses and the topic.
        stop: Ends the waiting for a broker.
        state: The topic as it is now.
    """

    def __init__(self, kafka: Kafka, stop: StopFlag, state: TopicState | None) -> None:
        self._kafka = kafka
        self._stop = stop
        self._state = state
        self._is_new = False

    def look(self) -> None:
        """Look in a thread beside the schedule, since it waits for the broker; in context, so that its log says who."""
        Thread(target=copy_context().run, args=(self._look,), daemon=True).start()

    def take_news(self) -> bool:
        """Tell, once, that the topic is a new one: a client that knows the old one may wait for ever."""
        is_new, self._is_new = self._is_new, False
        return is_new

    def _look(self) -> None:
        with contextlib.suppress(ConfigError):  # what the sender meets itself says more
            state = ensure_topic(self._kafka, self._stop)
            if state is not None and state != self._state:
                self._state = state
                self._is_new = True
