"""A consumer that is killed or stalled, at any point, loses no row and stores none twice."""

import random
import signal
import threading
import time

import pytest

from contracts.contract import Contract
from contracts.heartbeats import HEARTBEATS
from examples.orders.contract import ORDERS
from local.waiting import wait_until
from tests.conftest import StartService
from tests.events import EXAMPLES, events_of, prepare, rows_by_time
from tests.fault.faulty_consumer import POINTS
from tests.pipeline import Database, Topic, encode, heartbeats, is_stopped

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.mark.parametrize("contract", [HEARTBEATS, *EXAMPLES], ids=lambda contract: contract.table)
@pytest.mark.parametrize("point", POINTS)
def test_consumer_killed_at_any_point_of_a_batch_stores_each_event_once(
    point: str, contract: Contract, start: StartService, topic: Topic, database: Database
) -> None:
    """Rows and offsets commit together, so a crash leaves all of a batch or nothing."""
    setting = prepare(database, contract)
    topic.create()
    sent = events_of(contract, 3000)
    topic.send((f"key-{number % 100}".encode(), payload) for number, (payload, _) in enumerate(sent))
    topic.send([(b"CUST-1", b"broken")] * 30)

    first = start("tests.fault.faulty_consumer", point, "SIGKILL", "2", HEARTBEAT_CONSUMER__MAX_BATCH="500", **setting)
    assert first.wait() == 128 + signal.SIGKILL
    start("consumer", **setting)
    wait_until(lambda: database.passed() == topic.ends(), what="everything read")

    assert rows_by_time(database, contract) == [row for _, row in sent]
    assert len(database.rejected()) == 30
    assert start("consumer", "verify", "--full", **setting).wait() == 0


@pytest.mark.parametrize(
    ("point", "contract"), [("inside-copy", HEARTBEATS), ("before-commit", HEARTBEATS), ("before-commit", ORDERS)]
)
def test_stalled_owner_that_wakes_up_stores_nothing_twice(
    point: str, contract: Contract, start: StartService, topic: Topic, database: Database
) -> None:
    """A process that sleeps through its session still holds ids and locks; its successor must not wait for it."""
    setting = prepare(database, contract)
    topic.create()
    sent = events_of(contract, 3000)
    messages = [(f"key-{number % 100}".encode(), payload) for number, (payload, _) in enumerate(sent)]
    topic.send(messages[:2000])
    stalled = start(
        "tests.fault.faulty_consumer", point, "SIGSTOP", "2", HEARTBEAT_CONSUMER__MAX_BATCH="500", **setting
    )
    wait_until(lambda: is_stopped(stalled), what="the owner stalled")
    stalled_at = time.monotonic()

    start("consumer", **setting)
    wait_until(lambda: database.passed() == topic.ends(), within_s=15, what="another owner went on")
    print(f"another owner was through after {time.monotonic() - stalled_at:.1f} s")
    stalled.send_signal(signal.SIGCONT)
    topic.send(messages[2000:])
    wait_until(lambda: database.passed() == topic.ends(), what="everything read after the owner woke up")

    assert stalled.process.poll() is None
    assert rows_by_time(database, contract) == [row for _, row in sent]
    verify = start("consumer", "verify", "--full", **setting)
    code = verify.wait()
    assert code == 0, verify.text()


def run_killings(start: StartService, topic: Topic, database: Database, *, kills: int, rate_per_s: int) -> None:
    """Kill either of two consumers again and again while messages arrive, and look at the ledger."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    topic.create()
    rows = heartbeats(rate_per_s * 4 * (kills + 10), customers=1000)
    sent: list[int] = []
    enough = threading.Event()

    def feed() -> None:
        producer = topic.producer(**{"enable.idempotence": True})
        began = time.monotonic()
        for number, row in enumerate(rows):
            if enough.is_set():
                break
            producer.produce(topic.name, encode(row), row[0])
            producer.poll(0)
            while number > (time.monotonic() - began) * rate_per_s:
                producer.poll(0.01)
        assert producer.flush(30) == 0
        sent.append(number + (not enough.is_set()))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        consumers = [start("consumer"), start("consumer")]
        wait_until(lambda: database.count() > 0, what="the first rows")
        for _ in range(kills):
            time.sleep(chance.uniform(2, 4))  # the fault itself: moments that nobody chose
            victim = chance.randrange(2)
            consumers[victim].process.kill()
            consumers[victim].wait()
            consumers[victim] = start("consumer")
    finally:
        enough.set()
        feeder.join()
    wait_until(lambda: database.passed() == topic.ends(), within_s=30, what="everything read")

    assert sum(topic.ends().values()) == sent[0]
    assert database.lost_and_surplus(rows[: sent[0]]) == ([], [])
    assert start("consumer", "verify", "--full").wait() == 0


def test_random_kills_of_two_consumers_lose_and_repeat_nothing(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Kills fall into rebalances, too, where partitions have two owners or none."""
    run_killings(start, topic, database, kills=5, rate_per_s=2000)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_twenty_kills_at_five_thousand_messages_a_second(start: StartService, topic: Topic, database: Database) -> None:
    """The long form of the same."""
    run_killings(start, topic, database, kills=20, rate_per_s=5000)
