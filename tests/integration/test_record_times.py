"""What a sender's clock may do where somebody else made the topic with `CreateTime`: condemn nothing."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import StartService
from tests.pipeline import Database, Row, Topic, encode, eventually, heartbeats

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
    eventually(lambda: database.passed() == topic.ends())

    assert database.lost_and_surplus(good) == ([], [])
    assert database.query(
        "SELECT reason, count(*), bool_and(appended_at BETWEEN now() - interval '1 min' AND now())"
        " FROM rejected_heartbeats GROUP BY 1"
    ) == [("timestamp_future", 10, True)]
