"""Looks at the ledger while faults happen: how far it is, how long a partition stood still, how much waits."""

import contextlib
import time
from collections import defaultdict

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.pipeline import Database, Topic

PARTITIONS = 6
LOOK_S = 0.1  # the figures' resolution


class Watch:
    """
    Keeps the worst since the last `begin()`.

    `pause_s` is the longest time in which some partition stored nothing; `waiting` the most messages that were in
    Kafka and not yet in the database.
    """

    def __init__(self, topic: Topic, database: Database) -> None:
        self._topic, self._database = topic, database
        # It only asks for the log's ends, and is silent: it meets every death of the broker.
        self._kafka = Consumer(
            {"bootstrap.servers": topic.server.bootstrap_servers, "group.id": "soak", "log_level": 0}
        )
        self._ends: dict[int, int] = {}
        self.passed: dict[int, int] = {}
        self._advanced_at: defaultdict[int, float] = defaultdict(time.monotonic)
        self._began = 0.0
        self.pause_s = 0.0
        self.waiting = 0

    def begin(self) -> None:
        """Forget the worst so far."""
        self._began = time.monotonic()
        self.pause_s, self.waiting = 0.0, 0

    def look(self) -> None:
        """Look once, after a moment; a server that is away is looked at next time."""
        time.sleep(LOOK_S)
        try:
            passed = self._database.passed()
        except psycopg.Error:
            passed = self.passed
        with contextlib.suppress(KafkaException):
            self._ends = self.ends(timeout_s=1)
        now = time.monotonic()
        for partition in range(PARTITIONS):
            if passed.get(partition, 0) > self.passed.get(partition, 0):
                self._advanced_at[partition] = now
            self.pause_s = max(self.pause_s, now - max(self._advanced_at[partition], self._began))
        self.passed = passed
        self.waiting = max(self.waiting, self.waiting_now())

    def waiting_now(self) -> int:
        """Count the messages that Kafka holds and the ledger has not passed, as of the last look."""
        return sum(self._ends.values()) - sum(self.passed.values())

    def all_advanced_since(self, moment: float) -> bool:
        """Return whether every partition has stored something since."""
        return all(self._advanced_at[partition] > moment for partition in range(PARTITIONS))

    def ends(self, timeout_s: float = 10) -> dict[int, int]:
        """By partition, the offset that Kafka gives to the next record."""
        name = self._topic.name
        return {
            partition: self._kafka.get_watermark_offsets(TopicPartition(name, partition), timeout=timeout_s)[1]
            for partition in range(PARTITIONS)
        }
