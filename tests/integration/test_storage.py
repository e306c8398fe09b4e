"""Rollups, partitions and retention: what keeps the disk bounded and dashboards quick."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from common.errors import OutageError
from local.waiting import wait_until
from store.maintenance import Maintenance
from store.steps import Done
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats
from tests.store import open_maintenance

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)


@pytest.fixture
def maintenance(database: Database) -> Iterator[Maintenance]:
    """Without its thread: each step is called here."""
    made = open_maintenance(database, rejected_retention_days=7)
    yield made
    made.stop()


def insert(database: Database, *times: datetime) -> None:
    for number, time in enumerate(times):
        database.query(
            'INSERT INTO heartbeats (customer_id, "timestamp", heart_rate) VALUES (%s, %s, 70)', f"CUST-{number}", time
        )


def partition_of(database: Database, time: datetime) -> str:
    return str(database.query('SELECT tableoid::regclass::text FROM heartbeats WHERE "timestamp" = %s', time)[0][0])


ROLLUPS_DIFFER = """
WITH raw AS (
    SELECT customer_id, date_trunc('minute', "timestamp") AS minute, count(*), sum(heart_rate), min(heart_rate),
           max(heart_rate), count(*) FILTER (WHERE heart_rate < 60), count(*) FILTER (WHERE heart_rate > 100)
    FROM heartbeats GROUP BY 1, 2
), rollup AS (SELECT * FROM heartbeats_per_minute)
(TABLE raw EXCEPT TABLE rollup) UNION ALL (TABLE rollup EXCEPT TABLE raw)
"""
FLEET_DIFFERS = """
WITH raw AS (
    SELECT width, date_bin(make_interval(secs => width), "timestamp", '2000-01-01 00:00:00+00') AS bucket, count(*),
           sum(heart_rate), min(heart_rate), max(heart_rate), count(*) FILTER (WHERE heart_rate < 60),
           count(*) FILTER (WHERE heart_rate > 100), percentile_disc(0.05) WITHIN GROUP (ORDER BY heart_rate),
           percentile_disc(0.5) WITHIN GROUP (ORDER BY heart_rate),
           percentile_disc(0.95) WITHIN GROUP (ORDER BY heart_rate)
    FROM heartbeats, unnest(ARRAY[10, 60, 600, 3600]) AS width GROUP BY 1, 2
), rollup AS (
    SELECT width_s, bucket, readings, sum_bpm, min_bpm, max_bpm, low, high, p05, p50, p95 FROM heartbeats_fleet
)
(TABLE raw EXCEPT TABLE rollup) UNION ALL (TABLE rollup EXCEPT TABLE raw)
"""


NOTE_ALL = """
INSERT INTO heartbeats_touched (minute) SELECT DISTINCT date_trunc('minute', "timestamp") FROM heartbeats
"""
AGE_ONE_REJECTED = """
UPDATE rejected_heartbeats SET rejected_at = now() - interval '8 days'
WHERE id = (SELECT min(id) FROM rejected_heartbeats)
"""


def make_notes_old(database: Database) -> None:
    """Age the notes, so that maintenance handles them without a wait."""
    database.query("UPDATE heartbeats_touched SET noted_at = noted_at - interval '1 h'")
    database.query("UPDATE heartbeats_outdated SET last_noted_at = last_noted_at - interval '1 h'")


def refresh(maintenance: Maintenance) -> None:
    while maintenance.refresh_rollups() is not Done.ALL:
        pass


def test_rollups_equal_the_rows_after_late_repeated_and_crashing_batches(
    start: StartService, topic: Topic, database: Database, maintenance: Maintenance
) -> None:
    """A dashboard over a long range shows the same as the rows would, to the last reading."""
    topic.create()
    chance = random.Random(11)
    now = datetime.now(UTC)
    for turn in range(4):
        rows = [
            (row[0], now - timedelta(seconds=chance.uniform(0, 7200)), row[2]) for row in heartbeats(1500, seed=turn)
        ]
        topic.send((row[0].encode(), encode(row)) for row in rows)
        crashing = start(
            "tests.fault.faulty_consumer", "before-commit", "SIGKILL", "2", HEARTBEAT_CONSUMER__MAX_BATCH="400"
        )
        crashing.wait()
        consumer = start("consumer")
        wait_until(lambda: database.passed() == topic.ends())
        consumer.stop()
        make_notes_old(database)
        refresh(maintenance)

        assert database.query("SELECT noted_minutes('-infinity', 'infinity')") == []
        assert database.query(ROLLUPS_DIFFER) == []
        assert database.query(FLEET_DIFFERS) == []


def test_minute_with_a_note_is_read_from_its_rows(database: Database, maintenance: Maintenance) -> None:
    """The history is exact up to the last stored row, though rollups follow a minute later."""
    now = datetime.now(UTC)
    insert(database, *(now - timedelta(seconds=s) for s in range(100)))
    database.query(NOTE_ALL)
    history = "SELECT sum(readings) FROM fleet_history(now() - interval '1 h', now() + interval '1 min')"

    assert database.query(history) == [(100,)]
    make_notes_old(database)
    refresh(maintenance)
    assert database.query(history) == [(100,)]
    assert database.query("SELECT count(*) > 9 FROM heartbeats_fleet WHERE width_s = 10") == [(True,)]


def test_days_get_their_partition_and_rows_that_waited_move_into_it(
    database: Database, maintenance: Maintenance
) -> None:
    """A row whose day has no partition yet is as safe as any other."""
    now = datetime.now(UTC)
    waiting, ancient, last = now - 5 * DAY, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    insert(database, waiting, last)
    assert partition_of(database, waiting) == "heartbeats_default"

    maintenance.run_due()

    assert partition_of(database, waiting) == f"heartbeats_{waiting:%Y%m%d}"
    assert partition_of(database, last) == "heartbeats_default"
    assert database.query("SELECT to_regclass(%s) IS NOT NULL", f"heartbeats_{now + 7 * DAY:%Y%m%d}") == [(True,)]
    insert(database, ancient)
    assert partition_of(database, ancient) == "heartbeats_old"


def test_retention_drops_what_it_must_counts_it_and_nothing_else(
    start: StartService, topic: Topic, database: Database, maintenance: Maintenance
) -> None:
    """The ledger balances to the last row after days were dropped."""
    topic.create()
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    kept = [midnight - 7 * DAY, now, now - DAY]
    dropped = [midnight - 7 * DAY - timedelta(microseconds=1), now - 40 * DAY, datetime(1, 1, 1, tzinfo=UTC)]
    topic.send((b"k", encode(("CUST-000001", time, 70))) for time in kept + dropped)
    topic.send([(b"k", b"broken")] * 3)
    database.query("SELECT make_heartbeats_partition((now() AT TIME ZONE 'UTC')::date - 8)")
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    consumer.stop()
    database.query(AGE_ONE_REJECTED)

    maintenance.run_due()

    assert sorted(row[1] for row in database.rows()) == sorted(kept)
    assert len(database.rejected()) == 2
    assert database.query(
        "SELECT sum(stored), sum(stored_dropped), sum(rejected), sum(rejected_dropped) FROM kafka_ledger"
    ) == [(6, 3, 3, 1)]
    assert start("consumer", "verify", "--full").wait() == 0


def test_partitions_and_retention_do_not_hold_up_two_consumers_at_full_speed(
    start: StartService, topic: Topic, database: Database, maintenance: Maintenance
) -> None:
    """Locks that writers meet are short; rows that arrive meanwhile are neither lost nor refused."""
    topic.create()
    now = datetime.now(UTC)
    for ago in range(8, 13):
        database.query("SELECT make_heartbeats_partition((now() AT TIME ZONE 'UTC')::date - %s)", ago)
        insert(database, now - ago * DAY)
    sent = topic.send_heartbeats(60_000)
    consumers = [start("consumer") for _ in range(2)]
    wait_until(lambda: database.count() > 5000)
    maintenance_done = 0

    def tended() -> bool:
        nonlocal maintenance_done
        try:
            maintenance.make_days()
            maintenance.drop_days()
        except OutageError as error:  # a lock that was not to be had is the next minute's business
            print(error)
            return False
        maintenance_done += 1
        return maintenance_done >= 2

    wait_until(tended)
    wait_until(lambda: database.passed() == topic.ends(), within_s=60)

    assert database.lost_and_surplus(sent) == ([], [])
    assert all(consumer.stop() == 0 for consumer in consumers)


def test_consumer_tends_the_storage_by_itself(start: StartService, topic: Topic, database: Database) -> None:
    """No operator has to remember it."""
    topic.create()
    database.query("SELECT make_heartbeats_partition((now() AT TIME ZONE 'UTC')::date - 20)")
    consumer = start("consumer", HEARTBEAT_CONSUMER__RETENTION_DAYS="7")
    wait_until(lambda: any(consumer.events("partition dropped")))

    assert consumer.stop() == 0


def test_patients_view_numbers_customers_and_classifies_rates(database: Database) -> None:
    """What an older variant of the system offered, over the same rows."""
    database.query(
        "INSERT INTO heartbeats (customer_id, \"timestamp\", heart_rate) VALUES ('CUST-000007', now(), 59),"
        " ('CUST-2147483647', now(), 60), ('CUST-2147483648', now(), 100), ('someone', now(), 101), ('CUST-', now(), 5)"
    )

    assert database.query("SELECT patient_id, heart_rate, status FROM patient_heartbeats ORDER BY heart_rate") == [
        (None, 5, "low"),
        (7, 59, "low"),
        (2147483647, 60, "normal"),
        (None, 100, "normal"),
        (None, 101, "high"),
    ]


def test_people_of_long_ago_go_with_the_rollups(database: Database) -> None:
    """A table of everybody who ever sent would grow for ever, and each search for alarms looks at all of it."""
    database.query(
        "INSERT INTO alarm_people (customer_id, partition_id, first_at, seen_at, bpm, side, side_since)"
        " SELECT 'CUST-' || days, 1 << 16, now(), now() - days * interval '1 day', 70, 0, now()"
        " FROM unnest(ARRAY[5, 50, 500]) AS days"
    )
    database.query("INSERT INTO alarms SELECT 'CUST-500', 'high', now(), now(), NULL, 120")

    assert database.query("SELECT drop_rollups(10)") == [(1,)]
    assert database.query("SELECT customer_id FROM alarm_people ORDER BY 1") == [("CUST-5",), ("CUST-500",)]
