"""Events that a producer sends again are stored once by both engines, in turn."""

import pytest

from examples.orders.contract import ORDERS
from examples.orders.producer import order
from local.waiting import wait_until
from tests.conftest import StartService
from tests.events import prepare
from tests.pipeline import Database, Topic
from tests.spark.conftest import StartSpark

pytestmark = [pytest.mark.integration, pytest.mark.spark, pytest.mark.timeout(300)]


def test_engines_in_turn_count_the_same_duplicates(
    start: StartService, start_spark: StartSpark, topic: Topic, database: Database
) -> None:
    """Spark writes with the consumer's own store: what one engine stored is a duplicate for the other."""
    settings = prepare(database, ORDERS)
    sent = [(b"%d" % n, order(f"{n}")) for n in range(500)]
    topic.create(partitions=2)
    topic.send([*sent, *sent])
    spark = start_spark(**settings)
    wait_until(lambda: database.passed() == topic.ends(2), within_s=200, what="all messages passed by Spark")
    spark.stop()
    assert database.query("SELECT sum(stored), sum(duplicates) FROM kafka_ledger") == [(500, 500)]
    assert sum(event.get("duplicates", 0) for event in spark.events("Stored")) == 500
    topic.send(sent)
    start("consumer", **settings)
    wait_until(lambda: database.passed() == topic.ends(2), within_s=60, what="all messages passed by the consumer")

    assert database.query("SELECT sum(stored), sum(duplicates) FROM kafka_ledger") == [(500, 1000)]
    assert database.query("SELECT count(*), count(DISTINCT order_id) FROM orders") == [(500, 500)]
    assert start("consumer", "verify", "--full", **settings).wait() == 0
