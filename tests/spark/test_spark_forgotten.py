"""People who were forgotten before anything was read: the Spark engine does not store them either."""

import pytest

from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic
from tests.spark.conftest import StartSpark

pytestmark = [pytest.mark.integration, pytest.mark.spark, pytest.mark.timeout(300)]


def test_spark_stores_none_of_the_forgotten_peoples_messages(
    start: StartService, start_spark: StartSpark, topic: Topic, database: Database
) -> None:
    """Its workers write with the consumer's own store. The ledger did not know the topic when people were forgotten."""
    topic.create(partitions=2)
    sent = topic.send_heartbeats(1000)
    topic.send([(b"CUST-000007", b"broken"), (b"CUST-000008", b"broken")])
    assert start("consumer", "forget", "CUST-000007").wait() == 0
    spark = start_spark()
    wait_until(lambda: database.passed() == topic.ends(2), within_s=200, what="all messages passed by Spark")
    spark.stop()

    assert database.lost_and_surplus([row for row in sent if row[0] != "CUST-000007"]) == ([], [])
    assert database.query("SELECT sum(stored), sum(rejected), sum(erased) FROM kafka_ledger") == [(990, 1, 11)]
    assert start("consumer", "verify", "--full").wait() == 0
