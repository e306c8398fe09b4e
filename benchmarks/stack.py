"""What benchmarks run on: Kafka, PostgreSQL and our services as processes of this machine, and what they cost."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import psutil
import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from common.settings import Options
from local.kafka import KafkaServer
from local.postgres import PostgresServer
from producer.data_generator import HeartRates
from producer.encoding import Encoder, Messages

ROOT: Final = Path(__file__).resolve().parent.parent
DATABASE: Final = "benchmark"
PLACE: Final = os.environ.get("BENCHMARK_DIR")  # where large data goes
PARTITIONS: Final = 6
# A server that is told how much memory it has, and to write checkpoints by time: as on a machine of its own.
POSTGRES: Final = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min"}
FIRST_FILLED: Final = 100 << 56  # ids from here on, of a generation that no topic of ours gets, fill the table
EMPTY: Final = (
    "TRUNCATE rejected_heartbeats, kafka_ledger, kafka_topics, heartbeats_touched, heartbeats_per_minute,"
    " heartbeats_per_customer, heartbeats_fleet"
)

FILL: Final = """
INSERT INTO heartbeats (id, "timestamp", heart_rate, customer_id)
SELECT %(id)s + n, date_trunc('day', now()) + n * interval '1 day' / %(rows)s, 60 + n %% 41,
       'CUST-' || lpad((n %% 1000 + 1)::text, 6, '0')
FROM generate_series(%(first)s::bigint, %(last)s) AS n
"""
FILL_AT_ONCE: Final = 5_000_000
PASSED: Final = "SELECT coalesce(sum(next_offset - start_offset), 0) FROM kafka_ledger"


@dataclass
class Stack:
    """Both servers, one database with the schema, and the services started on them."""

    kafka: KafkaServer
    postgres: PostgresServer
    connection: psycopg.Connection
    logs: Path
    filled: int = 0  # rows that stay in the table from one measurement to the next
    services: list["Service"] = field(default_factory=list)

    def empty(self) -> None:
        """Empty all tables of what was measured, and have nothing to do left that would fall into what follows."""
        self.connection.execute(EMPTY)
        if self.filled:
            self.connection.execute("DELETE FROM heartbeats WHERE id < %s", [FIRST_FILLED])
            self.connection.execute("VACUUM heartbeats")
        else:
            self.connection.execute("TRUNCATE heartbeats")
        self.connection.execute("CHECKPOINT")

    def fill(self, rows: int) -> None:
        """Fill the table with as many rows of today, which stay."""
        self.connection.execute("TRUNCATE heartbeats")
        for first in range(0, rows, FILL_AT_ONCE):
            last = min(first + FILL_AT_ONCE, rows) - 1
            self.connection.execute(FILL, {"rows": rows, "first": first, "last": last, "id": FIRST_FILLED})
        self.connection.execute("VACUUM ANALYZE heartbeats")
        self.filled = rows

    def make_topic(self, name: str, messages: Iterable[Messages], partitions: int = PARTITIONS) -> int:
        """Make a topic and fill it with blocks of messages; give how many they are."""
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
        """Give the environment that points a service at these servers."""
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
            "POSTGRESQL_DATABASE": DATABASE,
            **settings,
        }

    def start(self, name: str, topic: str, **settings: str) -> "Service":
        """Start a service on a topic."""
        service = Service(name, self.environment(topic, **settings), self.logs / f"{name}-{len(self.services)}.log")
        self.services.append(service)
        return service

    def passed(self) -> int:
        """Give how many offsets the books have passed."""
        row = self.connection.execute(PASSED).fetchone()
        return int(row[0]) if row else 0

    def wait_for(
        self,
        rows: float,
        services: Sequence["Service"],
        passed: Callable[[], int] | None = None,
        within_s: float = 3600,
    ) -> float:
        """Wait until the books (or `passed`) count so many; give the most memory (MB) a service had meanwhile."""
        memory, looked_at = 0.0, 0.0

        def are_stored() -> bool:
            nonlocal memory, looked_at
            for service in services:
                service.check()
            if time.monotonic() > looked_at + 1:  # it takes milliseconds of a core
                memory = max(memory, *(service.memory_mb() for service in services))
                looked_at = time.monotonic()
            return (passed or self.passed)() >= rows

        wait_until(are_stored, within_s, every_s=0.05)
        return memory

    def cpu_s(self) -> dict[str, float]:
        """Give the CPU seconds that each server has used so far."""
        return {"broker": cpu_of(self.kafka.pid), "PostgreSQL": cpu_of(self.postgres.pid)}


class Service:
    """The producer or a consumer as a process of its own."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", name], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
            )

    def events(self, name: str) -> list[dict[str, Any]]:
        """Give what it logged under this name."""
        lines = [line for line in self.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def cpu_s(self) -> float:
        """Give the CPU seconds it has used so far."""
        return cpu_of(self.process.pid)

    def memory_mb(self) -> float:
        """Give the memory of its processes now, what they share counted once (PSS)."""
        root, total = psutil.Process(self.process.pid), 0.0
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total / 1e6

    def check(self) -> None:
        """See that it runs."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.log.stem} ended by itself:\n{self.log.read_text(encoding='utf-8')[-3000:]}")

    def stop(self) -> None:
        """End it as a person would."""
        self.process.terminate()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def stack(postgres: Mapping[str, str] = POSTGRES) -> Iterator[Stack]:
    """Start both servers in a temporary folder and stop them, and whatever was started on them, at the end."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="heartbeat-benchmark-", dir=PLACE)))
        folder.chmod(0o755)
        database = held.enter_context(PostgresServer(folder / "postgres", settings=postgres))
        kafka = held.enter_context(KafkaServer(folder / "kafka"))
        with psycopg.connect(database.conninfo(), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {DATABASE}")
        connection = held.enter_context(psycopg.connect(database.conninfo(DATABASE), autocommit=True))
        connection.execute((ROOT / "db" / "schema.sql").read_bytes())
        running = Stack(kafka, database, connection, folder)
        try:
            yield running
        finally:
            for service in running.services:
                if service.process.poll() is None:
                    service.process.kill()
                    service.process.wait()


def readings(count: int, customers: int, seed: int = 1) -> Iterator[Messages]:
    """Give `count` messages as the producer would send them, one second of all customers after the other, up to now."""
    rates, encoder = HeartRates(customers, 1.0, seed), Encoder(customers)
    seconds = -(-count // customers)
    start = datetime.now(UTC) - timedelta(seconds=seconds)
    block = min(customers, 1000)
    for second in range(seconds):
        for first in range(0, customers, block):
            last = min(first + block, customers, first + count)
            at = start + timedelta(seconds=second + first / customers)
            messages = encoder.encode(first, rates.read(first, last).tolist(), at)[:count]
            count -= len(messages)
            if messages:
                yield messages


def cpu_of(pid: int) -> float:
    """Give the CPU seconds of a process and all its children, ended ones included."""
    total = 0.0
    for process in [(root := psutil.Process(pid)), *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            total += used.user + used.system + used.children_user + used.children_system
    return total


def wait_until(condition: Callable[[], object], within_s: float = 120, every_s: float = 0.02) -> None:
    """Wait for a condition; an error if it does not come true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:.0f} s in vain")
        time.sleep(every_s)
