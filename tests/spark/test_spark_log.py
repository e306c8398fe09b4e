"""Spark and the log's end: offsets without a record, and a log that was cut."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.kafka import KafkaServer
from local.waiting import wait_until
from tests.conftest import StartService
from tests.cut_log import keep_copy, restore_copy
from tests.pipeline import Database, Row, Topic, encode, heartbeats
from tests.spark.conftest import StartSpark

pytestmark = [pytest.mark.integration, pytest.mark.spark, pytest.mark.timeout(800)]

START_S = 300.0  # Java, Spark and the first query take 10 s, and minutes on a machine that is busy with more


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    with KafkaServer(tmp_path / "kafka") as server:
        yield server


def test_offsets_without_a_record_at_the_end_of_the_log_are_passed(
    start: StartService, start_spark: StartSpark, topic: Topic, database: Database
) -> None:
    """Lag would never be 0, and once Kafka has dropped them, the next start would take them for lost messages."""
    topic.create(partitions=2)
    rows = heartbeats(60)
    producer = topic.producer(**{"transactional.id": topic.name})
    producer.init_transactions(20)

    def send(part: list[Row]) -> None:
        producer.begin_transaction()
        for row in part:
            producer.produce(topic.name, encode(row), partition=0)
        producer.flush(20)

    send(rows[:20])
    producer.commit_transaction(20)
    spark = start_spark()
    wait_until(lambda: database.passed() == {0: 21, 1: 0}, within_s=START_S, what="the marker is passed")
    send(rows[20:40])
    producer.abort_transaction(20)
    wait_until(lambda: database.passed() == {0: 42, 1: 0}, within_s=START_S, what="the aborted records are passed")
    send(rows[40:])
    topic.send([(None, encode(rows[20]))], partition=1)
    wait_until(lambda: database.passed()[1] == 1, within_s=START_S, what="the other partition goes on")
    assert database.passed()[0] == 42
    producer.commit_transaction(20)
    wait_until(
        lambda: database.passed() == topic.ends(2), within_s=START_S, what="the open transaction's records are stored"
    )

    assert database.lost_and_surplus(rows[:21] + rows[40:]) == ([], [])
    assert database.query("SELECT stored, skipped FROM kafka_ledger ORDER BY partition") == [(40, 23), (1, 0)]
    assert spark.stop() == 0
    verify = start("consumer", "verify", "--full")
    assert verify.wait() == 0
    assert "Kafka holds 0 more" in verify.text()


def test_log_that_was_cut_and_has_grown_again_stops_spark(
    start_spark: StartSpark, own_kafka: KafkaServer, topic: Topic, database: Database
) -> None:
    """While it runs, and when it starts again."""
    topic.server = own_kafka
    where = {"HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS": own_kafka.bootstrap_servers}
    topic.create(partitions=1)
    rows = topic.send_heartbeats(100)
    spark = start_spark(**where)
    wait_until(lambda: database.count() == 100, within_s=START_S)
    keep_copy(own_kafka)
    rows += topic.send_heartbeats(50, seed=8)
    wait_until(lambda: database.count() == 150, within_s=START_S)
    os.killpg(os.getpgid(spark.process.pid), signal.SIGSTOP)
    restore_copy(own_kafka)
    topic.send_heartbeats(80, seed=9)
    os.killpg(os.getpgid(spark.process.pid), signal.SIGCONT)

    assert spark.wait(START_S) == 3
    again = start_spark(**where)
    assert again.wait() == 3
    for one in (spark, again):
        assert "was cut and has grown again, it holds another record at offset 149" in one.text()
    assert database.lost_and_surplus(rows) == ([], [])
    assert database.passed() == {0: 150}
