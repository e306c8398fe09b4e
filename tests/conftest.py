"""One Kafka and one PostgreSQL for the session; a topic and a database for each test."""

import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from local.kafka import KafkaServer
from local.postgres import PostgresServer
from local.schema import apply_schema
from local.service import Service
from tests.pipeline import Database, Topic, settings_for, start_service

TEMPLATE = "heartbeat_template"
StartService = Callable[..., Service]


def pytest_configure() -> None:
    """Handle signals even if our parent process ignores some, as nohup and a script's `&` do. Children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """Sessions end sooner than in production, so that a killed consumer's partitions move within four seconds."""
    settings = {"group.consumer.session.timeout.ms": "3000", "group.consumer.heartbeat.interval.ms": "1000"}
    with KafkaServer(tmp_path_factory.mktemp("kafka"), settings=settings) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """No test cuts the power, so nothing waits for the disk."""
    settings = {"fsync": "off", "full_page_writes": "off", "max_connections": "100"}
    with PostgresServer(tmp_path_factory.mktemp("postgres"), settings=settings) as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        apply_schema(server, TEMPLATE)
        yield server


def clone_database(server: PostgresServer) -> Database:
    """Copy the template: far quicker than the schema."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return Database(server, name)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    cloned = clone_database(postgres_server)
    yield cloned
    cloned.drop()


@pytest.fixture
def own_database(tmp_path: Path) -> Iterator[Database]:
    """A server of the test's own, to be stopped as it likes."""
    with PostgresServer(tmp_path / "postgres") as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        apply_schema(server, TEMPLATE)
        yield clone_database(server)


@pytest.fixture
def topic(kafka_server: KafkaServer) -> Topic:
    """Not created yet: the services create it, or `topic.create()`."""
    return Topic(kafka_server, f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def start(topic: Topic, database: Database, tmp_path: Path) -> Iterator[StartService]:
    """Start a service on the test's topic and database: `start("consumer", HEARTBEAT_...="...")`."""
    started: list[Service] = []

    def begin(*arguments: str, **settings: str) -> Service:
        service = start_service(
            arguments, {**settings_for(topic, database), **settings}, tmp_path / f"{arguments[0]}-{len(started)}.log"
        )
        started.append(service)
        return service

    yield begin
    for service in started:
        service.end()
