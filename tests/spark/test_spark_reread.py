"""A range is read again while Spark writes."""

import pytest

from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic
from tests.reread import SMALL, balances, long_ago, run
from tests.spark.conftest import StartSpark

pytestmark = [pytest.mark.integration, pytest.mark.spark, pytest.mark.timeout(300)]


def test_reread_does_not_disturb_spark(
    start: StartService, start_spark: StartSpark, topic: Topic, database: Database
) -> None:
    """Spark's positions are behind the range, so it is neither fenced nor restarted."""
    topic.create(partitions=2)
    sent = topic.send_heartbeats(2000)
    spark = start_spark()
    wait_until(lambda: database.passed() == topic.ends(2), within_s=200, what="the first part stored by Spark")
    sent += topic.send_heartbeats(2000, seed=8)
    printed = run(start, "--from", long_ago(), **SMALL).text()
    sent += topic.send_heartbeats(2000, seed=9)
    wait_until(lambda: database.passed() == topic.ends(2), within_s=100, what="everything stored by Spark")

    assert "0 quarantined" in printed
    assert database.query("SELECT sum(reread) >= 2000 FROM kafka_ledger") == [(True,)]
    assert database.lost_and_surplus(sent) == ([], [])
    assert list(spark.events("stale batch dropped")) == []
    assert balances(start)
