"""`reread` beside consumers that write, killed at any point, twice at once: each event stays stored once."""

import signal
import threading
from datetime import UTC, datetime, timedelta

import pytest

from contracts.contract import Contract
from contracts.heartbeats import HEARTBEATS
from examples.orders.contract import ORDERS
from local.waiting import wait_until
from tests.conftest import StartService
from tests.events import events_of, prepare, rows_by_time
from tests.fault.faulty_consumer import POINTS
from tests.pipeline import Database, Topic, encode, heartbeats
from tests.reread import SMALL, balances, consume, long_ago, run

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.mark.parametrize(("point", "contract"), [*((point, HEARTBEATS) for point in POINTS), ("before-commit", ORDERS)])
def test_reread_killed_at_any_point_leaves_each_event_once(
    point: str, contract: Contract, start: StartService, topic: Topic, database: Database
) -> None:
    """Deleting, storing and counting are one transaction: the ledger balances after the kill, and after the rest."""
    setting = prepare(database, contract)
    topic.create(partitions=2)
    sent = events_of(contract, 600)
    topic.send((f"key-{number % 100}".encode(), payload) for number, (payload, _) in enumerate(sent))
    topic.send([(b"CUST-1", b"broken")] * 30)
    consume(start, topic, database, **setting)

    killed = start(
        "tests.fault.faulty_consumer", point, "SIGKILL", "2", "reread", "--from", long_ago(), **SMALL, **setting
    )
    assert killed.wait() == 128 + signal.SIGKILL
    assert rows_by_time(database, contract) == [row for _, row in sent]
    assert balances(start, **setting)
    run(start, "--from", long_ago(), **SMALL, **setting)
    assert rows_by_time(database, contract) == [row for _, row in sent]
    assert len(database.rejected()) == 30
    assert balances(start, **setting)


def test_rereads_and_a_replay_at_once_beside_consumers_that_write(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Two consumers store new heartbeats, two rereads and a replay change old ones, and one reread is killed."""
    topic.create()
    ahead = heartbeats(500, start=datetime.now(UTC) + timedelta(days=2))
    rows = [*ahead, *heartbeats(9500)]
    consumers = [start("consumer") for _ in range(2)]
    topic.send((row[0].encode(), encode(row)) for row in rows[:3000])
    wait_until(lambda: database.passed() == topic.ends(), what="the first part is stored")

    def feed() -> None:
        for first in range(3000, len(rows), 250):
            topic.send((row[0].encode(), encode(row)) for row in rows[first : first + 250])

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        wider = {"HEARTBEAT_CONSUMER__MAX_FUTURE_S": "864000", **SMALL}
        killed, other = (start("consumer", "reread", "--from", long_ago(), **wider) for _ in range(2))
        replay = start("consumer", "replay", **wider)
        wait_until(lambda: database.query("SELECT sum(reread) > 500 FROM kafka_ledger") == [(True,)])
        killed.process.kill()
        assert other.wait() == 0, other.text()
        assert replay.wait() == 0, replay.text()
        assert balances(start)
    finally:
        feeder.join()
    wait_until(lambda: database.passed() == topic.ends(), what="everything read")

    assert database.lost_and_surplus(rows) == ([], [])
    assert database.rejected() == []
    assert [consumer.process.poll() for consumer in consumers] == [None, None]
    assert not any(list(consumer.events("stale batch dropped")) for consumer in consumers)
    assert balances(start)
