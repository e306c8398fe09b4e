"""Detects that Kafka's client no longer delivers records that the log holds; the client itself does not say so."""

import time
from collections.abc import Mapping
from typing import Final

from common.topic import TopicAdmin
from consumer.errors import MembershipLostError

IDLE_S: Final = 10.0  # without a record; then the log's end is asked for
ASK_EVERY_S: Final = 5.0
PATIENCE_S: Final = 60.0  # as long as librdkafka itself waits for the answer to a fetch (socket.timeout.ms)


class Delivery:
    """
    Compares positions that do not move with the ends of the logs, which another client asks for.

    Seen with librdkafka 2.16 after a broker that had frozen for seconds: the client polled on, without a connection and
    without an error, and the last end that it knew said that nothing was left to read.
    """

    def __init__(self, admin: TopicAdmin) -> None:
        self._admin = admin
        self._moved: dict[int, tuple[int, float]] = {}  # by partition, its position and since when it has it
        self._waiting: dict[int, float] = {}  # partitions with more records, and since when that is known
        self._ask_at = self._checked_at = 0.0

    def check(self, positions: Mapping[int, int]) -> None:
        """
        Check the partitions that are being read, without waiting for an answer.

        Args:
            positions: By partition, the offset of the next record.
        Raises:
            MembershipLostError: Records have waited for a minute, and the client has delivered none of them.
        """
        now = time.monotonic()
        if now - self._checked_at > PATIENCE_S:  # nothing was read meanwhile, such as in an outage of PostgreSQL
            self._moved, self._waiting = {}, {}
        self._checked_at = now
        before = self._moved
        self._moved = {
            partition: before[partition] if before.get(partition, (-1,))[0] == at else (at, now)
            for partition, at in positions.items()
        }
        idle = [partition for partition, (_, since) in self._moved.items() if now - since > IDLE_S]
        self._waiting = {partition: since for partition, since in self._waiting.items() if partition in idle}
        if idle and now >= self._ask_at:
            self._ask_at = now + ASK_EVERY_S
            for partition, end in self._admin.poll_ends(idle).items():
                if partition in idle and end > positions[partition]:
                    self._waiting.setdefault(partition, now)
        for partition, since in self._waiting.items():
            if now - since > PATIENCE_S:
                raise MembershipLostError(
                    f"no record of partition {partition} for {PATIENCE_S:g} s, although Kafka holds more from offset"
                    f" {positions[partition]} on",
                    hint="Kafka's client has stopped to deliver. The consumer joins again with a new client.",
                )
