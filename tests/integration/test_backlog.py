"""
A backlog of earlier days: each gets its partition before its rows are copied, and no writer waits for long.

More than 250 lines: it shares a writer that can be stopped at each lock.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
import pytest
from psycopg import errors as pg
from structlog.testing import capture_logs

from common.settings import Consumer
from common.topic_identity import TopicIdentity
from contracts.heartbeats import HEARTBEATS
from local.schema import apply_schema
from local.waiting import wait_until
from store.batch import Batch, Slice
from store.postgres import PostgresStore
from store.postgres_errors import is_partition_made_meanwhile
from store.validation import Decode
from tests.conftest import StartService
from tests.memory import MemoryCheck
from tests.pipeline import Database, Topic, encode, heartbeats
from tests.records import MemoryRecord
from tests.store import open_store

pytestmark = pytest.mark.integration

DAY: Final = timedelta(days=1)
NOW: Final = datetime.now(UTC)
TOPIC: Final = TopicIdentity("backlog", "backlog-id")
DECODE: Final = Decode(HEARTBEATS, timedelta(minutes=5))
WHERE: Final = 'SELECT "timestamp", tableoid::regclass::text FROM heartbeats'
WAITING: Final = """
INSERT INTO heartbeats_default (id, customer_id, "timestamp", heart_rate)
SELECT n, 'CUST-1', %s + n * interval '1 ms', 70 FROM generate_series(1, %s) AS n
"""


class Owner:
    """Writes batches of one partition, one behind the other."""

    def __init__(self, database: Database, consumer: Consumer) -> None:
        self.store = open_store(PostgresStore, database, consumer)
        self._generation, positions = self.store.positions(TOPIC, {0: (0, 0)})
        self._next = positions[0].next_offset

    def batch(self, times: Sequence[datetime]) -> Batch:
        records = [
            MemoryRecord(0, self._next + n, encode(("CUST-1", at, 70)), round(time.time() * 1000))
            for n, at in enumerate(times)
        ]
        self._next += len(records)
        return Batch.of([Slice(0, self._next - len(records), self._next, records)], self._generation, DECODE)

    def write(self, *times: datetime) -> float:
        """Write a batch; the seconds that it took."""
        batch, began = self.batch(times), time.monotonic()
        assert self.store.write(batch, TOPIC, MemoryCheck()) == []
        return time.monotonic() - began


@pytest.fixture
def owner(database: Database) -> Iterator[Owner]:
    made = Owner(database, Consumer(retention_days=30))
    yield made
    made.store.close()


def day_of(at: datetime) -> str:
    return f"heartbeats_{at:%Y%m%d}"


def places(database: Database) -> dict[datetime, str]:
    return dict(database.query(WHERE))


@pytest.mark.parametrize(("retention_days", "days_back"), [(30, 30), (0, 60), (90, 60)])
def test_days_within_the_retention_get_their_partition_before_their_rows(
    database: Database, retention_days: int, days_back: int
) -> None:
    """No row has to be moved later; older days, which retention drops at once, and odd timestamps make no tables."""
    owner = Owner(database, Consumer(retention_days=retention_days))
    kept = [NOW, NOW - 2 * DAY, NOW - 5 * DAY, NOW - days_back * DAY]
    others = [NOW - (days_back + 1) * DAY, NOW - 400 * DAY, datetime(1, 1, 1, tzinfo=UTC)]

    def is_made() -> bool:  # a busy machine may leave some of the days to the next batch
        owner.write(*kept, *others)
        return {day_of(at) for at in kept} <= set(places(database).values())

    wait_until(is_made)
    found = places(database)

    assert [found[at] for at in kept] == [day_of(at) for at in kept]
    assert [found[at] for at in others] == [
        "heartbeats_default" if days_back == 30 else "heartbeats_old",
        "heartbeats_old",
        "heartbeats_old",
    ]
    owner.store.close()


def test_day_that_was_dropped_is_made_again(database: Database, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a store knows of the partitions is not for ever."""
    at = NOW - 5 * DAY
    owner.write(at)
    database.query(f"DROP TABLE {day_of(at)}")
    owner.write(at)
    assert places(database)[at] == "heartbeats_default"

    monkeypatch.setattr("store.days.ASK_EVERY_S", 0)
    owner.store.close()
    owner.write(at + timedelta(seconds=1))

    assert set(places(database).values()) == {day_of(at)}


def test_a_reader_of_everything_holds_nobody_up(database: Database, owner: Owner) -> None:
    """A partition cannot be made while somebody reads the default one: the rows go there, and follow afterwards."""
    at = NOW - 5 * DAY
    owner.write(NOW)
    with database.connect() as reader, reader.transaction():
        reader.execute("LOCK TABLE heartbeats_default IN ACCESS SHARE MODE")
        seconds = [owner.write(at + timedelta(seconds=n)) for n in range(5)]
        assert set(places(database).values()) == {day_of(NOW), "heartbeats_default"}
    time.sleep(0.6)
    owner.write(at)

    assert max(seconds) < 1
    assert set(places(database).values()) == {day_of(NOW), day_of(at)}
    assert database.count() == 7


def test_lock_that_is_held_for_a_moment_is_waited_for(database: Database, owner: Owner) -> None:
    """On a busy machine, a reader or another writer holds it for longer than one try lasts: no row need be moved."""
    days = [NOW - n * DAY for n in range(2, 7)]
    owner.write(NOW)
    with database.connect() as reader, ThreadPoolExecutor(1) as writer:
        with reader.transaction():
            reader.execute("LOCK TABLE heartbeats_default IN ACCESS SHARE MODE")
            written = writer.submit(owner.write, *days)
            time.sleep(0.4)
        seconds = written.result()
    found = places(database)

    assert [found[at] for at in days] == [day_of(at) for at in days]
    assert seconds < 1


def test_many_waiting_rows_stay_where_they_are(database: Database, owner: Owner) -> None:
    """Moving them would hold up everybody who writes to the default partition; they are as safe there."""
    few, many = NOW - 5 * DAY, NOW - 6 * DAY
    database.query(WAITING, few, 10_000)
    database.query(WAITING, many, 10_001)
    made = [database.query("SELECT make_heartbeats_partition(%s)", at.date()) for at in (few, many)]
    owner.write(few, many)

    assert made == [[(True,)], [(False,)]]
    assert dict(database.query("SELECT tableoid::regclass::text, count(*) FROM heartbeats GROUP BY 1")) == {
        day_of(few): 10_001,
        "heartbeats_default": 10_002,
    }


def test_sessions_that_make_the_same_days_at_once_wait_for_each_other(database: Database) -> None:
    """Every writer of every consumer meets a backlog's days at the same moment."""
    days = [(NOW - n * DAY).date() for n in range(5, 11)]

    def make_all() -> list[bool]:
        with database.connect() as connection:
            rows = [connection.execute("SELECT make_heartbeats_partition(%s)", (day,)).fetchone() for day in days]
        return [row is not None and row[0] for row in rows]

    with ThreadPoolExecutor(6) as sessions:
        made = [session.result() for session in [sessions.submit(make_all) for _ in range(6)]]

    assert [sum(turn) for turn in zip(*made, strict=True)] == [1] * len(days)


def test_only_the_owner_gets_any_day_made(database: Database) -> None:
    """A stolen role cannot fill the database with tables."""
    role = f"role_{database.name}"
    day = NOW.date()
    with database.connect() as connection:
        connection.execute(f"CREATE ROLE {role}")
        connection.execute(f"GRANT EXECUTE ON FUNCTION make_heartbeats_partition TO {role}")
        try:
            connection.execute(f"SET SESSION AUTHORIZATION {role}")
            made = [
                connection.execute("SELECT make_heartbeats_partition(%s)", (day + n * DAY,)).fetchone()
                for n in (-61, 8, -59)
            ]
            connection.execute("RESET SESSION AUTHORIZATION")
            own = connection.execute("SELECT make_heartbeats_partition(%s)", (day + 9 * DAY,)).fetchone()
        finally:
            connection.execute("RESET SESSION AUTHORIZATION")
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")

    assert made == [(False,), (False,), (True,)]
    assert own == (True,)


def test_day_made_while_its_row_is_on_the_way_refuses_no_row(database: Database, owner: Owner) -> None:
    """PostgreSQL refuses the row, which was meant for the default partition; it is no bad row, and is written again."""
    at = NOW - 40 * DAY
    owner.write(NOW)
    with database.connect() as maker, database.connect() as writer:
        errors: list[psycopg.Error] = []

        def copy() -> None:
            try:
                owner.store._copy_around_refused(writer, owner.batch([at]), MemoryCheck())  # noqa: SLF001
            except pg.CheckViolation as error:
                errors.append(error)

        copying = threading.Thread(target=copy)
        with maker.transaction():
            maker.execute("SELECT make_heartbeats_partition(%s)", (at.date(),))
            copying.start()
            wait_until(lambda: database.query("SELECT 1 FROM pg_locks WHERE NOT granted"))
        copying.join(10)

    assert [is_partition_made_meanwhile(error, "heartbeats") for error in errors] == [True]


def test_older_database_gets_a_partition_for_old_rows(database: Database) -> None:
    """Old rows that waited in the default partition move there, so that a new day does not make anybody read them."""
    database.query("DROP TABLE heartbeats_old CASCADE")
    ancient, recent = datetime(2016, 1, 1, tzinfo=UTC), NOW - 20 * DAY
    database.query(WAITING, ancient, 21_000)
    database.query(
        "INSERT INTO heartbeats (customer_id, \"timestamp\", heart_rate) VALUES ('a', %s, 70), ('b', %s, 70)",
        recent, datetime(9999, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    for _ in range(2):
        apply_schema(database.server, database.name)

        assert dict(database.query("SELECT tableoid::regclass::text, count(*) FROM heartbeats GROUP BY 1")) == {
            "heartbeats_old": 21_000,
            "heartbeats_default": 2,
        }
    assert database.query("SELECT drop_strays('heartbeats', 7, 30000)") == [(21_001,)]


def test_two_consumers_store_a_week_in_any_order(start: StartService, topic: Topic, database: Database) -> None:
    """An empty database and a week in Kafka: every row goes to its day at once, and exactly once."""
    topic.create()
    rows = [(name, at - n % 7 * DAY, rate) for n, (name, at, rate) in enumerate(heartbeats(40_000))]
    topic.send((row[0].encode(), encode(row)) for row in rows)
    consumers = [start("consumer", HEARTBEAT_CONSUMER__RETENTION_DAYS="30") for _ in range(2)]
    wait_until(lambda: database.passed() == topic.ends(), within_s=60)

    assert database.lost_and_surplus(rows) == ([], [])
    assert database.query("SELECT count(*) FROM heartbeats_default") == [(0,)]
    assert all(consumer.stop() == 0 for consumer in consumers)


def test_rows_that_retention_deletes_are_announced_at_once(
    start: StartService, topic: Topic, database: Database
) -> None:
    """They are stored, and the next maintenance deletes them. Without a warning, an operator would not know why."""
    topic.create()
    oldest = datetime(2016, 1, 1, tzinfo=UTC)
    topic.send((b"k", encode(("CUST-1", at, 70))) for at in (NOW, NOW - 6 * DAY, NOW - 8 * DAY, oldest))
    consumer = start("consumer", HEARTBEAT_CONSUMER__RETENTION_DAYS="7")
    wait_until(lambda: database.query("SELECT sum(stored) FROM kafka_ledger") == [(4,)])
    (warning,) = wait_until(lambda: [event for event in consumer.events() if "retention deletes" in event["event"]])

    assert (warning["level"], warning["count"], warning["retention_days"]) == ("warning", 2, 7)
    assert datetime.fromisoformat(warning["oldest"]) == oldest
    assert "HEARTBEAT_CONSUMER__RETENTION_DAYS" in warning["hint"]
    assert consumer.stop() == 0


def test_rows_that_the_floor_keeps_are_not_announced(database: Database) -> None:
    """The database's owner may keep rows longer than the setting does: a warning would be false."""
    database.query("UPDATE retention_floor SET retention_days = 30")
    owner = Owner(database, Consumer(retention_days=7))
    kept, old = NOW - 30 * DAY, NOW - 31 * DAY
    with capture_logs() as lines:
        owner.write(kept)
        owner.write(kept + timedelta(seconds=1), old)
    owner.store.close()

    assert [(line["count"], line["oldest"]) for line in lines] == [(1, old.isoformat())]
    assert places(database)[kept] == day_of(kept)
