"""The quarantine is bounded in bytes: the oldest messages go first, and a flood of junk never stops good rows."""

import os
from typing import Final

import pytest

from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats

pytestmark = pytest.mark.integration

LEAST: Final = 64 * 1024**2
JUNK: Final = 900_000  # bytes of a payload that does not compress
FILL: Final = """
INSERT INTO rejected_heartbeats
    (id, topic, partition, "offset", payload, payload_length, reason, rejected_at, appended_at)
SELECT kafka_place_id(1, 0, n), 'x', 0, n, %s, 1, 'not_json', now() + n * interval '1 ms', now()
FROM generate_series(%s::bigint, %s) AS n
"""
SIZE: Final = """
SELECT count(*), min("offset"), sum(150 + pg_column_size(reason) + pg_column_size(payload)) FROM rejected_heartbeats
"""
LOWER_FLOOR: Final = "UPDATE retention_floor SET rejected_max_bytes = %s"
DROPPED: Final = "SELECT rejected_dropped FROM kafka_ledger"


def open_books(database: Database, rejected: int) -> None:
    database.query("INSERT INTO kafka_topics (generation, topic_id, topic) VALUES (1, 'x', 'x')")
    database.query(
        "INSERT INTO kafka_ledger (generation, partition, start_offset, next_offset, rejected)"
        " SELECT 1, 0, 0, number, number FROM (SELECT %s::bigint AS number) AS given",
        rejected,
    )


def bound(database: Database, max_bytes: int, most: int = 50_000) -> int:
    return int(database.query("SELECT bound_rejected(%s, %s)", max_bytes, most)[0][0])


def test_oldest_messages_go_in_bites_and_are_counted(database: Database) -> None:
    """The files do not shrink: only what the rows take may count, or the quarantine would be emptied by and by."""
    open_books(database, 80)
    for number in range(80):
        database.query(FILL, os.urandom(JUNK), number, number)
    kept = LEAST // JUNK

    assert bound(database, 1) == 0  # the floor keeps a gigabyte, whatever a consumer asks for
    database.query(LOWER_FLOOR, LEAST)
    assert bound(database, 2 * LEAST) == 0
    assert bound(database, 1, most=5) == 5
    with database.connect() as other, other.transaction():
        other.execute("SELECT bound_rejected(%s)", (LEAST,))
        assert bound(database, LEAST) == 0
    assert bound(database, LEAST) == 0
    assert database.query(SIZE)[0][:2] == (kept, 80 - kept)
    assert database.query(DROPPED) == [(80 - kept,)]


def test_many_small_messages_are_measured_by_a_sample(database: Database) -> None:
    """A flood of small junk makes tens of millions of rows, too many to look at each time."""
    rows = 350_000
    open_books(database, rows)
    database.query(FILL, os.urandom(100), 0, rows - 1)
    database.query(LOWER_FLOOR, LEAST)
    dropped = 0
    while number := bound(database, LEAST):
        dropped += number
    ((count, first, size),) = database.query(SIZE)

    assert (count, first) == (rows - dropped, dropped)
    assert size == pytest.approx(LEAST, rel=0.1)
    assert database.query(DROPPED) == [(dropped,)]


def test_flood_of_junk_is_bounded_while_good_rows_are_stored(
    start: StartService, topic: Topic, database: Database
) -> None:
    """The writer itself bounds it: until the next maintenance, more may come than the disk has room for."""
    topic.create()
    database.query(LOWER_FLOOR, LEAST)
    good = heartbeats(300)
    topic.send((os.urandom(10), os.urandom(JUNK)) if n % 3 else (None, encode(good[n])) for n in range(300))
    consumer = start("consumer", HEARTBEAT_CONSUMER__REJECTED_MAX_BYTES=str(LEAST), HEARTBEAT_CONSUMER__MAX_BATCH="20")
    wait_until(lambda: database.passed() == topic.ends(), within_s=60)
    ((count, _, size),) = database.query(SIZE)

    assert database.lost_and_surplus(good[::3]) == ([], [])
    assert size < 1.3 * LEAST
    assert database.query("SELECT sum(rejected), sum(rejected) - sum(rejected_dropped) FROM kafka_ledger") == [
        (200, count)
    ]
    assert any(consumer.events("oldest quarantined messages dropped"))
    assert consumer.stop() == 0
    assert start("consumer", "verify", "--full").wait() == 0


def test_long_key_is_cut_like_a_payload(start: StartService, topic: Topic, database: Database) -> None:
    """A key may be as long as a message; a replay validates the payload, and needs no key."""
    topic.create(partitions=1)
    late = encode(heartbeats(1)[0])
    topic.send([(b"k" * 1000, b"x"), (b"", b"x"), (None, b"x"), (b"k" * 1000, late)])
    database.query("ALTER TABLE heartbeats ADD CONSTRAINT nothing CHECK (false) NOT VALID")
    start("consumer", HEARTBEAT_CONSUMER__MAX_PAYLOAD_BYTES="200")
    wait_until(lambda: database.passed() == {0: 4})
    database.query("ALTER TABLE heartbeats DROP CONSTRAINT nothing")

    assert [key for _, key, _ in database.rejected()] == [b"k" * 200, b"", None, b"k" * 200]
    assert start("consumer", "replay").wait() == 0
    assert database.count() == 1
