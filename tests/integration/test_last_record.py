"""The last record that was taken is looked up at each start: what Kafka does by itself is no contradiction."""

import pytest
from confluent_kafka import Consumer, TopicPartition

from local.schema import apply_schema
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats

pytestmark = pytest.mark.integration


def first_offset(topic: Topic) -> int:
    """Return the offset of the first record that Kafka still holds."""
    client = Consumer({"bootstrap.servers": topic.server.bootstrap_servers, "group.id": "tests"})
    client.assign([TopicPartition(topic.name, 0, 0)])
    (message,) = client.consume(1, 10)
    client.close()
    offset = message.offset()
    assert offset is not None
    return offset


def last_offset(database: Database) -> object:
    return database.query("SELECT last_offset, last_fingerprint IS NOT NULL FROM kafka_ledger")[0]


def restart(start: StartService, topic: Topic, database: Database) -> None:
    """Start a consumer, wait until it has stored what is new, and stop it."""
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends(1), what=consumer.text())
    assert consumer.stop() == 0


def test_last_record_in_front_of_a_marker_and_an_older_ledger_are_no_contradiction(
    start: StartService, topic: Topic, database: Database
) -> None:
    """A marker stands behind the last record, an older version has noted none, an empty record has no fingerprint."""
    topic.create(partitions=1)
    producer = topic.producer(**{"transactional.id": topic.name})
    producer.init_transactions(20)
    rows = heartbeats(20)
    for part in (rows[:10], rows[10:]):
        producer.begin_transaction()
        for row in part:
            producer.produce(topic.name, encode(row))
        producer.commit_transaction(20)
    for _ in range(2):
        rows += topic.send_heartbeats(1, seed=8 + len(rows))
        restart(start, topic, database)
    assert last_offset(database) == (23, True)

    database.query("ALTER TABLE kafka_ledger DROP COLUMN last_offset, DROP COLUMN last_fingerprint")
    database.query("DELETE FROM heartbeat_migrations WHERE number <= 7")  # as before migrations were numbered
    apply_schema(database.server, database.name)
    rows += topic.send_heartbeats(1, seed=9)
    restart(start, topic, database)
    assert last_offset(database) == (24, True)

    topic.send([(None, None)])
    restart(start, topic, database)
    assert last_offset(database) == (25, False)
    rows += topic.send_heartbeats(1, seed=10)
    restart(start, topic, database)

    assert last_offset(database) == (26, True)
    assert database.lost_and_surplus(rows) == ([], [])
    assert start("consumer", "verify", "--full").wait() == 0


def test_last_record_that_kafka_has_compacted_or_deleted_is_no_contradiction(
    start: StartService, topic: Topic, database: Database
) -> None:
    """What is behind it says nothing about it."""
    compacted = {"cleanup.policy": "compact,delete", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    topic.create(partitions=1, **compacted)
    rows = heartbeats(6)
    topic.send([(b"other", encode(rows[0])), (b"same", encode(rows[1]))])
    restart(start, topic, database)
    for key, row in ((b"same", rows[2]), (b"other", rows[3]), (b"third", rows[4])):  # each in a segment of its own
        topic.send([(key, encode(row))])
    wait_until(lambda: first_offset(topic) > 1, within_s=60, what="compacted")
    restart(start, topic, database)
    topic.send([(b"same", encode(rows[5]))])
    admin = topic.admin
    admin.delete_records([TopicPartition(topic.name, 0, 5)])[TopicPartition(topic.name, 0)].result()
    restart(start, topic, database)

    assert database.lost_and_surplus(rows) == ([], [])
    assert database.query("SELECT stored, skipped FROM kafka_ledger") == [(6, 0)]
