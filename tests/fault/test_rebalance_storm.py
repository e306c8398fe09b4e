"""Consumers join and leave all the time: partitions are for ever on the move, and no row is lost or there twice."""

import random
import signal
import time

import pytest

from local.service import Service
from local.waiting import wait_until
from tests.conftest import StartService
from tests.fault.test_servers_away import Feed
from tests.pipeline import Database, Topic

pytestmark = [pytest.mark.integration, pytest.mark.fault]


def run_storm(start: StartService, topic: Topic, database: Database, *, seconds: float) -> None:
    """Every second one consumer comes and one goes: orderly or by a kill."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    topic.create()
    members: list[Service] = []
    with Feed(topic) as feed:
        members.append(start("consumer"))
        wait_until(lambda: database.count() > 0, what="the first rows")
        deadline = time.monotonic() + seconds
        changes = 0
        while time.monotonic() < deadline:
            members.append(start("consumer"))
            changes += 1
            time.sleep(1)  # the fault itself: no second without a change
            if len(members) > 2:
                leaving = members.pop(chance.randrange(len(members) - 1))
                if chance.random() < 0.3:
                    leaving.end()
                else:
                    wait_until(lambda: any(leaving.events("service started")))  # noqa: B023
                    leaving.send_signal(signal.SIGTERM)
    wait_until(lambda: database.passed() == topic.ends(), within_s=30, what="everything read")
    print(f"{changes} members joined, {len(feed.sent)} messages")

    assert all(member.process.poll() is None for member in members)
    assert database.lost_and_surplus(feed.sent) == ([], [])
    assert start("consumer", "verify", "--full").wait() == 0


def test_rebalance_storm_loses_and_repeats_nothing(start: StartService, topic: Topic, database: Database) -> None:
    """A partition may have a new owner before the old one knows that it has lost it."""
    run_storm(start, topic, database, seconds=10)


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_rebalance_storm_of_a_minute(start: StartService, topic: Topic, database: Database) -> None:
    """The long form of the same."""
    run_storm(start, topic, database, seconds=60)
