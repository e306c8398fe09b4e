"""Outages and kills as events: each outage once with both times, and none that delays or doubles anything."""

import signal
import time

import pytest

from local.waiting import wait_until
from tests.conftest import StartService
from tests.fault.test_hanging_servers import GRACE_S, hanging
from tests.fault.test_servers_away import Feed
from tests.pipeline import Database, Topic, is_stopped, where

pytestmark = [pytest.mark.integration, pytest.mark.fault]

OUTAGES = "SELECT detail, started_at, ended_at FROM pipeline_events WHERE kind = 'outage' ORDER BY started_at"
CLOCK = "SELECT clock_timestamp()"


def test_killed_postgresql_is_one_outage_with_both_times(
    start: StartService, topic: Topic, own_database: Database
) -> None:
    """A kill -9 of the consumer that has written it neither doubles it nor keeps its successor from writing."""
    topic.create()
    with Feed(topic) as feed:
        consumer = start("consumer", **where(own_database))
        wait_until(lambda: own_database.count() > 500)
        [(before,)] = own_database.query(CLOCK)
        own_database.server.stop("immediate")
        time.sleep(3)  # the fault itself: an outage of this length
        own_database.server.start()
        wait_until(lambda: own_database.query(OUTAGES), what="the outage is written")
        [(after,)] = own_database.query(CLOCK)
        consumer.process.kill()
        consumer.wait()
        consumer = start("consumer", **where(own_database))
        started = "SELECT count(*) FROM pipeline_events WHERE kind = 'started'"
        wait_until(lambda: own_database.query(started) == [(2,)], what="the successor is noted")
    wait_until(lambda: own_database.passed() == topic.ends())

    [(detail, began, ended)] = own_database.query(OUTAGES)
    assert detail.startswith("postgresql: cannot ")
    assert before < began < ended < after
    assert (ended - began).total_seconds() > 2
    assert own_database.query("SELECT FROM pipeline_events WHERE kind = 'maintenance_failed'") == []
    assert own_database.lost_and_surplus(feed.sent) == ([], [])
    assert consumer.stop() == 0
    assert own_database.query("SELECT count(*) FROM pipeline_events WHERE kind = 'stopped'") == [(1,)]


def test_stop_during_a_hang_does_not_wait_for_its_event(
    start: StartService, topic: Topic, own_database: Database
) -> None:
    """Nothing is in flight, so the stop takes only the two seconds of maintenance."""
    topic.create()
    topic.send_heartbeats(100)
    consumer = start("consumer", **where(own_database))
    wait_until(lambda: own_database.count() == 100)
    with hanging(own_database.server.pid):
        began = time.monotonic()
        code = consumer.stop(GRACE_S)
        took_s = time.monotonic() - began

    assert code == 0
    assert took_s < 10
    assert next(consumer.events("service stopped"))["unwritten_events"] >= 1


def test_fenced_batch_is_an_event(start: StartService, topic: Topic, database: Database) -> None:
    """The stalled owner notes it when it wakes up."""
    topic.create()
    topic.send_heartbeats(2000)
    point = ("before-transaction", "SIGSTOP", "2")
    stalled = start("tests.fault.faulty_consumer", *point, HEARTBEAT_CONSUMER__MAX_BATCH="500")
    wait_until(lambda: is_stopped(stalled), what="the owner stalled")
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends(), within_s=15, what="another owner went on")
    stalled.send_signal(signal.SIGCONT)
    fenced = "SELECT detail FROM pipeline_events WHERE kind = 'fenced'"
    wait_until(lambda: database.query(fenced), what="the event")

    assert "expected next offset" in database.query(fenced)[0][0]
    assert len(database.query(fenced)) == len(list(stalled.events("stale batch dropped")))
