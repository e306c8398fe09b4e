"""What benchmarks run on: Kafka, PostgreSQL and our services as processes of this machine, and what they cost."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg.sql import SQL, Identifier

from benchmarks.cost import cpu_s
from common.settings import Options
from local.kafka import KafkaServer
from local.postgres import PostgresServer
from local.schema import apply_schema
from local.service import Service
from local.waiting import wait_until
from producer.data_generator import HeartRates
from producer.encoding import Encoder, Messages
from store.row_id import pack

DATABASE: Final = "benchmark"
PLACE: Final = os.environ.get("BENCHMARK_DIR")  # where large data goes
PARTITIONS: Final = 6
# A server that is told how much memory it has, and to write checkpoints by time: as on a machine of its own.
POSTGRES: Final = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min"}
FIRST_FILLED: Final = pack(100, 0, 0)  # ids from here on, of a generation that no topic of ours gets, fill the table
EMPTY: Final = (
    "TRUNCATE rejected_heartbeats, kafka_ledger, kafka_topics, heartbeats_touched, heartbeats_outdated,"
    " heartbeats_per_minute, heartbeats_per_customer, heartbeats_fleet, alarms, alarm_people, alarm_positions"
)

# In order of time, as they arrive.
FILL: Final = """
INSERT INTO heartbeats (id, "timestamp", heart_rate, customer_id)
SELECT %(id)s + n, %(begins)s + n * ((%(ends)s::timestamptz - %(begins)s) / %(rows)s), 60 + n %% 41,
       'CUST-' || lpad((n %% 1000 + 1)::text, 6, '0')
FROM generate_series(%(first)s::bigint, %(last)s) AS n
"""
FILL_AT_ONCE: Final = 5_000_000
# What a full table got in the run before stays there: the topic's next generation begins elsewhere.
NEXT_GENERATION: Final = "INSERT INTO kafka_topics (generation, topic_id, topic) VALUES (%s, 'the run before', '')"
# Days that begin where the table's filling ends, or later.
FRESH_PARTITIONS: Final = """
SELECT relid::regclass::text FROM pg_partition_tree('heartbeats')
WHERE isleaf AND relid::regclass::text
    >= 'heartbeats_' || to_char((%s + interval '1 day' - interval '1 us') AT TIME ZONE 'UTC', 'YYYYMMDD')
"""
COUNT: Final = SQL("SELECT count(*) FROM {} WHERE id >= %s AND id < %s")
PASSED: Final = "SELECT coalesce(sum(next_offset - start_offset), 0) FROM kafka_ledger"


@dataclass
class Stack:
    """Both servers, a database with the schema, and the services started on them."""

    kafka: KafkaServer
    postgres: PostgresServer
    connection: psycopg.Connection
    logs: Path
    database: str = DATABASE
    table: str = "heartbeats"
    full_until: datetime | None = None  # rows from before stay from one measurement to the next
    generation: int = 1
    services: list[Service] = field(default_factory=list)

    def empty(self) -> None:
        """Empty all tables of what was measured, and have nothing to do left that would fall into what follows."""
        self.connection.execute(EMPTY)
        if self.full_until is not None:
            self.connection.execute(NEXT_GENERATION, [self.generation])
            self.generation += 1
            for (name,) in self.connection.execute(FRESH_PARTITIONS, [self.full_until]).fetchall():
                self.connection.execute(f"TRUNCATE {name}")
        else:
            self.connection.execute(SQL("TRUNCATE {}").format(Identifier(self.table)))
        self.connection.execute("CHECKPOINT")

    @contextmanager
    def beside(self, rows: int, begins: datetime, ends: datetime) -> Iterator["Stack"]:
        """Yield a database of its own on the same servers, whose table holds so many rows of this time, which stay."""
        name = f"{DATABASE}_since_{begins:%Y%m%d}"
        given = {"rows": rows, "begins": begins, "ends": ends, "id": FIRST_FILLED}
        with open_database(self.postgres, name) as connection:

            def fill(first: int) -> None:
                with psycopg.connect(self.postgres.conninfo(name), autocommit=True) as session:
                    session.execute(FILL, {**given, "first": first, "last": min(first + FILL_AT_ONCE, rows) - 1})

            for day in range((ends - begins).days + 1):
                connection.execute("SELECT make_heartbeats_partition(%s)", [(begins + timedelta(days=day)).date()])
            with ThreadPoolExecutor(os.cpu_count()) as sessions:
                list(sessions.map(fill, range(0, rows, FILL_AT_ONCE)))
            connection.execute("VACUUM ANALYZE heartbeats")
            yield Stack(self.kafka, self.postgres, connection, self.logs, name, full_until=ends, services=self.services)

    def count(self) -> int:
        """Return how many rows were stored since the table was emptied."""
        first, end = pack(self.generation, 0, 0), pack(self.generation + 1, 0, 0)
        row = self.connection.execute(COUNT.format(Identifier(self.table)), (first, end)).fetchone()
        return int(row[0]) if row else 0

    def make_topic(self, name: str, messages: Iterable[Messages], partitions: int = PARTITIONS) -> int:
        """Make a topic and fill it with blocks of messages; return how many they are."""
        options: Options = {"bootstrap.servers": self.kafka.bootstrap_servers}
        admin = AdminClient(options)  # kept: what it was asked ends with it
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result()
        producer = Producer(
            {**options, "partitioner": "murmur2_random", "compression.type": "lz4", "linger.ms": 5,
             "enable.idempotence": True, "queue.buffering.max.messages": 1_000_000}
        )  # fmt: skip
        count = 0
        for block in messages:
            while len(producer) > 900_000:
                producer.poll(0.01)
            count += producer.produce_batch(name, block)
        producer.flush()
        return count

    def environment(self, topic: str, **settings: str) -> dict[str, str]:
        """Return the environment that points a service at these servers."""
        return {
            **os.environ,
            "HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "HEARTBEAT_KAFKA__TOPIC": topic,
            "HEARTBEAT_KAFKA__GROUP_ID": f"{topic}-consumer",
            "HEARTBEAT_POSTGRESQL__HOST": self.postgres.host,
            "HEARTBEAT_POSTGRESQL__PORT": str(self.postgres.port),
            "HEARTBEAT_CONSUMER__METRICS_PORT": "0",
            "HEARTBEAT_PRODUCER__METRICS_PORT": "0",
            "HEARTBEAT_LOGGING__FORMAT": "json",
            "POSTGRESQL_USERNAME": self.postgres.superuser,
            "POSTGRESQL_PASSWORD": self.postgres.password,
            "POSTGRESQL_DATABASE": self.database,
            **settings,
        }

    def start(self, name: str, topic: str, **settings: str) -> Service:
        """Start a service on a topic."""
        log = self.logs / f"{name}-{len(self.services)}.log"
        service = Service(name, ("-m", name), self.environment(topic, **settings), log)
        self.services.append(service)
        return service

    def passed(self) -> int:
        """Return how many offsets the ledger has passed."""
        row = self.connection.execute(PASSED).fetchone()
        return int(row[0]) if row else 0

    def wait_for(
        self,
        rows: float,
        services: Sequence[Service],
        passed: Callable[[], int] | None = None,
        within_s: float = 3600,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait until the ledger (or `passed`) counts `rows` messages; check the services, and call `meanwhile`."""

        def are_stored() -> bool:
            for service in services:
                service.check()
            meanwhile()
            return (passed or self.passed)() >= rows

        wait_until(are_stored, within_s)

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds that each server has used so far."""
        return {"broker": cpu_s(self.kafka.pid), "PostgreSQL": cpu_s(self.postgres.pid)}


@contextmanager
def stack(postgres: Mapping[str, str] = POSTGRES) -> Iterator[Stack]:
    """Start both servers in a temporary folder and stop them, and whatever was started on them, at the end."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="heartbeat-benchmark-", dir=PLACE)))
        folder.chmod(0o755)
        database = held.enter_context(PostgresServer(folder / "postgres", settings=postgres))
        kafka = held.enter_context(KafkaServer(folder / "kafka"))
        connection = held.enter_context(open_database(database, DATABASE))
        running = Stack(kafka, database, connection, folder)
        try:
            yield running
        finally:
            for service in running.services:
                service.end()


@contextmanager
def open_database(server: PostgresServer, name: str) -> Iterator[psycopg.Connection]:
    """Make a database with the schema, and return a connection to it."""
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    apply_schema(server, name)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        yield connection


def readings(count: int, customers: int, seed: int = 1, days_ago: Sequence[int] = (0,)) -> Iterator[Messages]:
    """
    Yield `count` messages as the producer would send them, one second of all customers after the other, up to now.

    With several `days_ago`, each second is that of another day, in turn.
    """
    rates, encoder = HeartRates(customers, 1.0, seed), Encoder(customers)
    seconds = -(-count // customers)
    start = datetime.now(UTC) - timedelta(seconds=seconds)
    days = [timedelta(days=ago) for ago in days_ago]
    block = min(customers, 1000)
    for second in range(seconds):
        for first in range(0, customers, block):
            last = min(first + block, customers, first + count)
            at = start + timedelta(seconds=second + first / customers) - days[second % len(days)]
            messages = encoder.encode(first, rates.read(first, last).tolist(), at)[:count]
            count -= len(messages)
            if messages:
                yield messages
