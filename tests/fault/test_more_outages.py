"""PostgreSQL fails in other ways: for longer than Kafka's patience, by running full, by ending or stopping us."""

import contextlib
import os
import pwd
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from local.postgres import PostgresServer
from local.postgres_programs import ORDINARY_USER
from local.waiting import wait_until
from tests.conftest import TEMPLATE, StartService
from tests.fault.test_servers_away import Feed
from tests.pipeline import Database, Topic, encode, heartbeats, where

pytestmark = [pytest.mark.integration, pytest.mark.fault]


def test_database_down_for_longer_than_kafka_waits_for_a_poll(
    start: StartService, topic: Topic, own_database: Database
) -> None:
    """The consumer keeps polling while it waits, so the group keeps its member and nothing moves for nothing."""
    topic.create()
    with Feed(topic) as feed:
        consumer = start(
            "consumer",
            HEARTBEAT_CONSUMER__LIBRDKAFKA='{"max.poll.interval.ms": 10000}',
            HEARTBEAT_LOGGING__LEVEL="debug",
            **where(own_database),
        )
        wait_until(lambda: own_database.count() > 500)
        own_database.server.stop()
        time.sleep(12)  # the fault itself: longer than max.poll.interval.ms
        own_database.server.start()
    wait_until(lambda: own_database.passed() == topic.ends())

    assert "maximum poll interval" not in consumer.text()
    assert consumer.process.poll() is None
    assert own_database.lost_and_surplus(feed.sent) == ([], [])


@pytest.fixture
def small_disk(postgres_server: PostgresServer) -> Iterator[tuple[Database, Path]]:
    """A database on a file system of 24 MB, half of it free, which can be made larger."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    disk, name = (
        Path(tempfile.mkdtemp()),
        f"small_{os.getpid()}",
    )  # pytest's own folders are closed to PostgreSQL's user
    owner = pwd.getpwnam(ORDINARY_USER)
    options = f"size=24M,mode=700,uid={owner.pw_uid},gid={owner.pw_gid}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=False)  # noqa: S607
    if mounted.returncode != 0:
        disk.rmdir()
        pytest.skip("this machine lets nobody mount a file system")
    try:
        with psycopg.connect(postgres_server.conninfo(), autocommit=True) as admin:
            admin.execute(SQL("CREATE TABLESPACE {} LOCATION {}").format(Identifier(name), str(disk)))
            try:
                admin.execute(
                    SQL("CREATE DATABASE {0} TEMPLATE {1} TABLESPACE {0}").format(
                        Identifier(name), Identifier(TEMPLATE)
                    )
                )
                database = Database(postgres_server, name)
                yield database, disk
                database.drop()
            finally:
                admin.execute(SQL("DROP TABLESPACE {}").format(Identifier(name)))
    finally:
        subprocess.run(["umount", disk], check=True)  # noqa: S607
        disk.rmdir()


def test_full_disk_is_waited_for(start: StartService, topic: Topic, small_disk: tuple[Database, Path]) -> None:
    """It is an outage: no record is to blame, and none may be quarantined or lost."""
    database, disk = small_disk
    topic.create()
    noise = random.Random(1)
    sent: list[tuple[str, object, int]] = []
    consumer = start("consumer", POSTGRESQL_DATABASE=database.name)
    for seed in range(10):  # 3 MB of rows and noise each
        sent += topic.send_heartbeats(6_000, seed=seed)
        topic.send((b"bad", noise.randbytes(50_000)) for _ in range(40))
        if "No space left on device" in consumer.text():
            break
    wait_until(lambda: "No space left on device" in consumer.text(), what="the disk is full")
    assert consumer.process.poll() is None
    subprocess.run(["mount", "-o", "remount,size=512M", disk], check=True)  # noqa: S607
    wait_until(lambda: database.passed() == topic.ends())

    assert database.lost_and_surplus(sent) == ([], [])
    assert {reason for reason, _, _ in database.rejected()} <= {"not_utf8", "not_json"}
    assert start("consumer", "verify", "--full", POSTGRESQL_DATABASE=database.name).wait() == 0
    consumer.stop()


def test_statement_timeout_is_waited_out(start: StartService, topic: Topic, database: Database) -> None:
    """A statement that takes too long is the database's trouble, not the records'."""
    database.query(
        "CREATE FUNCTION hurry() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN SET LOCAL statement_timeout = '300ms'; RETURN NULL; END$$"
    )
    database.query("CREATE TRIGGER hurry BEFORE INSERT ON heartbeats FOR EACH STATEMENT EXECUTE FUNCTION hurry()")
    topic.create()
    sent = topic.send_heartbeats(100)
    consumer = start("consumer")
    wait_until(lambda: database.count() == 100)
    with database.connect() as stranger, stranger.transaction():
        stranger.execute("LOCK TABLE kafka_ledger IN EXCLUSIVE MODE")
        sent += topic.send_heartbeats(100, seed=8)
        wait_until(lambda: "statement timeout" in consumer.text())
    wait_until(lambda: database.passed() == topic.ends())

    assert database.lost_and_surplus(sent) == ([], [])
    assert database.rejected() == []


def test_ended_sessions_are_opened_again(start: StartService, topic: Topic, database: Database) -> None:
    """An administrator's pg_terminate_backend hits some batch in its middle."""
    topic.create()
    with Feed(topic) as feed, database.connect() as admin:
        consumer = start("consumer")
        for _ in range(10):
            before = database.count()
            wait_until(lambda: database.count() > before, what="storing again")  # noqa: B023
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'heartbeat-consumer' AND datname = current_database()"
            ).rowcount
            assert ended in (1, 2)  # as many as have written so far
    wait_until(lambda: database.passed() == topic.ends())

    assert consumer.process.poll() is None
    assert database.lost_and_surplus(feed.sent) == ([], [])


def test_older_copy_of_the_database_gets_what_it_lacks(start: StartService, topic: Topic, database: Database) -> None:
    """Rows and ledger come from one backup, so Kafka is read again from where that backup ended."""
    topic.create()
    sent = topic.send_heartbeats(1000)
    consumer = start("consumer")
    wait_until(lambda: database.count() == 1000)
    consumer.stop()
    copy = Database(database.server, f"{database.name}_copy")
    with psycopg.connect(database.server.conninfo(), autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(copy.name), Identifier(database.name)))
    with contextlib.ExitStack() as stack:
        stack.callback(copy.drop)
        sent += topic.send_heartbeats(1000, seed=8)
        consumer = start("consumer")
        wait_until(lambda: database.count() == 2000)
        consumer.stop()
        consumer = start("consumer", POSTGRESQL_DATABASE=copy.name)
        wait_until(lambda: copy.passed() == topic.ends())

        assert copy.lost_and_surplus(sent) == ([], [])
        assert start("consumer", "verify", "--full", POSTGRESQL_DATABASE=copy.name).wait() == 0
        consumer.stop()


def test_compressed_batches_headers_and_null_keys_are_read(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Foreign producers send as they like."""
    topic.create()
    rows = heartbeats(4000)
    for number, codec in enumerate(("gzip", "snappy", "zstd", "lz4")):
        producer = topic.producer(**{"compression.type": codec})
        for row in rows[1000 * number : 1000 * (number + 1)]:
            headers: list[tuple[str, str | bytes | None]] = [("trace", b"\xff\0"), ("trace", b""), ("none", None)]
            producer.produce(topic.name, encode(row), None, headers=headers)
        assert producer.flush(30) == 0
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends())

    assert database.lost_and_surplus(rows) == ([], [])


def test_messages_at_the_size_limit_are_kept_whole(start: StartService, topic: Topic, database: Database) -> None:
    """Kafka's own limit is ours: a megabyte, good or bad, is one more message."""
    topic.create(partitions=1)
    limit = 1_048_588 - 200  # message.max.bytes of the broker, less the batch's own
    good = heartbeats(30)
    bad = random.Random(1).randbytes(limit)
    producer = topic.producer(**{"message.max.bytes": limit + 200})
    for row in good:
        event = encode(row)
        producer.produce(topic.name, event[:-1] + b', "more": "' + b"x" * (limit - len(event) - 12) + b'"}')
        producer.produce(topic.name, bad)
        producer.flush(30)
    start("consumer")
    wait_until(lambda: database.passed() == {0: 60})

    assert database.lost_and_surplus(good) == ([], [])
    assert {(reason, payload) for reason, _, payload in database.rejected()} == {("not_utf8", bad)}
