"""Offsets at a log's end that hold no record: the ledger passes them, the lag reaches 0, and retention does no harm."""

import pytest
from confluent_kafka import KafkaException, TopicPartition

from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Row, Topic, encode, heartbeats

pytestmark = pytest.mark.integration


def send_transaction(topic: Topic, rows: list[Row], *, commit: bool) -> None:
    """Send readings in a transaction, which leaves a marker behind them."""
    producer = topic.producer(**{"transactional.id": topic.name})
    producer.init_transactions(20)
    producer.begin_transaction()
    for row in rows:
        producer.produce(topic.name, encode(row), partition=0)
    producer.flush(20)
    if commit:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


def delete_up_to(topic: Topic, offset: int) -> None:
    """Remove the records before an offset, as retention does."""
    admin = topic.admin

    def delete() -> bool:
        try:
            admin.delete_records([TopicPartition(topic.name, 0, offset)])[TopicPartition(topic.name, 0)].result()
        except KafkaException:
            return False
        return True

    wait_until(delete, what="records deleted")


def test_marker_at_the_end_is_skipped_without_waiting_for_another_record(
    start: StartService, topic: Topic, database: Database
) -> None:
    """A lag that stays at 1 for ever is an alarm for nothing."""
    topic.create(partitions=1)
    rows = heartbeats(10)
    consumer = start("consumer")
    send_transaction(topic, rows, commit=True)
    wait_until(lambda: database.passed() == {0: 11})

    assert database.lost_and_surplus(rows) == ([], [])
    assert database.query("SELECT stored, rejected, skipped FROM kafka_ledger") == [(10, 0, 1)]
    more = topic.send_heartbeats(5, seed=9)
    wait_until(lambda: database.passed() == {0: 16})
    assert database.lost_and_surplus(rows + more) == ([], [])
    assert consumer.stop() == 0
    verify = start("consumer", "verify", "--full")
    assert verify.wait() == 0
    assert "Kafka holds 0 more" in verify.text()


def test_aborted_tail_is_skipped_and_may_be_deleted(start: StartService, topic: Topic, database: Database) -> None:
    """Once retention has removed the tail, a ledger that stands before it looks as if messages had been dropped."""
    topic.create(partitions=1)
    rows = topic.send_heartbeats(10)
    consumer = start("consumer")
    send_transaction(topic, heartbeats(1000, seed=8), commit=False)
    wait_until(lambda: database.passed() == {0: 1011})
    assert consumer.stop() == 0
    delete_up_to(topic, 1011)
    again = start("consumer")
    more = topic.send_heartbeats(5, seed=9)
    wait_until(lambda: database.passed() == {0: 1016})

    assert database.lost_and_surplus(rows + more) == ([], [])
    assert database.query("SELECT stored, rejected, skipped, expired FROM kafka_ledger") == [(15, 0, 1001, 0)]
    assert again.stop() == 0
    assert start("consumer", "verify", "--full").wait() == 0


def test_tail_that_retention_removed_before_anybody_read_it_is_not_passed_in_silence(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Offsets that were not read twice may have been records."""
    topic.create(partitions=1)
    topic.send_heartbeats(10)
    consumer = start("consumer")
    wait_until(lambda: database.passed() == {0: 10})
    assert consumer.stop() == 0
    send_transaction(topic, heartbeats(20, seed=8), commit=True)
    delete_up_to(topic, 31)

    assert start("consumer").wait() == 3


def test_open_transaction_is_not_passed(start: StartService, topic: Topic, database: Database) -> None:
    """Its records may be committed yet; what stands before it is stored at once."""
    topic.create(partitions=1)
    rows = topic.send_heartbeats(10)
    producer = topic.producer(**{"transactional.id": topic.name})
    producer.init_transactions(20)
    producer.begin_transaction()
    pending = heartbeats(7, seed=5)
    for row in pending:
        producer.produce(topic.name, encode(row), partition=0)
    producer.flush(20)
    start("consumer")
    wait_until(lambda: database.passed() == {0: 10})
    after = topic.send_heartbeats(3, seed=6)
    producer.commit_transaction(20)
    wait_until(lambda: database.passed() == {0: 21})

    assert database.lost_and_surplus(rows + pending + after) == ([], [])
    assert database.query("SELECT stored, skipped FROM kafka_ledger") == [(20, 1)]
