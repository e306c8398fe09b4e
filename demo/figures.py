"""The figures of a running pipeline, read from Kafka and PostgreSQL."""

from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import psycopg
from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from common.errors import OutageError, one_line

TIMEOUT_S: Final = 2.0

LEDGER: Final = """
SELECT partition, next_offset
FROM kafka_ledger JOIN kafka_topics USING (generation)
WHERE generation = (SELECT generation FROM kafka_topics WHERE topic = %s ORDER BY first_seen_at DESC LIMIT 1)
"""
TOTALS: Final = "SELECT coalesce(sum(stored), 0)::bigint, coalesce(sum(rejected), 0)::bigint FROM kafka_ledger"
LATEST: Final = """
SELECT customer_id, "timestamp", heart_rate, extract(epoch FROM clock_timestamp() - "timestamp")::float
FROM heartbeats ORDER BY "timestamp" DESC LIMIT 10
"""
# Bounded on both sides, so that no other day's partition is looked into.
DISTRIBUTION: Final = """
SELECT heart_rate / 5 * 5, count(*) FROM heartbeats
WHERE "timestamp" > now() - interval '5 seconds' AND "timestamp" <= now() GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at the pipeline."""

    stored: int = 0  # rows ever stored, by the ledger
    rejected: int = 0
    lag: int = 0  # messages in Kafka that the ledger has not passed
    latest: list[tuple[str, datetime, int]] = field(default_factory=list)  # customer, timestamp, bpm; newest first
    newest_age_s: float | None = None
    distribution: dict[int, int] = field(default_factory=dict)  # rows of the last 5 s, by bpm in steps of 5


class Gauge:
    """
    Looks at the pipeline, over connections of its own.

    Args:
        bootstrap_servers: Kafka's address.
        conninfo: PostgreSQL's connection string.
        topic: Name of the topic.
    """

    def __init__(self, bootstrap_servers: str, conninfo: str, topic: str) -> None:
        self._topic = topic
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        self._connection = psycopg.connect(conninfo, autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def look(self) -> Figures:
        """
        Return the current figures.

        Raises:
            OutageError: Kafka or PostgreSQL does not answer, or there is no topic yet.
        """
        run = self._connection.execute
        try:
            latest = run(LATEST).fetchall()
            stored, rejected = run(TOTALS).fetchone() or (0, 0)
            return Figures(
                stored=stored,
                rejected=rejected,
                lag=self._lag(),
                latest=[(row[0], row[1], row[2]) for row in latest],
                newest_age_s=latest[0][3] if latest else None,
                distribution=dict(run(DISTRIBUTION).fetchall()),
            )
        except (psycopg.Error, KafkaException) as error:
            raise OutageError(
                f"cannot look at the pipeline: {one_line(error)}",
                hint="See the logs of the servers, .local/demo/*/*.log.",
            ) from error

    def _lag(self) -> int:
        found = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=TIMEOUT_S)
        partitions = range(len(found[self._topic].result().partitions))
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library leaves it without types
        asked = {TopicPartition(self._topic, partition): latest for partition in partitions}
        answers = self._admin.list_offsets(asked, request_timeout=TIMEOUT_S)
        ends = {place.partition: answer.result().offset for place, answer in answers.items()}
        passed: dict[int, int] = dict(
            self._connection.execute(LEDGER, [self._topic]).fetchall()
        )  # read last: lag is never too small
        return sum(max(end - passed.get(partition, 0), 0) for partition, end in ends.items())
