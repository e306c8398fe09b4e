"""People are forgotten while consumers write, join, are killed, and while `forget` itself is killed."""

import random
import time
from itertools import count
from typing import Final

import pytest

from local.waiting import wait_until
from tests.conftest import StartService
from tests.fault.test_servers_away import Feed
from tests.pipeline import Database, Topic
from tests.sent import read_topic

pytestmark = [pytest.mark.integration, pytest.mark.fault]

PEOPLE: Final = [f"CUST-{number:06d}" for number in range(1, 51)]
LIST: Final = "SELECT before_offsets FROM forgotten WHERE hash = sha256(convert_to(%s, 'UTF8'))"
FOUND: Final = """
SELECT (place).partition, (place)."offset", customer_id
FROM (SELECT kafka_place(id) AS place, customer_id FROM heartbeats) AS found
"""


def test_killed_forget_and_killed_consumers_leave_exactly_what_was_sent_later(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Half of the people go on sending. What was in Kafka at the moment of the last run is gone, all else is there."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    topic.create()
    topic.send_heartbeats(40_000, seed=8)
    consumers = [start("consumer") for _ in range(2)]
    wait_until(lambda: database.count() > 20_000, within_s=60, what="the first rows")
    with Feed(topic):
        for _ in range(5):
            forget = start("consumer", "forget", *PEOPLE)
            time.sleep(chance.uniform(0.7, 2.5))  # the fault itself: a kill at any moment
            forget.end()
            consumers.pop(0).end()
            consumers.append(start("consumer"))
            assert start("consumer", "verify", "--full").wait() == 0
        last = start("consumer", "forget", *PEOPLE)
        assert last.wait(60) == 0
    wait_until(lambda: database.passed() == topic.ends(), within_s=60, what="everything read")

    before = {person: database.query(LIST, person)[0][0] for person in PEOPLE}
    offsets = [count() for _ in range(6)]  # without a gap: no transactions
    sent = [(one.partition, next(offsets[one.partition]), one.customer_id) for one in read_topic(topic)]
    kept = [one for one in sent if one[2] not in before or one[1] >= before[one[2]][one[0]]]
    assert sorted(database.query(FOUND)) == sorted(kept)
    assert len(kept) < len(sent)
    assert database.query("SELECT sum(erased) FROM kafka_ledger") == [(len(sent) - len(kept),)]
    assert start("consumer", "verify", "--full").wait() == 0
