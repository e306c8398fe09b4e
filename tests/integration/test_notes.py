"""Notes of minutes whose rollups are outdated: few, each collected once, summed up only from rows that are there."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from common.topic_identity import TopicIdentity
from contracts.heartbeats import HEARTBEATS
from local.waiting import wait_until
from store.batch import Batch, Slice
from store.postgres import PostgresStore
from store.validation import Decode
from tests.integration.pausing_store import PausingStore
from tests.memory import MemoryCheck
from tests.pipeline import Database, encode
from tests.records import MemoryRecord
from tests.store import open_store

pytestmark = pytest.mark.integration

TODAY = "(now() AT TIME ZONE 'UTC')::date"
AGE = "UPDATE heartbeats_touched SET noted_at = noted_at - interval '1 h'"
NOTED = "SELECT count(*) FROM noted_minutes('-infinity', 'infinity')"
BY_HAND = """
INSERT INTO heartbeats (customer_id, "timestamp", heart_rate)
VALUES ('A', '2026-05-05 10:10:10Z', 70), ('B', '2026-05-05 10:59:59Z', 80)
"""
UNNOTED = """
SELECT date_trunc('minute', "timestamp") FROM heartbeats EXCEPT SELECT noted_minutes('-infinity', 'infinity')
"""


def test_batch_in_mixed_order_over_days_leaves_a_note_per_hour(database: Database) -> None:
    """Three million events of six days in mixed order left 1.3 million notes; now a batch leaves 145 at most."""
    store, topic = open_store(PostgresStore, database), TopicIdentity("t", "t-id")
    generation, _ = store.positions(topic, {0: (0, 10_000)})
    now = datetime.now(UTC)
    records = [
        MemoryRecord(
            0, n, encode(("C", now - timedelta(days=6) * (n * 7919 % 10_000) / 10_000, 70)), int(now.timestamp() * 1000)
        )
        for n in range(10_000)
    ]
    batch = Batch.of([Slice(0, 0, 10_000, records)], generation, Decode(HEARTBEATS, timedelta(minutes=5)))
    store.write(batch, topic, MemoryCheck())
    store.close()

    assert len(batch.minutes) > 5000
    assert database.query("SELECT count(*) <= 145 FROM heartbeats_touched") == [(True,)]
    assert database.query(NOTED) == [(len(batch.minutes),)]
    assert database.query(UNNOTED) == []


def test_each_note_is_read_once(database: Database) -> None:
    """Notes that are not due yet are not grouped again with each refresh: a row for each minute is all that stays."""
    database.query(
        "INSERT INTO heartbeats_touched (minute, noted_at)"
        " SELECT date_trunc('hour', now()) - n % 500 * interval '1 min', now() + interval '1 h'"
        " FROM generate_series(1, 300000) AS n"
    )
    left: list[tuple[int, int]] = []
    with database.connect() as connection:
        for _ in range(4):
            assert connection.execute("SELECT refresh_rollups()").fetchone() == (0,)
            left += connection.execute(
                "SELECT count(*), (SELECT count(*) FROM heartbeats_outdated) FROM heartbeats_touched"
            )

    assert left == [(200_000, 500), (100_000, 500), (0, 500), (0, 500)]
    assert database.query(NOTED) == [(500,)]


def test_newest_minutes_come_first_and_a_call_ends_in_time(database: Database) -> None:
    """What people look at is refreshed while a backlog waits; a slow minute ends the call, not the order."""
    database.query(
        'INSERT INTO heartbeats (customer_id, "timestamp", heart_rate)'
        " SELECT 'C', date_trunc('minute', now()) - n * interval '1 min', 70 FROM generate_series(1, 20) AS n"
    )
    database.query("SELECT note_heartbeats('-infinity', 'infinity')")
    database.query(AGE)
    database.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.7); RETURN NEW; END';"
        "CREATE TRIGGER slow BEFORE INSERT ON heartbeats_per_minute FOR EACH ROW EXECUTE FUNCTION slow()"
    )

    assert database.query("SELECT refresh_rollups(20)") == [(3,)]
    assert database.query(
        "SELECT (SELECT min(minute) FROM heartbeats_per_minute) > (SELECT max(minute) FROM heartbeats_outdated)"
    ) == [(True,)]


def test_notes_from_before_the_horizon_go_at_once(database: Database) -> None:
    """Their heartbeats are gone: summing them up would replace the rollups by nothing."""
    database.query("INSERT INTO heartbeats_horizon VALUES (true, now())")
    database.query(
        "INSERT INTO heartbeats_touched (minute) SELECT now() - n * interval '1 min' FROM generate_series(2, 2000) AS n"
    )
    assert database.query("SELECT refresh_rollups(1)") == [(0,)]
    assert database.query(NOTED) == [(0,)]


@pytest.mark.parametrize(
    "drop", ["drop_day('heartbeats', (now() AT TIME ZONE 'UTC')::date - 9)", "drop_strays('heartbeats', 7)"]
)
def test_refresh_that_meets_a_day_being_dropped_keeps_its_rollups(database: Database, drop: str) -> None:
    """Whichever comes first: what was summed up of a day stays when its rows are dropped."""
    if "day" in drop:
        database.query(f"SELECT make_heartbeats_partition({TODAY} - 9)")
    noon = f"({TODAY} - 9)::timestamp AT TIME ZONE 'UTC' + interval '12 h'"
    database.query(f"INSERT INTO heartbeats (customer_id, \"timestamp\", heart_rate) SELECT 'C', {noon}, 70")
    note = "SELECT note_heartbeats('-infinity', 'infinity')"
    rollup = "SELECT count(*) FROM heartbeats_per_minute"
    database.query(note)
    database.query(AGE)
    database.query("SELECT refresh_rollups()")
    assert database.query(rollup) == [(1,)]
    database.query(note)
    database.query(AGE)

    # The refresh has begun, and waits before it sums up: the drop does not get between.
    with database.connect() as gate, database.connect() as dropping:
        with gate.transaction():
            gate.execute("LOCK TABLE heartbeats_per_minute IN SHARE MODE")
            refreshing = threading.Thread(target=database.query, args=("SELECT refresh_rollups()",))
            refreshing.start()
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'heartbeats_per_minute'::regclass"
            wait_until(lambda: gate.execute(waits).fetchone() == (1,))
            assert dropping.execute(f"SELECT {drop}".encode()).fetchone() == (None,)
        refreshing.join(10)
        assert database.query(rollup) == [(1,)]

        # The drop has begun and not ended: the refresh does not get between either, and sees the horizon afterwards.
        database.query(note)
        database.query(AGE)
        with dropping.transaction():
            assert dropping.execute(f"SELECT {drop}".encode()).fetchone() == (1,)
            assert gate.execute("SELECT refresh_rollups()").fetchone() == (None,)
        assert gate.execute("SELECT refresh_rollups()").fetchone() == (0,)

    assert database.query(rollup) == [(1,)]
    assert database.query("SELECT count(*) FROM heartbeats") == [(0,)]


def test_rows_changed_by_hand_reach_the_rollups(database: Database) -> None:
    """note_heartbeats() is for people: consumers note only what they store themselves."""
    readings = "SELECT coalesce(sum(readings), 0)::integer FROM heartbeats_fleet WHERE width_s = 3600"
    with database.connect() as person:
        for change, left in (
            (BY_HAND, 2),
            ("DELETE FROM heartbeats WHERE customer_id = 'A'", 1),
            ("DELETE FROM heartbeats", 0),
        ):
            with person.transaction():
                person.execute(change.encode())
                person.execute("SELECT note_heartbeats('2026-05-05 10:00Z', '2026-05-05 11:00Z')")
            person.execute(AGE.encode())
            person.execute("SELECT refresh_rollups()")

            assert person.execute(readings.encode()).fetchone() == (left,)
            assert person.execute("SELECT note_heartbeats('2026-05-05 11:00Z', '2026-05-05 12:00Z')").fetchone() == (0,)


def test_batch_that_is_open_during_a_refresh_is_summed_up_later(database: Database) -> None:
    """Its note is collected once it is committed, with its rows."""
    store, topic = open_store(PausingStore, database), TopicIdentity("t", "t-id")
    generation, _ = store.positions(topic, {0: (0, 10)})
    now = datetime.now(UTC)
    records = [MemoryRecord(0, 0, encode(("C", now, 70)), int(now.timestamp() * 1000))]
    batch = Batch.of([Slice(0, 0, 1, records)], generation, Decode(HEARTBEATS, timedelta(minutes=5)))
    store.pause_at = "before-commit"
    writing = threading.Thread(target=store.write, args=(batch, topic, MemoryCheck()))
    writing.start()
    assert store.paused.wait(10)
    assert database.query("SELECT refresh_rollups()") == [(0,)]
    store.go_on.set()
    writing.join(10)
    store.close()

    assert database.query("SELECT refresh_rollups()") == [(0,)]  # collected, and not quiet for long enough
    assert database.query("SELECT count(*) FROM heartbeats_touched") == [(0,)]
    assert database.query(NOTED) == [(1,)]
