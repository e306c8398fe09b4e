"""Events that a producer sends again (`unique` in a contract) are stored once and counted in the ledger."""

import itertools
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Final

import pytest

from common.event import MAX_FUTURE
from common.settings import Event
from common.topic_identity import TopicIdentity
from examples.orders.contract import ORDERS
from examples.orders.producer import order
from local.waiting import wait_until
from store.batch import Batch, Slice
from store.insert import WITHOUT_DUPLICATES
from store.postgres import PostgresStore
from store.validation import Decode
from tests import roles as test_roles
from tests.conftest import StartService
from tests.events import FOLDER, prepare
from tests.memory import MemoryCheck
from tests.pipeline import Database, Topic
from tests.records import MemoryRecord
from tests.store import credentials_for, settings_on

pytestmark = pytest.mark.integration

TABLE: Final = FOLDER / "orders/orders.sql"
GRANTS: Final = FOLDER / "grants.sql"
SETTING: Final = "examples.orders.contract:ORDERS"


@pytest.fixture
def orders(database: Database) -> Database:
    """A database with the example's table."""
    prepare(database, ORDERS)
    return database


def placed(count: int, *, start: int = 0) -> list[tuple[bytes | None, bytes | None]]:
    """Make orders with numbers of their own, as messages."""
    return [(f"{n}".encode(), order(f"{n}")) for n in range(start, start + count)]


def test_event_that_is_sent_again_is_one_row_and_counted(start: StartService, topic: Topic, orders: Database) -> None:
    """Within a batch, in a later one and in another partition; beside an event that PostgreSQL refuses."""
    topic.create(partitions=2)
    orders.query("ALTER TABLE orders ADD CHECK (order_id <> '7')")
    first = placed(100)
    topic.send([*first, *first], partition=0)
    consumer = start("consumer", HEARTBEAT_EVENT__CONTRACT=SETTING)
    wait_until(lambda: orders.passed() == topic.ends(2), within_s=60, what="the first batch passed")
    topic.send([*first, *placed(50, start=100)], partition=1)
    wait_until(lambda: orders.passed() == topic.ends(2), within_s=60, what="all messages passed")
    consumer.stop()

    assert orders.query("SELECT count(*), count(DISTINCT order_id) FROM orders") == [(149, 149)]
    assert orders.query('SELECT max((kafka_place(id))."offset") FROM orders WHERE (kafka_place(id)).partition = 0') == [
        (99,)
    ]
    assert orders.query("SELECT stored, rejected, duplicates FROM kafka_ledger ORDER BY partition") == [
        (99, 2, 99),
        (50, 1, 99),
    ]
    assert sum(event.get("duplicates", 0) for event in consumer.events("Stored")) == 198
    verify = start("consumer", "verify", "--full", HEARTBEAT_EVENT__CONTRACT=SETTING)
    assert verify.wait() == 0
    assert "149 stored + 3 rejected + 0 skipped + 0 expired + 198 duplicates" in verify.text()


@pytest.mark.parametrize("point", ["inside-copy", "after-copy", "before-commit", "after-commit"])
def test_killed_consumer_neither_loses_nor_doubles_an_event_that_is_sent_again(
    start: StartService, topic: Topic, orders: Database, point: str
) -> None:
    """Rows, duplicates and offsets commit together."""
    topic.create(partitions=2)
    for number in range(20):
        topic.send([*placed(50, start=50 * number)] * 2)
    settings = {"HEARTBEAT_EVENT__CONTRACT": SETTING, "HEARTBEAT_CONSUMER__MAX_BATCH": "300"}
    killed = start("tests.fault.faulty_consumer", point, "SIGKILL", "2", **settings)
    assert killed.wait() == 128 + signal.SIGKILL
    consumer = start("consumer", **settings)
    wait_until(lambda: orders.passed() == topic.ends(2), within_s=60, what="all messages passed")
    consumer.stop()

    assert orders.query("SELECT count(*), count(DISTINCT order_id) FROM orders") == [(1000, 1000)]
    assert orders.query("SELECT sum(stored), sum(duplicates) FROM kafka_ledger") == [(1000, 1000)]
    assert start("consumer", "verify", "--full", HEARTBEAT_EVENT__CONTRACT=SETTING).wait() == 0


class MeetingCheck(MemoryCheck):
    """Waits for the other batch once: both are copied before either is inserted."""

    def __init__(self, both: Barrier) -> None:
        super().__init__()
        self._both: Barrier | None = both

    def wait(self) -> None:
        both, self._both = self._both, None
        if both:
            both.wait(timeout=30)


def test_two_consumers_that_get_the_same_events_wait_and_do_not_deadlock(orders: Database) -> None:
    """Each waits for the events of the other's open transaction; in orders of their own, both would wait for ever."""
    settings = settings_on(orders).model_copy(update={"event": Event(contract=SETTING)})
    topic, ranges, both = TopicIdentity("orders", "an id"), {0: (0, 5000), 1: (0, 5000)}, Barrier(2)
    payloads = [payload for _, payload in placed(5000)]

    def write(partition: int, sent: list[bytes | None]) -> None:
        store = PostgresStore(settings, credentials_for(orders))
        generation, _ = store.positions(topic, ranges)
        records = [
            MemoryRecord(partition, offset, payload, round(time.time() * 1000)) for offset, payload in enumerate(sent)
        ]
        batch = Batch.of([Slice(partition, 0, 5000, records)], generation, Decode(ORDERS, MAX_FUTURE))
        store.write(batch, topic, MeetingCheck(both))
        store.close()

    with ThreadPoolExecutor(2) as pool:
        for written in (pool.submit(write, 0, payloads), pool.submit(write, 1, payloads[::-1])):
            written.result()

    assert orders.query("SELECT count(*), count(DISTINCT order_id) FROM orders") == [(5000, 5000)]
    assert orders.query("SELECT sum(stored), sum(duplicates) FROM kafka_ledger") == [(5000, 5000)]


def test_events_go_straight_into_the_table_until_duplicates_come(orders: Database) -> None:
    """A temporary table and an INSERT cost more than COPY; a COPY in vain leaves dead rows, so it is rarely tried."""
    settings = settings_on(orders).model_copy(update={"event": Event(contract=SETTING)})
    topic, store = TopicIdentity("orders", "an id"), PostgresStore(settings, credentials_for(orders))
    generation, _ = store.positions(topic, {0: (0, 1000)})
    offsets = itertools.count()

    def went_straight(key: str) -> bool:
        offset = next(offsets)
        records = [MemoryRecord(0, offset, order(key), round(time.time() * 1000))]
        batch = Batch.of([Slice(0, offset, offset + 1, records)], generation, Decode(ORDERS, MAX_FUTURE))
        store.write(batch, topic, MemoryCheck())
        # The COPY has a subtransaction of its own, the INSERT is in the transaction of the ledger.
        ((straight,),) = orders.query(
            "SELECT max(o.xmin::text) <> max(l.xmin::text) FROM kafka_ledger AS l, orders AS o WHERE order_id = %s",
            key,
        )
        return bool(straight)

    assert went_straight("first")
    went_straight("first")
    assert not any(went_straight(f"{number}") for number in range(WITHOUT_DUPLICATES))
    assert went_straight("last")
    store.close()
    assert orders.query("SELECT stored, duplicates FROM kafka_ledger") == [(WITHOUT_DUPLICATES + 2, 1)]


def test_row_id_that_is_taken_is_no_duplicate(start: StartService, topic: Topic, orders: Database) -> None:
    """The ledger was restored alone: its rows are there, and must not be counted as events that were sent again."""
    topic.create(partitions=1)
    topic.send(placed(10))
    consumer = start("consumer", HEARTBEAT_EVENT__CONTRACT=SETTING)
    wait_until(lambda: orders.passed() == topic.ends(1), within_s=60, what="all messages passed")
    consumer.stop()
    orders.query("UPDATE kafka_ledger SET next_offset = 0, stored = 0, last_offset = NULL, last_fingerprint = NULL")
    again = start("consumer", HEARTBEAT_EVENT__CONTRACT=SETTING)

    assert again.wait() == 3
    assert "a row is there already that the ledger has not counted" in again.text()


def test_replay_leaves_a_duplicate_in_quarantine(start: StartService, topic: Topic, orders: Database) -> None:
    """No row proves that the message may be deleted; the ledger still balances."""
    ahead = b'{"order_id": "%s", "ordered_at": "2999-01-01T00:00:00Z", "lines": [], "total_cents": 1}'
    topic.create(partitions=1)
    topic.send([(b"a", ahead % b"a"), (b"a", ahead % b"a"), (b"b", ahead % b"b"), (b"b", order("b"))])
    consumer = start("consumer", HEARTBEAT_EVENT__CONTRACT=SETTING)
    wait_until(lambda: orders.passed() == topic.ends(1), within_s=60, what="all messages passed")
    consumer.stop()
    orders.query("UPDATE rejected_heartbeats SET appended_at = '2998-12-31 23:59:00+00'")
    replay = start("consumer", "replay", HEARTBEAT_EVENT__CONTRACT=SETTING)

    assert replay.wait() == 0
    assert "1 messages moved to orders" in replay.text()
    assert "2 stay in quarantine: duplicate" in replay.text()
    assert orders.query("SELECT stored, rejected, replayed FROM kafka_ledger") == [(2, 2, 1)]
    assert start("consumer", "verify", "--full", HEARTBEAT_EVENT__CONTRACT=SETTING).wait() == 0


def test_role_needs_a_right_that_the_examples_grants_give_and_the_roles_take_away(
    start: StartService, topic: Topic, database: Database
) -> None:
    """As the example's compose file does it: db/roles.sql, the table's SQL (here twice), then the grants."""
    topic.create(partitions=1)
    topic.send(placed(10))
    with test_roles.made_for(database) as roles:
        settings = {"HEARTBEAT_EVENT__CONTRACT": SETTING, **roles.as_consumer}
        grants = ["--set=table=orders", "--set=unique=true", f"--file={TABLE}", f"--file={TABLE}", f"--file={GRANTS}"]
        names = test_roles.environment(roles.consumer, roles.reader, test_roles.PASSWORD)
        test_roles.client("psql", database, "-q", "-v", "ON_ERROR_STOP=1", *grants, **names)
        consumer = start("consumer", **settings)
        wait_until(lambda: database.passed() == topic.ends(1), within_s=60, what="all messages passed")
        consumer.stop()
        with roles.connect(roles.reader) as reader:
            assert reader.execute("SELECT count(*) FROM orders").fetchone() == (10,)
        test_roles.apply(roles, database, "roles.sql")
        refused = start("consumer", **settings)

        assert refused.wait() == 2
        assert "the role lacks the right TEMPORARY on the database, which unique fields need" in refused.text()
        assert '"hint": "As the owner, create the index or grant the right' in refused.text()
