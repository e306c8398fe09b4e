"""The table `pipeline_events`, on real servers: who writes what, exactly once, and without delaying rows."""

import time

import pytest

from local.waiting import wait_until
from store.events import Events
from tests.conftest import StartService
from tests.pipeline import Database, Topic
from tests.roles import made_for
from tests.store import open_maintenance, run_step

pytestmark = pytest.mark.integration

ALL = "SELECT kind, detail FROM pipeline_events ORDER BY started_at"


def test_consumer_notes_its_start_its_rebalances_and_its_stop(
    start: StartService, topic: Topic, database: Database
) -> None:
    """With no more rights than db/roles.sql gives; the stop is written before the process ends."""
    topic.create(2)
    with made_for(database) as roles:
        consumer = start("consumer", **roles.as_consumer)
        wait_until(lambda: len(database.query(ALL)) == 2, what="the first events")
        assert consumer.stop() == 0
        with roles.connect(roles.reader) as reader:
            seen = reader.execute(ALL).fetchall()

    assert seen == [
        ("started", None),
        ("rebalance", f"assigned {topic.name}[0, 1]"),
        ("rebalance", f"revoked {topic.name}[0, 1]"),
        ("stopped", None),
    ]
    assert database.query("SELECT DISTINCT source LIKE 'consumer _%', ended_at FROM pipeline_events") == [(True, None)]
    assert next(consumer.events("service stopped")).get("unwritten_events") is None


def test_second_consumer_and_its_end_are_rebalances(start: StartService, topic: Topic, database: Database) -> None:
    topic.create(2)
    topic.send_heartbeats(100)
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends(2))
    second = start("consumer")
    moved = "SELECT count(*) FROM pipeline_events WHERE kind = 'rebalance' AND detail LIKE %s"
    wait_until(lambda: database.query(moved, "assigned%") == [(2,)], what="the second consumer has a partition")
    assert database.query(moved, "revoked%") == [(1,)]
    second.process.kill()

    wait_until(lambda: database.query(moved, "assigned%") == [(3,)], what="its partition is assigned again")


def test_consumer_that_stops_for_an_error_says_why(start: StartService, topic: Topic, database: Database) -> None:
    topic.create(1)
    sent = topic.send_heartbeats(10)
    first = start("consumer")
    wait_until(lambda: database.count() == len(sent))
    first.stop()
    database.query("UPDATE kafka_ledger SET next_offset = 99, skipped = 89")
    database.query("DELETE FROM pipeline_events")
    assert start("consumer").wait() == 3

    [(why,)] = database.query("SELECT detail FROM pipeline_events WHERE kind = 'stopped'")
    assert "99" in why


def test_locked_table_of_events_delays_neither_rows_nor_the_stop(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Rows come first, and the last line of the log counts the events that were not written."""
    topic.create()
    consumer = start("consumer")
    wait_until(lambda: database.query(ALL), what="the first event")
    with database.connect() as stranger, stranger.transaction():
        stranger.execute("LOCK TABLE pipeline_events IN ACCESS EXCLUSIVE MODE")
        sent = topic.send_heartbeats(1000)
        wait_until(lambda: database.count() == len(sent), within_s=5)
        began = time.monotonic()
        assert consumer.stop() == 0
        assert time.monotonic() - began < 5

    assert next(consumer.events("service stopped"))["unwritten_events"] >= 2
    assert database.query("SELECT FROM pipeline_events WHERE kind = 'stopped'") == []


def test_event_whose_commit_has_an_unknown_outcome_is_written_once(database: Database) -> None:
    """It stays in memory and is written again, by this session or by the one that a stop opens."""
    events = Events("consumer")
    maintenance = open_maintenance(database, events=events)
    events.add("outage", "kafka: away", began_s=time.monotonic() - 60)
    committed, unknown = events.waiting, Events("consumer")
    run_step(maintenance, "events")
    unknown._waiting.update(committed)  # noqa: SLF001 - as if the answer to COMMIT had not come
    again = open_maintenance(database, events=unknown)
    run_step(again, "events")
    again.stop()
    maintenance.stop()

    assert (events.waiting, unknown.waiting) == ({}, {})
    [(kind, detail, lasted_s, ago_s)] = database.query(
        "SELECT kind, detail, extract(epoch FROM ended_at - started_at)::float8,"
        " extract(epoch FROM now() - ended_at)::float8 FROM pipeline_events"
    )
    assert (kind, detail) == ("outage", "kafka: away")
    assert lasted_s == pytest.approx(60, abs=1)
    assert ago_s == pytest.approx(0, abs=30)


def test_failed_step_is_an_event_once_for_each_cause(database: Database) -> None:
    """As the warning in the log; a lost session is an outage and no failure of a step."""
    database.query("ALTER TABLE heartbeats_per_minute ADD CONSTRAINT broken CHECK (false)")
    database.query("INSERT INTO heartbeats VALUES (DEFAULT, 'CUST-1', now() - interval '1 h', 70)")
    database.query("SELECT note_heartbeats(now() - interval '2 h', now())")
    database.query("UPDATE heartbeats_touched SET noted_at = noted_at - interval '1 h'")
    maintenance = open_maintenance(database)
    for _ in range(3):
        for step in maintenance.steps:
            step.due = 0.0
        maintenance.run_due()
    database.query("SELECT pg_terminate_backend(pid, 9000) FROM pg_stat_activity WHERE application_name ~ 'maint'")
    maintenance.run_due()
    maintenance.stop()

    [(kind, detail)] = database.query(ALL)
    assert kind == "maintenance_failed"
    assert detail.startswith("rollups: cannot refresh the rollups")


def test_dropped_day_and_its_event_are_one_transaction(database: Database) -> None:
    [(day,)] = database.query("SELECT (now() AT TIME ZONE 'UTC')::date - 2")
    drop = "SELECT drop_day('heartbeats', %s)"
    database.query("SELECT make_heartbeats_partition(%s)", day)
    database.query("INSERT INTO heartbeats VALUES (DEFAULT, 'CUST-1', %s::timestamp AT TIME ZONE 'UTC', 70)", day)
    with database.connect() as connection:
        with connection.transaction(force_rollback=True):
            connection.execute(drop, (day,))
        assert database.query(ALL) == []
        connection.execute(drop, (day,))

    assert database.query(ALL) == [("partition_dropped", f"heartbeats of {day}: 1 rows")]


def test_thousand_events_of_each_kind_are_kept(database: Database) -> None:
    """A flapping server neither fills the disk nor pushes out the rare events, also where nothing is dropped by age."""
    database.query(
        "INSERT INTO pipeline_events (kind, source, noted_at) SELECT 'outage', n::text, now() - n * interval '1 s'"
        " FROM generate_series(1, 12000) AS n"
        " UNION ALL SELECT 'schema_upgraded', 'database', now() - interval '9 years'"
    )
    maintenance = open_maintenance(database, rollup_retention_days=0)
    run_step(maintenance, "old_events")
    run_step(maintenance, "events_bound")
    maintenance.stop()

    assert database.query("SELECT kind, count(*), max(source) FROM pipeline_events GROUP BY kind ORDER BY kind") == [
        ("outage", 1000, "999"),
        ("schema_upgraded", 1, "database"),
    ]
