"""The local Kafka and PostgreSQL are real, keep what they were given, and say what is wrong."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

import local.kafka
from local import jars, java
from local.errors import LocalServerError
from local.kafka import KafkaServer
from local.postgres import PostgresServer
from local.server import LocalServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """One broker for the tests that leave it as it was."""
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL for the tests that leave it as it was."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), settings={"fsync": "off"}) as server:
        yield server


def send(server: KafkaServer, topic: str, values: list[bytes]) -> None:
    """Produce, and wait until the broker has it."""
    producer = Producer({"bootstrap.servers": server.bootstrap_servers, "acks": "all"})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(20) == 0


def read(server: KafkaServer, topic: str, count: int) -> list[bytes]:
    """Return the first messages of a topic."""
    consumer = Consumer(
        {"bootstrap.servers": server.bootstrap_servers, "group.id": "test", "enable.auto.commit": False}
    )
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        messages = consumer.consume(count, timeout=20)
        assert not [message.error() for message in messages if message.error()]
        return [message.value() or b"" for message in messages]
    finally:
        consumer.close()


def make_topic(server: KafkaServer) -> str:
    """Make a topic of one partition, with a new name."""
    topic = f"topic-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": server.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
    return topic


def restart(server: LocalServer) -> None:
    """Stop and start, as an administrator does."""
    server.stop()
    server.start()


def crash(server: LocalServer) -> None:
    """SIGKILL and start."""
    server.kill()
    server.start()


@pytest.mark.parametrize("interrupt", [restart, crash])
def test_kafka_keeps_messages_and_port(kafka: KafkaServer, interrupt: Callable[[LocalServer], None]) -> None:
    """A broker's restart is an outage, not a loss, and clients find it where it was."""
    topic, address, pid = make_topic(kafka), kafka.bootstrap_servers, kafka.pid
    send(kafka, topic, [b"before"])

    interrupt(kafka)
    send(kafka, topic, [b"after"])

    assert read(kafka, topic, 2) == [b"before", b"after"]
    assert kafka.bootstrap_servers == address
    assert kafka.pid != pid


def test_kafka_makes_no_topic_by_itself(kafka: KafkaServer) -> None:
    """A topic the broker makes has one partition, and the service that asks for six would come too late."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})

    admin.list_topics("never-made", timeout=20)

    assert "never-made" not in admin.list_topics(timeout=20).topics


def test_kafka_takes_settings(tmp_path: Path) -> None:
    """A test that needs another broker gets it by naming what differs."""
    with KafkaServer(tmp_path, settings={"message.max.bytes": "12345"}) as server:
        admin = AdminClient({"bootstrap.servers": server.bootstrap_servers})
        broker = ConfigResource(ResourceType.BROKER, "1")
        values = admin.describe_configs([broker])[broker].result(20)

    assert values["message.max.bytes"].value == "12345"
    assert values["group.consumer.session.timeout.ms"].value == "6000"


def test_kafka_new_group_protocol_gives_partitions_within_seconds(kafka: KafkaServer) -> None:
    """Tests of rebalances wait for this over and over."""
    topic = make_topic(kafka)
    send(kafka, topic, [b"one"])
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": "new",
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([topic])
        began = time.monotonic()
        message = consumer.poll(20)

        assert message is not None
        assert message.value() == b"one"
        assert time.monotonic() - began < 10
    finally:
        consumer.close()


def test_servers_work_in_a_folder_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma is two folders to Kafka, an umlaut is unknown to Java under LC_ALL=C, and quotes end a string early."""
    monkeypatch.setenv("LC_ALL", "C")
    folder = tmp_path / """ümlaut, "quoted" it's $HOME `id` 100% #1 [a] back\\slash"""
    (folder / "jars").mkdir(parents=True)
    for jar in jars.ensure(local.kafka.JARS_DIR):
        (folder / "jars" / jar.name).symlink_to(jar)
    monkeypatch.setattr(local.kafka, "JARS_DIR", folder / "jars")

    for _ in range(2):  # made, and found again
        with KafkaServer(folder / "kafka") as kafka, PostgresServer(folder / "postgres") as postgres:
            make_topic(kafka)
            with psycopg.connect(postgres.conninfo()) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
    assert len(list((folder / "kafka" / "logs").glob("topic-*"))) == 2


def test_folder_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Java cannot open a file there."""
    with pytest.raises(
        LocalServerError, match=r"^cannot run Java in the folder b'.*its name is not UTF-8\nHINT: Rename"
    ):
        java.prepare_class_data(Path(os.fsdecode(os.fsencode(tmp_path) + b"/latin-\xfc")))


@pytest.mark.parametrize("interrupt", [restart, crash])
def test_postgres_keeps_rows_and_port(postgres: PostgresServer, interrupt: Callable[[LocalServer], None]) -> None:
    """A database restart is an outage, not a loss; sessions that were open are gone."""
    port, note = postgres.port, uuid.uuid4().hex
    with psycopg.connect(postgres.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (note text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [note])
        interrupt(postgres)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    with psycopg.connect(postgres.conninfo("postgres")) as connection:
        assert connection.execute("SELECT note FROM kept WHERE note = %s", [note]).fetchone() == (note,)
    assert postgres.port == port


def test_postgres_asks_for_the_password(postgres: PostgresServer) -> None:
    """Everybody on this machine reaches the port."""
    conninfo = postgres.conninfo("postgres").replace(postgres.password, "guess")

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(conninfo)


def test_postgres_is_utf8_on_loopback_with_the_settings_given(postgres: PostgresServer) -> None:
    """Customers have names in every script; no other machine reaches a server with a development password."""
    with psycopg.connect(postgres.conninfo("postgres")) as connection:
        shown = [
            connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            for name in ("server_encoding", "listen_addresses", "fsync", "unix_socket_directories")
        ]

    assert shown == [("UTF8",), ("127.0.0.1",), ("off",), ("",)]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_stops_with_sessions_open(postgres: PostgresServer, mode: str) -> None:
    """Both modes that a test needs end sessions rather than wait for them."""
    with psycopg.connect(postgres.conninfo("postgres")):
        postgres.stop("fast" if mode == "fast" else "immediate")

    assert postgres.exit_code() == 0
    postgres.start()


@pytest.mark.parametrize("kind", [KafkaServer, PostgresServer])
def test_two_servers_at_once_have_ports_of_their_own(kind: type[LocalServer], tmp_path: Path) -> None:
    """Two test sessions, or the demo and the tests, do not meet."""
    with kind(tmp_path / "one") as one, kind(tmp_path / "two") as two:
        assert one.port != two.port


def test_port_in_use_is_named_with_a_hint(postgres: PostgresServer, tmp_path: Path) -> None:
    """The port that somebody asked for is that one or an error."""
    expected = rf"did not start on port {postgres.port}, exit code 1; its last lines:(.|\n)*already in use(.|\n)*HINT: "

    with pytest.raises(LocalServerError, match=expected):
        PostgresServer(tmp_path / "postgres", postgres.port).start()
    with pytest.raises(LocalServerError, match=expected):
        KafkaServer(tmp_path / "kafka", postgres.port).start()


def test_preferred_port_that_is_taken_is_no_obstacle(postgres: PostgresServer, tmp_path: Path) -> None:
    """The demo's usual ports are a convenience."""
    with PostgresServer(tmp_path / "postgres", preferred_port=postgres.port) as other:
        assert other.port != postgres.port


@pytest.mark.parametrize(
    ("kind", "setting"), [(KafkaServer, "log.retention.hours"), (PostgresServer, "max_connections")]
)
def test_setting_that_is_refused_shows_the_servers_own_words(
    kind: type[LocalServer], setting: str, tmp_path: Path
) -> None:
    """A misspelt value is found without looking for the log."""
    with pytest.raises(LocalServerError, match=rf"{setting}(.|\n)*HINT: The whole log is "):
        kind(tmp_path, settings={setting: "many"}).start()
