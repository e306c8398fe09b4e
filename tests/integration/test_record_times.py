"""What a sender's clock may do where somebody else made the topic with `CreateTime`: condemn nothing."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from local.waiting import wait_until
from store.lag import Lag
from store.steps import Done
from tests.conftest import StartService
from tests.pipeline import Database, Row, Topic, encode, heartbeats
from tests.store import open_maintenance, run_step

pytestmark = pytest.mark.integration

SENDERS_CLOCKS = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}
# Seconds instead of milliseconds; no time; nearly 1970 (the client takes 0 for "now"); microseconds; a minute ago.
RECORD_TIMES_MS = [
    int(time.time()),
    -1,
    1,
    int(time.time()) * 1_000_000,
    int(time.time() - 60) * 1_000,
]


def send_with_times(topic: Topic, rows: list[Row], times_ms: list[int]) -> None:
    """Send each reading with one of these record times, in turn."""
    producer = topic.producer()
    failures: list[object] = []
    for n, row in enumerate(rows):
        producer.produce(
            topic.name,
            encode(row),
            row[0],
            timestamp=times_ms[n % len(times_ms)],
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    assert producer.flush(30) == 0
    assert not failures


def test_senders_record_times_condemn_no_event(start: StartService, topic: Topic, database: Database) -> None:
    """The later of the sender's time and our clock decides, so that a real future timestamp is still refused."""
    topic.create(6, **SENDERS_CLOCKS)
    good = heartbeats(1000)
    future = heartbeats(10, start=datetime.now(UTC) + timedelta(days=2))
    send_with_times(topic, good, RECORD_TIMES_MS)
    send_with_times(topic, future, RECORD_TIMES_MS[:3])
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends())

    assert database.lost_and_surplus(good) == ([], [])
    assert database.query(
        "SELECT reason, count(*), bool_and(appended_at BETWEEN now() - interval '1 min' AND now())"
        " FROM rejected_heartbeats GROUP BY 1"
    ) == [("timestamp_future", 10, True)]


def test_senders_record_time_stops_no_note_of_the_lag(database: Database) -> None:
    """Nanoseconds are beyond PostgreSQL's years, microseconds hide every later lag."""
    database.query("INSERT INTO kafka_topics VALUES (1, 'id', 'heartbeats')")
    database.query("INSERT INTO kafka_ledger VALUES (1, 0, 0, 50, 50)")
    lag = Lag()
    maintenance = open_maintenance(database, lag=lag)
    for time_ms in (time.time_ns() // 1000, time.time_ns()):
        lag.stored(time_ms)
        lag.show({0: 100}, {0: 50}, 1)

        assert run_step(maintenance, "log_ends") is Done.ALL
        assert database.query("SELECT abs(seconds) < 10 FROM kafka_lag()") == [(True,)]
    maintenance.stop()


def test_replay_frees_what_a_senders_record_time_condemned(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Older versions noted a sender's time as appended_at; a time before Kafka existed cannot be a broker's."""
    topic.create()
    good = heartbeats(100, start=datetime.now(UTC) + timedelta(seconds=20))
    topic.send((row[0].encode(), encode(row)) for row in good)
    start("consumer", HEARTBEAT_CONSUMER__MAX_FUTURE_S="0")
    wait_until(lambda: database.passed() == topic.ends())
    assert database.count() == 0
    database.query(
        "UPDATE rejected_heartbeats SET appended_at = to_timestamp(id % 3 * extract(epoch FROM now()) / 1000)"
    )
    replay = start("consumer", "replay", HEARTBEAT_CONSUMER__MAX_FUTURE_S="60")

    assert replay.wait() == 0
    assert "100 messages moved" in replay.text()
    assert database.lost_and_surplus(good) == ([], [])
    assert start("consumer", "verify", "--full").wait() == 0


def test_replay_believes_a_brokers_time_whatever_the_clock_says(
    start: StartService, topic: Topic, database: Database
) -> None:
    """With `LogAppendTime`, validation gives the same result at any time, also in a replay years later."""
    topic.create()
    topic.send((row[0].encode(), encode(row)) for row in heartbeats(10, start=datetime.now(UTC) + timedelta(days=2)))
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    database.query("UPDATE rejected_heartbeats SET rejected_at = now() + interval '10 days'")
    replay = start("consumer", "replay")

    assert replay.wait() == 0
    assert "10 stay in quarantine: timestamp_future" in replay.text()
    assert database.count() == 0
