"""The whole pipeline on this machine: Kafka, PostgreSQL, the producer and two consumers, as processes of their own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg

from local.kafka import KafkaServer
from local.postgres import PostgresServer
from local.schema import apply_schema
from local.service import Service
from local.waiting import wait_until
from tests.pipeline import Database, Topic, settings_for, start_service

CONSUMERS = 2


class System:
    """
    What the faults are injected into.

    Args:
        folder: Data and logs.
        rate_per_s: Messages that the producer sends; each customer sends one a second.
        seed: The producer's.
    """

    def __init__(self, folder: Path, rate_per_s: int, seed: int) -> None:
        self._folder = folder
        self.rate_per_s = rate_per_s
        self._started: list[Service] = []
        self.kafka = KafkaServer(folder / "kafka")
        self.postgres = PostgresServer(folder / "postgres")
        self.topic = Topic(self.kafka, "heartbeats")
        self.database = Database(self.postgres, "heartbeats")
        self._settings = {
            "HEARTBEAT_PRODUCER__CUSTOMERS": str(rate_per_s),
            "HEARTBEAT_PRODUCER__SEED": str(seed),
        }
        self.unreadable = 0  # batches of one record each that were sent besides
        self.old_rows = 0  # heartbeats that were sent besides
        self.producer: Service
        self.consumers: list[Service]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start everything; leave nothing running."""
        with self.kafka, self.postgres:
            with psycopg.connect(self.postgres.conninfo(), autocommit=True) as connection:
                connection.execute("CREATE DATABASE heartbeats")
            apply_schema(self.database.server, self.database.name)
            self._settings |= settings_for(self.topic, self.database)
            self._settings["HEARTBEAT_CONSUMER__RETENTION_DAYS"] = "7"  # so that a wrong clock could delete
            try:
                self.producer = self.start("producer")
                self.consumers = [self.start("consumer") for _ in range(CONSUMERS)]
                yield
            finally:
                for service in self._started:
                    service.end()

    def start(self, *arguments: str) -> Service:
        """Start a service on this system's servers."""
        log = self._folder / f"{arguments[0]}-{len(self._started)}.log"
        service = start_service(arguments, self._settings, log)
        self._started.append(service)
        return service

    def replace(self, number: int) -> None:
        """Start another consumer in the place of one that has ended."""
        self.consumers[number] = self.start("consumer")

    def stop(self, service: Service) -> None:
        """Stop a service as `docker compose stop` does, once it has begun to listen; it has to end well."""
        wait_until(lambda: any(service.events()), what="the service has started")
        code = service.stop(60)
        assert code == 0, f"a service that was stopped ended with code {code}:\n{service.text()[-2000:]}"

    def check(self) -> None:
        """See that no service has ended by itself."""
        for service in (self.producer, *self.consumers):
            code = service.process.poll()
            # A killed one is replaced by whoever killed it.
            assert code is None or code > 128, f"a service ended by itself, code {code}:\n{service.text()[-2000:]}"
