"""What the tests on real servers work with: a topic, a database and the services as processes of their own."""

import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg.sql import SQL, Identifier

from local.kafka import KafkaServer
from local.postgres import PostgresServer
from local.service import Service
from local.waiting import wait_until

Row = tuple[str, datetime, int]  # customer, time, beats per minute


def heartbeats(count: int, *, customers: int = 100, seed: int = 7, start: datetime | None = None) -> list[Row]:
    """Make valid readings, each with a time of its own."""
    chance = random.Random(seed)
    first = start or datetime.now(UTC) - timedelta(minutes=1)
    return [
        (f"CUST-{n % customers + 1:06d}", first + timedelta(microseconds=17 * n), chance.randint(50, 120))
        for n in range(count)
    ]


def encode(row: Row) -> bytes:
    """Write a reading as the event's JSON."""
    return json.dumps({"customer_id": row[0], "timestamp": row[1].isoformat(), "heart_rate": row[2]}).encode()


@dataclass
class Topic:
    """A topic of one test's own."""

    server: KafkaServer
    name: str

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.server.bootstrap_servers})

    def create(self, partitions: int = 6, **config: str) -> None:
        topic = NewTopic(self.name, partitions, 1, config={"message.timestamp.type": "LogAppendTime", **config})
        wait_until(lambda: self._try_create(topic), what=f"topic {self.name} created")

    def _try_create(self, topic: NewTopic) -> bool:
        with contextlib.suppress(Exception):  # a deleted topic's name is free again after a moment
            admin = self.admin  # kept: answers to a client that is gone never come
            admin.create_topics([topic])[self.name].result()
            return True
        return False

    def delete(self) -> None:
        admin = self.admin
        admin.delete_topics([self.name])[self.name].result()

    def producer(self, **options: str | int | bool) -> Producer:
        return Producer({"bootstrap.servers": self.server.bootstrap_servers, "linger.ms": 5, **options})

    def send(self, messages: Iterable[tuple[bytes | None, bytes | None]], *, partition: int = -1) -> None:
        """Send keys and values; return when the broker has them all."""
        # Smaller batches than the client's own megabyte: a topic made by a service takes 256 KiB.
        producer = self.producer(**{"enable.idempotence": True, "batch.size": 200_000})
        failures: list[object] = []
        for key, value in messages:
            while True:
                try:
                    producer.produce(
                        self.name,
                        value,
                        key,
                        partition,
                        on_delivery=lambda error, _: failures.append(error) if error else None,
                    )
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
            producer.poll(0)
        assert producer.flush(30) == 0
        assert not failures

    def send_heartbeats(self, count: int, seed: int = 7) -> list[Row]:
        rows = heartbeats(count, seed=seed)
        self.send((row[0].encode(), encode(row)) for row in rows)
        return rows

    def ends(self, partitions: int = 6) -> dict[int, int]:
        """By partition, the offset its next record will get; a topic just made may have no leader for a moment."""
        return wait_until(lambda: self._try_ends(partitions) or {}, what=f"the ends of {self.name}")

    def _try_ends(self, partitions: int) -> dict[int, int] | None:
        client = Consumer({"bootstrap.servers": self.server.bootstrap_servers, "group.id": "tests"})
        try:
            return {
                p: client.get_watermark_offsets(TopicPartition(self.name, p), timeout=10)[1] for p in range(partitions)
            }
        except KafkaException:
            return None
        finally:
            client.close()


@dataclass
class Database:
    """A database of one test's own, with the schema."""

    server: PostgresServer
    name: str

    @property
    def conninfo(self) -> str:
        return self.server.conninfo(self.name)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.conninfo, autocommit=True)

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            cursor = connection.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def count(self) -> int:
        return int(self.query("SELECT count(*) FROM heartbeats")[0][0])

    def rows(self) -> list[Row]:
        return self.query('SELECT customer_id, "timestamp", heart_rate FROM heartbeats')

    def lost_and_surplus(self, sent: Iterable[tuple[Any, ...]]) -> tuple[list[Any], list[Any]]:
        """The first of the rows that are missing, and of those that are there twice or were never sent."""
        expected, stored = Counter(sent), Counter[tuple[Any, ...]](self.rows())
        return sorted((expected - stored).elements())[:9], sorted((stored - expected).elements())[:9]

    def rejected(self) -> list[tuple[Any, ...]]:
        return self.query('SELECT reason, key, payload FROM rejected_heartbeats ORDER BY partition, "offset"')

    def passed(self) -> dict[int, int]:
        """By partition of the newest generation, the next offset to read."""
        return dict(
            self.query(
                "SELECT partition, next_offset FROM kafka_ledger"
                " WHERE generation = (SELECT generation FROM kafka_topics ORDER BY first_seen_at DESC LIMIT 1)"
            )
        )

    def drop(self) -> None:
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(self.name)))


def start_service(arguments: Sequence[str], settings: Mapping[str, str], log: Path) -> Service:
    """Start a service as a person would: with these settings only, and warnings as errors."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HEARTBEAT_", "POSTGRESQL_"))}
    return Service(arguments[0], ("-m", *arguments), {**own, "PYTHONWARNINGS": "error", **settings}, log)


def is_stopped(service: Service) -> bool:
    """Return whether a SIGSTOP has taken effect."""
    return " T " in Path(f"/proc/{service.process.pid}/stat").read_text(encoding="utf-8")


def settings_for(topic: Topic, database: Database) -> dict[str, str]:
    """The environment that points a service at a test's own topic and database."""
    return {
        "HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS": topic.server.bootstrap_servers,
        "HEARTBEAT_KAFKA__TOPIC": topic.name,
        "HEARTBEAT_KAFKA__GROUP_ID": f"{topic.name}-consumer",
        "HEARTBEAT_POSTGRESQL__HOST": database.server.host,
        "HEARTBEAT_POSTGRESQL__PORT": str(database.server.port),
        "POSTGRESQL_USERNAME": database.server.superuser,
        "POSTGRESQL_PASSWORD": database.server.password,
        "POSTGRESQL_DATABASE": database.name,
        "HEARTBEAT_CONSUMER__METRICS_PORT": "0",
        "HEARTBEAT_CONSUMER__RETENTION_DAYS": "0",  # many tests store heartbeats of long ago
        "HEARTBEAT_PRODUCER__METRICS_PORT": "0",
    }


def where(database: Database) -> dict[str, str]:
    """The settings that point a service at a database of another server."""
    return {
        "HEARTBEAT_POSTGRESQL__PORT": str(database.server.port),
        "POSTGRESQL_PASSWORD": database.server.password,
        "POSTGRESQL_DATABASE": database.name,
    }
