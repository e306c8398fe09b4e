"""The consumer on a real Kafka and a real PostgreSQL."""

from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewPartitions

from local.schema import apply_schema
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats

pytestmark = pytest.mark.integration


def test_each_event_becomes_one_row_with_its_very_values(start: StartService, topic: Topic, database: Database) -> None:
    """The whole job in one sentence."""
    consumer = start("consumer")
    wait_until(lambda: "topic created" in consumer.text())
    sent = topic.send_heartbeats(5000)
    wait_until(lambda: database.passed() == topic.ends())

    assert database.lost_and_surplus(sent) == ([], [])
    assert consumer.stop() == 0
    assert sum(event["count"] for event in consumer.events("Stored")) == 5000


def test_row_ids_name_the_place_in_kafka(start: StartService, topic: Topic, database: Database) -> None:
    """`verify` proves every offset from the ids alone; a second copy of an event breaks the primary key."""
    topic.create(partitions=2)
    topic.send([(b"CUST-000001", encode(row)) for row in heartbeats(10)], partition=1)
    start("consumer")
    wait_until(lambda: database.count() == 10)

    places = database.query("SELECT (kafka_place(id)).* FROM heartbeats ORDER BY id")
    assert places == [(1, 1, offset) for offset in range(10)]


def test_events_of_one_customer_out_of_order_late_and_repeated_are_all_stored(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Only Kafka's place makes an event unique: two equal events are two heartbeats, and old ones are welcome."""
    topic.create()
    now = datetime.now(UTC)
    late = datetime(1999, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)
    rows = [("CUST-000001", at, 70) for at in (now, now, *late)]
    topic.send((b"CUST-000001", encode(row)) for row in rows)
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends())

    found = database.query("SELECT count(*), min(\"timestamp\") = '0001-01-01 00:00:00+00' FROM heartbeats")
    assert found == [(4, True)]


def test_quarantine_keeps_place_key_bytes_and_reason(start: StartService, topic: Topic, database: Database) -> None:
    """Nothing vanishes: a bad message can be read, and validated again, exactly as it came."""
    topic.create(partitions=1)
    good = heartbeats(2)
    topic.send([(b"a", encode(good[0])), (b"\xff\x00key", b"\x00\xffnot json"), (None, None), (b"b", encode(good[1]))])
    start("consumer")
    wait_until(lambda: database.passed() == {0: 4})

    assert database.lost_and_surplus(good) == ([], [])
    assert database.query(
        'SELECT topic, partition, "offset", key, payload, payload_length, reason, kafka_place(id)::text'
        ' FROM rejected_heartbeats ORDER BY "offset"'
    ) == [
        (topic.name, 0, 1, b"\xff\x00key", b"\x00\xffnot json", 10, "not_utf8", "(1,0,1)"),
        (topic.name, 0, 2, None, None, 0, "tombstone", "(1,0,2)"),
    ]


def test_long_payload_is_cut_in_quarantine_with_its_full_length(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Quarantine must not eat the disk."""
    topic.create(partitions=1)
    topic.send([(None, b"x" * 1000)])
    start("consumer", HEARTBEAT_CONSUMER__MAX_PAYLOAD_BYTES="10")
    wait_until(lambda: database.passed() == {0: 1})

    assert database.query("SELECT payload, payload_length FROM rejected_heartbeats") == [(b"x" * 10, 1000)]


def test_transaction_markers_and_aborted_records_are_counted_as_skipped(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Foreign producers use transactions: markers take offsets but hold no record, and the ledger still balances."""
    topic.create(partitions=1)
    committed = heartbeats(40)
    producer = topic.producer(**{"transactional.id": topic.name})
    producer.init_transactions(20)
    for number in range(4):
        producer.begin_transaction()
        for row in committed[10 * number : 10 * number + 10]:
            producer.produce(topic.name, encode(row))
        producer.commit_transaction(20)
        producer.begin_transaction()
        producer.produce(topic.name, b"never")
        producer.flush(20)
        producer.abort_transaction(20)
    last = topic.send_heartbeats(1, seed=9)
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends(1))

    assert database.lost_and_surplus(committed + last) == ([], [])
    assert database.query("SELECT stored, rejected, skipped FROM kafka_ledger") == [(41, 0, topic.ends(1)[0] - 41)]
    assert start("consumer", "verify", "--full").wait() == 0


def test_kafka_is_shown_the_offsets_but_never_asked_for_them(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Lag displays need the group's offsets; a group that somebody reset must not make us read anything twice."""
    topic.create()
    topic.send_heartbeats(600)
    first = start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    assert first.stop() == 0
    group = Consumer({"bootstrap.servers": topic.server.bootstrap_servers, "group.id": f"{topic.name}-consumer"})
    places = [TopicPartition(topic.name, partition) for partition in range(6)]

    def shown() -> dict[int, int]:
        return {place.partition: place.offset for place in group.committed(places, timeout=10)}

    assert shown() == topic.ends()

    group.commit(offsets=[TopicPartition(topic.name, p, 0) for p in range(6)], asynchronous=False)
    start("consumer")
    wait_until(lambda: shown() == topic.ends(), what="the truth is shown though nothing new has come")
    group.close()
    topic.send_heartbeats(600, seed=8)
    wait_until(lambda: database.passed() == topic.ends())
    assert database.count() == 1200


def test_database_knows_the_lag(start: StartService, topic: Topic, database: Database) -> None:
    """Grafana shows it, and warns of it, without a connection to Kafka."""
    topic.create(partitions=2)
    topic.send_heartbeats(20)
    start("consumer")
    wait_until(lambda: database.query("SELECT sum(log_end) FROM kafka_log_ends") == [(20,)])
    wait_until(lambda: database.count() == 20)
    database.query("UPDATE kafka_log_ends SET newest_stored_at = now() - interval '1 min'")

    assert database.query("SELECT DISTINCT topic, records, seconds FROM kafka_lag()") == [(topic.name, 0, 0.0)]
    database.query("UPDATE kafka_ledger SET next_offset = next_offset - 3, stored = stored - 3")
    assert database.query("SELECT sum(records), min(seconds) >= 60 FROM kafka_lag()") == [(6, True)]


def test_another_group_goes_on_where_the_ledger_stands(start: StartService, topic: Topic, database: Database) -> None:
    """So a group that Kafka cannot repair can be left behind."""
    topic.create(partitions=2)
    sent = heartbeats(300, seed=5)
    topic.send((None, encode(row)) for row in sent[:200])
    first = start("consumer")
    wait_until(lambda: database.count() == 200)
    assert first.stop() == 0
    topic.send((None, encode(row)) for row in sent[200:])
    start("consumer", HEARTBEAT_KAFKA__GROUP_ID="another")
    wait_until(lambda: database.count() == 300)

    assert sorted(database.rows()) == sorted(sent)


def test_two_consumers_share_the_partitions(start: StartService, topic: Topic, database: Database) -> None:
    """`--scale consumer=N` needs nothing else."""
    topic.create()
    consumers = [start("consumer"), start("consumer")]
    wait_until(lambda: all(any(c.events("service started")) for c in consumers))
    total = 0

    def both_store() -> bool:
        nonlocal total
        total += len(topic.send_heartbeats(300, seed=total))
        return all(any(c.events("Stored")) for c in consumers)

    wait_until(both_store, what="both consumers store")
    wait_until(lambda: database.passed() == topic.ends())

    assert database.count() == total


def test_partitions_added_while_running_are_read(start: StartService, topic: Topic, database: Database) -> None:
    """Growing a topic is an ordinary thing to do."""
    topic.create(partitions=1)
    start("consumer")
    topic.send_heartbeats(10)
    wait_until(lambda: database.count() == 10)
    admin = topic.admin
    admin.create_partitions([NewPartitions(topic.name, 3)])[topic.name].result()
    for partition in range(3):
        topic.send([(None, encode(row)) for row in heartbeats(5, seed=partition)], partition=partition)
    wait_until(lambda: database.count() == 25, within_s=40)

    assert database.passed() == topic.ends(3)


def test_classic_group_protocol_works_by_setting(start: StartService, topic: Topic, database: Database) -> None:
    """For brokers before 4.0."""
    topic.create()
    sent = topic.send_heartbeats(500)
    for _ in range(2):
        start("consumer", HEARTBEAT_KAFKA__GROUP_PROTOCOL="classic")
    wait_until(lambda: database.passed() == topic.ends())

    assert database.lost_and_surplus(sent) == ([], [])


def test_verify_finds_a_row_that_is_missing_and_one_that_is_there_twice(
    start: StartService, topic: Topic, database: Database
) -> None:
    """A proof that cannot fail proves nothing."""
    topic.create()
    topic.send_heartbeats(100)
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    consumer.stop()
    assert start("consumer", "verify", "--full").wait() == 0

    database.query("UPDATE heartbeats SET id = id + 1 WHERE id = (SELECT max(id) FROM heartbeats)")
    outside = start("consumer", "verify", "--full")
    assert outside.wait() == 1
    assert "outside of what was read" in outside.text()

    database.query("DELETE FROM heartbeats WHERE id = (SELECT max(id) FROM heartbeats)")
    missing = start("consumer", "verify", "--full")
    assert missing.wait() == 1
    assert "DOES NOT balance" in missing.text()

    database.query(
        'INSERT INTO heartbeats (id, customer_id, "timestamp", heart_rate)'
        " SELECT id, customer_id, \"timestamp\" + interval '1 s', heart_rate FROM heartbeats LIMIT 1"
    )
    twice = start("consumer", "verify", "--full")
    assert twice.wait() == 1
    assert "twice" in twice.text()


def test_schema_can_be_applied_again_to_a_filled_database(database: Database) -> None:
    """An upgrade is the same file once more."""
    database.query("INSERT INTO heartbeats (customer_id, \"timestamp\", heart_rate) VALUES ('a', now(), 70)")
    for _ in range(2):
        apply_schema(database.server, database.name)

    assert database.count() == 1
