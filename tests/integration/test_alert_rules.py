"""
Each fault fires the rules that name its part, and no other: grafana/README.md has the table of these tests.

More than 250 lines: one list of faults. Real services, Kafka and PostgreSQL. Where a rule waits for half a minute, the
noted times are moved back instead.
"""

import re
import time
from collections.abc import Iterator
from typing import Final

import psycopg
import pytest

from local.service import ROOT, Service
from local.waiting import wait_until
from tests.conftest import StartService
from tests.integration.alert_rules import fired, rules, sql_of
from tests.integration.dashboard_queries import DASHBOARDS, targets
from tests.integration.grafana_macros import View, expand
from tests.pipeline import Database, Topic
from tests.roles import made_for

pytestmark = pytest.mark.integration

QUIET: Final[dict[str, list[tuple[str, ...]]]] = {}
LEDGER_STOOD_STILL: Final = "UPDATE kafka_ledger SET updated_at = updated_at - interval '2 min'"
NO_CONSUMER_WROTE: Final = "UPDATE kafka_log_ends SET seen_at = seen_at - interval '2 min'"


@pytest.fixture
def reader(database: Database) -> Iterator[psycopg.Connection]:
    """A session of Grafana's role."""
    with made_for(database) as roles, roles.connect(roles.reader) as connection:
        yield connection


@pytest.fixture
def producer(start: StartService, topic: Topic) -> Service:
    """Sixty people who send once a second, and none of whom has an episode."""
    topic.create(partitions=2)
    return start("producer", HEARTBEAT_PRODUCER__CUSTOMERS="60", HEARTBEAT_PRODUCER__EPISODES_PER_HOUR="0")


@pytest.fixture
def consumer(start: StartService, producer: Service, database: Database) -> Service:  # noqa: ARG001 - it must run
    """A consumer that has stored and noted the ends of the logs."""
    started = start("consumer")
    wait_until(lambda: database.query("SELECT count(*) FROM kafka_log_ends") == [(2,)], what="ends of the logs")
    wait_until(lambda: database.count() > 60, what="a second of heartbeats")
    return started


def store_all(database: Database) -> None:
    """Wait until the database knows that all of Kafka is stored."""
    known = "SELECT sum(records) = 0 AND min(seen_at) > %s FROM kafka_lag()"
    now = database.query("SELECT clock_timestamp()")[0][0]
    wait_until(lambda: database.query(known, now) == [(True,)], what="no lag")


@pytest.mark.usefixtures("consumer")
def test_healthy_pipeline_fires_nothing(reader: psycopg.Connection) -> None:
    """A rule that fires without a fault is switched off, and then tells nothing when there is one."""
    until = time.monotonic() + 12  # two notes of the logs' ends
    while time.monotonic() < until:
        assert fired(reader) == QUIET
        time.sleep(1)


def test_database_that_no_consumer_has_ever_used_fires_one_rule(reader: psycopg.Connection, database: Database) -> None:
    """There is no topic and no row yet, and this is the message that helps."""
    wait_until(
        lambda: database.query("SELECT now() - pg_postmaster_start_time() > interval '31 s'") == [(True,)], within_s=40
    )

    assert fired(reader) == {"no-consumer": [("heartbeats",)]}


def test_stopped_producer_is_named(
    reader: psycopg.Connection, database: Database, producer: Service, consumer: Service
) -> None:
    """The consumer has nothing to do, and must not be blamed."""
    producer.stop()
    store_all(database)
    database.query(LEDGER_STOOD_STILL)

    assert [*fired(reader)] == ["nothing-arrives"]
    assert consumer.process.poll() is None


@pytest.mark.parametrize("while_producing", [True, False])
def test_stopped_consumer_is_named(
    reader: psycopg.Connection, database: Database, producer: Service, consumer: Service, *, while_producing: bool
) -> None:
    """Whether anything arrives in Kafka is then unknown, so nothing is said of it."""
    if not while_producing:
        producer.stop()
        store_all(database)
    consumer.stop()
    database.query(LEDGER_STOOD_STILL)
    database.query(NO_CONSUMER_WROTE)
    database.query("UPDATE heartbeats_touched SET noted_at = noted_at - interval '1 h'")

    assert [*fired(reader)] == ["no-consumer"]


@pytest.mark.usefixtures("consumer")
def test_lock_in_postgresql_that_blocks_the_consumer_is_named(
    reader: psycopg.Connection, database: Database, topic: Topic
) -> None:
    """The consumer lives and notes how far Kafka's logs reach, but stores nothing."""
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE heartbeats IN SHARE MODE")
        wait_until(lambda: database.query("SELECT min(records) > 0 FROM kafka_lag()") == [(True,)], what="lag")
        database.query(LEDGER_STOOD_STILL)

        assert fired(reader) == {"consumer-stuck": [(topic.name,)]}
    wait_until(lambda: fired(reader) == QUIET, what="quiet again")


def test_backlog_is_told_in_messages_and_in_seconds(
    reader: psycopg.Connection, database: Database, topic: Topic, start: StartService
) -> None:
    """The consumer works, but cannot keep up: it is neither stuck nor is the producer at fault."""
    topic.create(partitions=1)
    topic.send_heartbeats(70_000)
    start("consumer", HEARTBEAT_CONSUMER__MAX_BATCH="2", HEARTBEAT_CONSUMER__CONNECTIONS="1")
    wait_until(lambda: "lag-records" in fired(reader), what="lag in messages")
    wait_until(lambda: "lag-seconds" in fired(reader), within_s=60, what="lag in seconds")

    assert fired(reader).keys() <= {"lag-records", "lag-seconds"}
    assert database.query("SELECT state FROM kafka_flow()") == [("behind",)]


def test_partition_that_is_not_read_is_named(reader: psycopg.Connection, database: Database) -> None:
    """Others are read, so the lag in seconds is small, and no age of the whole topic shows it."""
    database.query("INSERT INTO kafka_topics VALUES (1, 'id', 'heartbeats')")
    database.query("INSERT INTO kafka_ledger SELECT 1, p, 0, 60, 60 FROM generate_series(0, 3) AS p")
    database.query("INSERT INTO kafka_log_ends SELECT 1, p, 60, now(), now() FROM generate_series(0, 3) AS p")
    database.query("INSERT INTO heartbeats VALUES (1, 'a', now(), 70)")
    database.query("UPDATE kafka_ledger SET updated_at = now() - interval '1 h' WHERE partition <> 0")
    database.query("UPDATE kafka_log_ends SET log_end = 70 WHERE partition = 2")  # not read
    database.query("UPDATE kafka_log_ends SET seen_at = now() - interval '1 h' WHERE partition = 3")  # no leader

    assert fired(reader) == {"partition-stuck": [("heartbeats", "2"), ("heartbeats", "3")]}


@pytest.mark.usefixtures("consumer")
def test_invalid_messages_fire_only_the_rule_about_the_quarantine(reader: psycopg.Connection, topic: Topic) -> None:
    """Their neighbours are stored, so neither consumer nor producer stands still."""
    topic.send((None, b"junk") for _ in range(1000))
    wait_until(lambda: fired(reader) != QUIET, what="an alert")

    assert [*fired(reader)] == ["quarantine-share"]


def test_a_few_invalid_messages_fire_nothing(
    reader: psycopg.Connection, database: Database, topic: Topic, consumer: Service
) -> None:
    """One person's mistake in an hour is no reason to wake another."""
    topic.send((None, b"junk") for _ in range(9))
    wait_until(lambda: len(database.rejected()) == 9)

    assert fired(reader) == QUIET
    assert consumer.process.poll() is None


@pytest.mark.usefixtures("consumer")
def test_senders_whose_clock_is_behind_are_named(
    reader: psycopg.Connection, database: Database, topic: Topic, producer: Service
) -> None:
    """Messages arrive and are stored, and yet Grafana shows no present."""
    producer.stop()
    store_all(database)
    # As if the last heartbeats had been taken an hour ago.
    database.query('UPDATE heartbeats SET "timestamp" = "timestamp" - interval \'1 h\'')
    topic.send([(b"x", b'{"customer_id": "x", "timestamp": "2026-01-01T00:00:00Z", "heart_rate": 70}')])
    store_all(database)

    assert [*fired(reader)] == ["newest-row"]


def test_half_of_the_senders_that_stop_are_noticed(reader: psycopg.Connection, database: Database) -> None:
    """All that arrives is stored, so only a comparison with the last hour shows it."""
    database.query("INSERT INTO kafka_topics VALUES (1, 'id', 'heartbeats')")
    database.query("INSERT INTO kafka_ledger VALUES (1, 0, 0, 60, 60)")
    database.query("INSERT INTO kafka_log_ends VALUES (1, 0, 60, now(), now())")
    database.query(
        """INSERT INTO heartbeats_fleet
           SELECT 10, date_bin('10 s', now(), 'epoch') - n * interval '10 s', 600, 42000, 70, 70, 0, 0, 70, 70, 70,
                  '{70}', '{600}' FROM generate_series(18, 90) AS n"""
    )
    database.query(  # 200 in each ten seconds
        "INSERT INTO heartbeats SELECT n, 'a', now() - n * interval '50 ms', 70 FROM generate_series(1, 2000) AS n"
    )
    few = fired(reader)
    database.query(
        "INSERT INTO heartbeats SELECT n, 'b', now() - n * interval '50 ms', 70 FROM generate_series(1, 2000) AS n"
    )

    assert [*few] == ["fewer-heartbeats"]
    assert fired(reader) == QUIET


def test_topic_that_nobody_reads_any_more_hides_no_fault_of_another(
    reader: psycopg.Connection, database: Database
) -> None:
    """It has no consumer for ever, and its alert can be silenced."""
    database.query(
        "INSERT INTO kafka_topics VALUES (1, 'old', 'left', now() - interval '9 d'), (2, 'new', 'heartbeats', now())"
    )
    database.query("INSERT INTO kafka_ledger SELECT g, 0, 0, 60, 60 FROM generate_series(1, 2) AS g")
    database.query("INSERT INTO kafka_log_ends VALUES (1, 0, 90, now() - interval '8 d'), (2, 0, 60, now())")
    database.query(
        """INSERT INTO heartbeats_fleet
           SELECT 10, date_bin('10 s', now(), 'epoch') - n * interval '10 s', 600, 42000, 70, 70, 0, 0, 70, 70, 70,
                  '{70}', '{600}' FROM generate_series(18, 90) AS n"""
    )
    database.query("INSERT INTO heartbeats_outdated VALUES (now(), now() - interval '1 h', now())")

    found = fired(reader)
    assert found["no-consumer"] == [("left",)]
    assert {*found} == {"no-consumer", "newest-row", "fewer-heartbeats", "rollups-behind"}


@pytest.mark.usefixtures("consumer")
def test_rows_without_a_day_fire_only_the_rule_about_them(reader: psycopg.Connection, database: Database) -> None:
    """More than 10,000 of them stay there for good."""
    database.query(
        """INSERT INTO heartbeats_default (customer_id, "timestamp", heart_rate)
           SELECT 'a', now() - interval '30 d' + n * interval '1 us', 70 FROM generate_series(1, 10001) AS n"""
    )

    assert [*fired(reader)] == ["default-partition"]


@pytest.mark.usefixtures("producer")
def test_maintenance_that_cannot_create_days_is_named(
    reader: psycopg.Connection, database: Database, start: StartService
) -> None:
    """An open transaction of another session stops it; rows are stored all the same."""
    for ahead in range(3, 8):
        (day,) = database.query("SELECT to_char((now() AT TIME ZONE 'UTC')::date + %s, 'YYYYMMDD')", ahead)[0]
        database.query(f"DROP TABLE IF EXISTS heartbeats_{day}")
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE ONLY heartbeats IN SHARE UPDATE EXCLUSIVE MODE")
        start("consumer")
        wait_until(lambda: database.count() > 60, what="a second of heartbeats")
        wait_until(lambda: "maintenance-failed" in fired(reader), what="a step that fails")
        found = fired(reader)

    assert [*found] == ["coming-days", "maintenance-failed"]
    assert [step for _, step in found["maintenance-failed"]] == ["coming_days"]


@pytest.mark.usefixtures("consumer")
def test_maintenance_that_cannot_refresh_the_rollups_is_named(reader: psycopg.Connection, database: Database) -> None:
    """A session that holds the turn for long is enough."""
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE maintenance_turn IN ACCESS EXCLUSIVE MODE")
        wait_until(lambda: database.query("SELECT count(*) > 0 FROM heartbeats_touched") == [(True,)], what="notes")
        database.query("UPDATE heartbeats_touched SET noted_at = noted_at - interval '1 h'")

        assert [*fired(reader)] == ["rollups-behind"]


def test_events_name_server_and_consumer(reader: psycopg.Connection, database: Database, consumer: Service) -> None:
    """tests/fault/test_pipeline_events.py causes these events. Single and short ones belong to every restart."""
    event = """INSERT INTO pipeline_events (started_at, ended_at, kind, source, detail)
               SELECT now() - %s::interval, now() - %s::interval, %s, %s, %s FROM generate_series(1, %s)"""
    database.query(event, "40 s", "10 s", "outage", "consumer a", "kafka: cannot reach it", 1)
    database.query(event, "2 h", "1 h", "outage", "consumer a", "kafka: cannot reach it", 1)
    database.query(event, "1 s", None, "fenced", "consumer a", "cannot advance", 3)
    database.query(event, "1 h", None, "maintenance_failed", "consumer a", "old_days: cannot drop", 1)
    assert fired(reader) == QUIET
    database.query(event, "80 s", "41 s", "outage", "consumer a", "kafka: timed out", 1)
    database.query(event, "1 s", None, "fenced", "consumer a", "cannot advance", 1)

    assert fired(reader) == {"outages": [("consumer a", "kafka")], "fenced": [("consumer a",)]}
    assert consumer.process.poll() is None


@pytest.mark.usefixtures("consumer")
def test_person_in_alarm_is_told_by_name(reader: psycopg.Connection, database: Database) -> None:
    """One alert for each; in an outage of a region a hundred, and the number of the others."""
    alarm = "INSERT INTO alarms VALUES (%s, 'high', timestamptz '2026-01-01 00:00:00Z' + %s, now(), %s, 130, 60, 100)"
    database.query(alarm, "A", "1 s", None)
    database.query(alarm, "B", "1 s", "2026-01-01 00:01:00Z")  # has ended

    assert fired(reader) == {"person-in-alarm": [("A", "high", "2026-01-01 00:00:01 UTC")]}
    with database.connect() as connection:
        connection.cursor().executemany(alarm, [(f"C{n}", f"{n + 2} s", None) for n in range(150)])
    told = fired(reader)["person-in-alarm"]
    assert len(told) == 101
    assert told[0] == ("A", "high", "2026-01-01 00:00:01 UTC")
    assert told[-1] == ("others", "more alarms", "(more than 100 are open)")


def test_queries_read_no_whole_day(reader: psycopg.Connection, database: Database) -> None:
    """They run every ten seconds, beside 86 million rows a day."""
    database.query(
        """INSERT INTO heartbeats SELECT n, 'a' || n % 300, now() - n * interval '3 ms', 70
           FROM generate_series(1, 300000) AS n"""
    )
    database.query("ANALYZE heartbeats")
    day = database.query("SELECT to_char(now() AT TIME ZONE 'UTC', '\"heartbeats_\"YYYYMMDD')")[0][0]
    for rule in rules():
        plan = str(reader.execute(f"EXPLAIN {sql_of(rule)}".encode()).fetchall())

        assert f"Seq Scan on {day}" not in plan, rule["uid"]


def test_reader_may_run_the_queries_of_all_panels(reader: psycopg.Connection) -> None:
    """A query that it may not run leaves a panel blank."""
    now = reader.execute("SELECT now(), now() - interval '5 min'").fetchone()
    assert now
    for dashboard in DASHBOARDS:
        for _, sql in targets(dashboard):
            reader.execute(expand(sql, View(now[1], now[0])).encode())


def test_table_of_faults_names_each_rule() -> None:
    """A person compares the message with the table; a rule that is missing there is one without a known fault."""
    page = (ROOT / "grafana" / "README.md").read_text(encoding="utf-8")
    table = page.split("## Alerts")[1]
    named = set(
        re.findall(r"`([a-z-]+)`", "".join(line for line in table.splitlines(keepends=True) if line[0:1] == "|"))
    )

    assert named >= {rule["uid"] for rule in rules()}
