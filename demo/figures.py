"""The figures of a running pipeline, read from Kafka and PostgreSQL."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import psycopg
from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from common.errors import OutageError, one_line

TIMEOUT_S: Final = 2.0
LOGS: Final = "See the logs of the servers, .local/demo/*/*.log."
PEOPLE: Final = 5  # whose heart rates are shown over time

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
SELECT heart_rate, count(*) FROM heartbeats
WHERE "timestamp" > now() - interval '5 seconds' AND "timestamp" <= now() GROUP BY 1
"""
OPEN_ALARMS: Final = "SELECT kind, count(*) FROM alarms WHERE ended_at IS NULL GROUP BY kind ORDER BY kind"
# Those of the people shown first, then the newest: of thousands, a picture has room for a few.
NEWEST_ALARMS: Final = """
SELECT customer_id, kind, started_at, value FROM alarms
WHERE ended_at IS NULL ORDER BY customer_id = ANY (%s) DESC, started_at DESC, customer_id, kind LIMIT 20
"""
ALARMS_EVER: Final = "SELECT kind, count(*), count(ended_at) FROM alarms GROUP BY kind"
# Asked only until five people are known.
FIRST_PEOPLE: Final = """
SELECT DISTINCT customer_id FROM heartbeats
WHERE "timestamp" > now() - interval '5 seconds' AND "timestamp" <= now() ORDER BY customer_id LIMIT 5
"""
# Averages of five seconds, as the search for alarms uses. The index on customer_id and timestamp finds the rows.
RATES: Final = """
SELECT customer_id, extract(epoch FROM date_bin('5 s', "timestamp", 'epoch') - now())::float AS at_s,
       avg(heart_rate)::float
FROM heartbeats
WHERE customer_id = ANY (%s) AND "timestamp" > now() - interval '3 minutes' AND "timestamp" <= now()
GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An open alarm."""

    customer: str
    kind: str
    since: datetime
    bpm: int  # when the alarm was opened


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at the pipeline."""

    stored: int = 0  # rows ever stored, by the ledger
    rejected: int = 0
    lag: int | None = 0  # messages in Kafka that the ledger has not passed; None: unknown
    latest: list[tuple[str, datetime, int]] = field(default_factory=list)  # customer, timestamp, bpm; newest first
    newest_age_s: float | None = None
    distribution: dict[int, int] = field(default_factory=dict)  # rows of the last 5 s, by bpm
    open_alarms: dict[str, int] = field(default_factory=dict)  # how many, by kind
    alarms: list[Alarm] = field(default_factory=list)  # those of the people in `rates`, then the newest
    # Of five people: by customer, pairs of seconds from now (negative) and bpm, of the last three minutes.
    rates: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


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
        self._shown: list[str] = []  # the five people, each in a place of their own
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        self._conninfo = conninfo
        self._connection = self._connect()
        self._alarms_before = self._alarms_ever()

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
        try:
            if self._connection.closed:  # PostgreSQL was away
                self._connection = self._connect()
            run = self._connection.execute
            latest = run(LATEST).fetchall()
            alarms = [Alarm(*row) for row in run(NEWEST_ALARMS, [self._shown]).fetchall()]
            first = [row[0] for row in run(FIRST_PEOPLE).fetchall()] if len(self._shown) < PEOPLE else []
            self._shown = choose(self._shown, list(dict.fromkeys(alarm.customer for alarm in alarms)), first)
            rates: dict[str, list[tuple[float, float]]] = {customer: [] for customer in self._shown}
            for customer, at_s, bpm in run(RATES, [self._shown]).fetchall():
                rates[customer].append((at_s, bpm))
            stored, rejected = run(TOTALS).fetchone() or (0, 0)
            return Figures(
                stored=stored,
                rejected=rejected,
                lag=self._lag(),
                latest=[(row[0], row[1], row[2]) for row in latest],
                newest_age_s=latest[0][3] if latest else None,
                distribution=dict(run(DISTRIBUTION).fetchall()),
                open_alarms=dict(run(OPEN_ALARMS).fetchall()),
                alarms=alarms,
                rates=rates,
            )
        except (psycopg.Error, KafkaException) as error:
            raise OutageError(
                f"cannot look at the pipeline: {one_line(error)}",
                hint=LOGS,
            ) from error

    def alarms_of_this_run(self) -> tuple[Counter[str], Counter[str]]:
        """
        Return by kind how many alarms were opened, and how many ended, since this object was made.

        Raises:
            OutageError: PostgreSQL does not answer.
        """
        try:
            opened, ended = self._alarms_ever()
        except psycopg.Error as error:
            raise OutageError(f"cannot count the alarms: {one_line(error)}", hint=LOGS) from error
        return opened - self._alarms_before[0], ended - self._alarms_before[1]

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._conninfo, autocommit=True)

    def _alarms_ever(self) -> tuple[Counter[str], Counter[str]]:
        rows = self._connection.execute(ALARMS_EVER).fetchall()
        return Counter({kind: count for kind, count, _ in rows}), Counter({kind: count for kind, _, count in rows})

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


def choose(shown: Sequence[str], in_alarm: Sequence[str], first: Sequence[str]) -> list[str]:
    """
    Return the five people to show: those in alarm before others, each at the place that they already have.

    Args:
        shown: The people shown so far. They stay if they are in alarm, or as long as no one in alarm needs the place.
        in_alarm: Distinct people in alarm, the most important first.
        first: Other people, for places that are still free.
    """
    waiting = [customer for customer in in_alarm if customer not in shown]
    chosen = [waiting.pop(0) if waiting and customer not in in_alarm else customer for customer in shown]
    free = [customer for customer in (*waiting, *first) if customer not in chosen]
    return (chosen + list(dict.fromkeys(free)))[:PEOPLE]
