"""PostgreSQL and Kafka go away and come back; the consumer waits and loses nothing."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

import pytest

from local.kafka import KafkaServer
from local.postgres import PostgresServer
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats, where

pytestmark = [pytest.mark.integration, pytest.mark.fault]


class Feed:
    """A thousand messages a second, in the background, until told to stop."""

    def __init__(self, topic: Topic) -> None:
        self.sent: list[tuple[object, ...]] = []
        self._stop = threading.Event()
        self._topic = topic
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        producer = self._topic.producer(**{"enable.idempotence": True, "message.timeout.ms": 0})
        rows = iter(heartbeats(200_000))
        while not self._stop.wait(0.02):
            for _ in range(20):
                row = next(rows)
                producer.produce(self._topic.name, encode(row), row[0])
                self.sent.append(row)
            producer.poll(0)
        assert producer.flush(60) == 0


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgresql_restarts_while_messages_arrive(
    mode: Literal["fast", "immediate"], start: StartService, topic: Topic, own_database: Database
) -> None:
    """An orderly restart and a crash are the same to us: an outage, waited for."""
    topic.create()
    with Feed(topic) as feed:
        consumer = start("consumer", **where(own_database))
        wait_until(lambda: own_database.count() > 500)
        for _ in range(2):
            own_database.server.stop(mode)
            own_database.server.start()
            before = own_database.count()
            wait_until(lambda: own_database.count() > before, what="storing again")  # noqa: B023
    wait_until(lambda: own_database.passed() == topic.ends())

    assert own_database.lost_and_surplus(feed.sent) == ([], [])
    assert consumer.process.poll() is None


def test_broker_is_killed_and_comes_back(start: StartService, database: Database, tmp_path: Path) -> None:
    """Its log survives a kill -9, and so do our places in it."""
    with KafkaServer(tmp_path / "kafka") as server:
        topic = Topic(server, "heartbeats")
        topic.create()
        where = {"HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS": server.bootstrap_servers, "HEARTBEAT_KAFKA__TOPIC": topic.name}
        with Feed(topic) as feed:
            consumer = start("consumer", **where)
            wait_until(lambda: database.count() > 500)
            server.kill()
            server.start()
            before = database.count()
            wait_until(lambda: database.count() > before, what="storing again")
        wait_until(lambda: database.passed() == topic.ends())

        assert database.lost_and_surplus(feed.sent) == ([], [])
        assert consumer.stop() == 0
        assert start("consumer", "verify", "--full", **where).wait() == 0


class Proxy:
    """A TCP relay to PostgreSQL that can cut every connection, or let nothing through any more."""

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self.frozen = threading.Event()
        self.cut_after_bytes: int | None = None
        self.lose_next_commit = threading.Event()
        self.has_cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self.has_cut.set()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self._open += [client, server]
                threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, upwards: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(OSError):
            while block := source.recv(16384):
                while self.frozen.is_set():
                    time.sleep(0.05)
                if upwards and self.cut_after_bytes is not None:
                    self.cut_after_bytes -= len(block)
                    if self.cut_after_bytes < 0:
                        self.cut_after_bytes = None
                        self.cut()
                        return
                if not upwards and b"COMMIT" in block and self.lose_next_commit.is_set():
                    self.lose_next_commit.clear()
                    self.cut()  # the server has committed, its answer never arrives
                    return
                sink.sendall(block)


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    relay = Proxy(postgres_server.port)
    yield relay
    relay.close()


def test_connection_cut_in_the_middle_of_copy(
    start: StartService, topic: Topic, database: Database, proxy: Proxy
) -> None:
    """Half a batch has arrived: it must leave no trace, and what was read behind it must not pass the ledger."""
    topic.create()
    sent = topic.send_heartbeats(20_000)
    proxy.cut_after_bytes = 300_000
    consumer = start("consumer", HEARTBEAT_POSTGRESQL__PORT=str(proxy.port), HEARTBEAT_CONSUMER__MAX_BATCH="2000")
    wait_until(lambda: database.passed() == topic.ends())

    assert proxy.has_cut.is_set()
    assert database.lost_and_surplus(sent) == ([], [])
    assert any(consumer.events("recovered"))


def test_connection_cut_before_the_answer_to_commit(
    start: StartService, topic: Topic, database: Database, proxy: Proxy
) -> None:
    """The outcome of that COMMIT is unknown to us; the ledger knows, so nothing is stored twice."""
    topic.create()
    sent = topic.send_heartbeats(6000)
    consumer = start("consumer", HEARTBEAT_POSTGRESQL__PORT=str(proxy.port), HEARTBEAT_CONSUMER__MAX_BATCH="1000")
    wait_until(lambda: database.count() > 0)
    proxy.lose_next_commit.set()
    sent += topic.send_heartbeats(6000, seed=8)
    wait_until(lambda: database.passed() == topic.ends())

    assert proxy.has_cut.is_set()
    assert database.lost_and_surplus(sent) == ([], [])
    assert any(consumer.events("recovered"))


def test_silent_network_is_noticed(start: StartService, topic: Topic, database: Database, proxy: Proxy) -> None:
    """No packet comes back, no connection is closed: the consumer stays in its group and goes on afterwards."""
    topic.create()
    topic.send_heartbeats(100)
    consumer = start("consumer", HEARTBEAT_POSTGRESQL__PORT=str(proxy.port))
    wait_until(lambda: database.count() == 100)
    proxy.frozen.set()
    topic.send_heartbeats(100, seed=8)
    time.sleep(6)  # the fault itself: silence that outlasts the group's session
    proxy.frozen.clear()
    wait_until(lambda: database.passed() == topic.ends())

    assert database.count() == 200
    assert consumer.process.poll() is None


def test_lock_held_by_a_stranger_is_waited_for(start: StartService, topic: Topic, database: Database) -> None:
    """Only sessions of our own kind are ended; a person's lock is respected."""
    topic.create()
    topic.send_heartbeats(100)
    with database.connect() as stranger, stranger.transaction():
        stranger.execute("LOCK TABLE heartbeats IN ACCESS EXCLUSIVE MODE")
        consumer = start("consumer")
        wait_until(lambda: "lock timeout" in consumer.text(), what="the consumer gave up waiting once")
        assert stranger.execute("SELECT 1").fetchone() == (1,)
    wait_until(lambda: database.count() == 100)


def test_right_that_is_taken_away_is_waited_for(start: StartService, topic: Topic, database: Database) -> None:
    """A mistake of an administrator is no fault of the records: none may be quarantined."""
    topic.create()
    role = f"role_{database.name}"
    with database.connect() as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
        admin.execute(f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}")
        admin.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role}")
        consumer = start("consumer", POSTGRESQL_USERNAME=role, POSTGRESQL_PASSWORD="secret")
        topic.send_heartbeats(100)
        wait_until(lambda: database.count() == 100)
        admin.execute(f"REVOKE INSERT ON heartbeats FROM {role}")
        topic.send_heartbeats(100, seed=8)
        wait_until(lambda: "permission denied" in consumer.text())
        admin.execute(f"GRANT INSERT ON heartbeats TO {role}")
        wait_until(lambda: database.count() == 200)
        consumer.stop()
        admin.execute(f"DROP OWNED BY {role}")
        admin.execute(f"DROP ROLE {role}")

    assert database.rejected() == []
