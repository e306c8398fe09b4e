"""An event is stored once only by a unique index: a consumer stores none without it (`unique` in a contract)."""

import time
from contextlib import closing
from typing import Final

import pytest

from common.errors import ConfigError
from common.event import MAX_FUTURE
from common.settings import Event
from common.topic_identity import TopicIdentity
from examples.orders.contract import ORDERS
from examples.orders.producer import order
from store.batch import Batch, Slice
from store.postgres import PostgresStore
from store.validation import Decode
from tests.conftest import StartService
from tests.events import prepare
from tests.memory import MemoryCheck
from tests.pipeline import Database, Topic
from tests.records import MemoryRecord
from tests.store import credentials_for, settings_on

SETTING: Final = "examples.orders.contract:ORDERS"

pytestmark = pytest.mark.integration


@pytest.fixture
def orders(database: Database) -> Database:
    """A database with the example's table."""
    prepare(database, ORDERS)
    return database


@pytest.mark.parametrize(
    "index",
    [
        "SELECT",
        "CREATE UNIQUE INDEX ON orders (order_id, ordered_at)",
        "CREATE UNIQUE INDEX ON orders (order_id) WHERE total_cents > 0",
        "CREATE INDEX ON orders (order_id)",
        "ALTER TABLE orders ADD UNIQUE (order_id) DEFERRABLE",
    ],
)
def test_missing_unique_index_is_told_in_one_line(
    start: StartService, topic: Topic, orders: Database, index: str
) -> None:
    topic.create(partitions=1)
    orders.query("DROP INDEX orders_order_id")
    orders.query(index)
    consumer = start("consumer", HEARTBEAT_EVENT__CONTRACT=SETTING)

    assert consumer.wait() == 2
    assert "cannot store events in table orders: a unique index on (order_id) is missing" in consumer.text()


@pytest.mark.parametrize("left", ["SELECT", "CREATE UNIQUE INDEX ON orders (order_id) WHERE total_cents < 0"])
def test_index_that_is_dropped_while_events_are_stored_lets_no_duplicate_in(orders: Database, left: str) -> None:
    """The table is checked when a session begins; a COPY needs no index, and would store each event again."""
    settings = settings_on(orders).model_copy(update={"event": Event(contract=SETTING)})
    topic, store = TopicIdentity("orders", "an id"), PostgresStore(settings, credentials_for(orders))
    generation, _ = store.positions(topic, {0: (0, 1000)})

    def write(offset: int) -> None:
        records = [MemoryRecord(0, offset, order("the same"), round(time.time() * 1000))]
        batch = Batch.of([Slice(0, offset, offset + 1, records)], generation, Decode(ORDERS, MAX_FUTURE))
        store.write(batch, topic, MemoryCheck())

    with closing(store):
        write(0)
        orders.query("DROP INDEX orders_order_id")
        orders.query(left)
        with pytest.raises(ConfigError, match=r"a unique index on \(order_id\) is missing"):
            write(1)

    assert orders.query("SELECT count(*) FROM orders") == [(1,)]
