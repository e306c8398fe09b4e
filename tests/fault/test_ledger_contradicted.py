"""Kafka, the ledger and the tables contradict each other: what is safe goes on, everything else stops and says so."""

import pytest
from confluent_kafka import TopicPartition

from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.mark.parametrize("partitions", [2, 6, 9])
def test_topic_made_again_while_the_consumer_runs(
    partitions: int, start: StartService, topic: Topic, database: Database
) -> None:
    """Its offsets start at 0 again under a new id; the old rows stay, the new ones are a generation of their own."""
    topic.create()
    sent = topic.send_heartbeats(500)
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    topic.delete()
    topic.create(partitions=partitions)
    sent += topic.send_heartbeats(700, seed=8)
    wait_until(lambda: database.count() == 1200, within_s=60)

    assert database.lost_and_surplus(sent) == ([], [])
    assert database.query("SELECT count(*) FROM kafka_topics") == [(2,)]
    assert consumer.stop() == 0
    assert start("consumer", "verify", "--full").wait() == 0


def test_messages_expired_unread_stop_the_consumer_until_a_setting_says_so(
    start: StartService, topic: Topic, database: Database
) -> None:
    """They are gone for good: somebody must know which, before anything goes on."""
    topic.create(partitions=1)
    topic.send_heartbeats(100)
    first = start("consumer")
    wait_until(lambda: database.count() == 100)
    first.stop()
    topic.send_heartbeats(50, seed=8)
    admin = topic.admin
    admin.delete_records([TopicPartition(topic.name, 0, 120)])[TopicPartition(topic.name, 0)].result()

    stopped = start("consumer")
    assert stopped.wait() == 3
    assert "20 messages, offsets 100 to 119" in stopped.text()

    start("consumer", HEARTBEAT_CONSUMER__SKIP_EXPIRED="true")
    wait_until(lambda: database.passed() == {0: 150})
    assert database.query("SELECT stored, expired FROM kafka_ledger") == [(130, 20)]
    assert start("consumer", "verify", "--full").wait() == 0


def test_messages_expired_under_the_running_consumer_are_noticed(
    start: StartService, topic: Topic, database: Database
) -> None:
    """The broker answers "out of range": never a jump to wherever the log begins now."""
    topic.create(partitions=1)
    topic.send_heartbeats(100)
    database.query("ALTER TABLE kafka_topics RENAME TO hidden")
    consumer = start("consumer")
    wait_until(lambda: "kafka_topics" in consumer.text())
    admin = topic.admin
    admin.delete_records([TopicPartition(topic.name, 0, 10)])[TopicPartition(topic.name, 0)].result()
    database.query("ALTER TABLE hidden RENAME TO kafka_topics")
    wait_until(lambda: database.passed() == {0: 100})

    assert database.query("SELECT start_offset, stored FROM kafka_ledger") == [(10, 90)]


def test_log_that_ends_before_the_ledger_stops_the_consumer(
    start: StartService, topic: Topic, database: Database
) -> None:
    """A restored volume: new records would get offsets that were used before."""
    topic.create(partitions=1)
    topic.send_heartbeats(100)
    first = start("consumer")
    wait_until(lambda: database.count() == 100)
    first.stop()
    database.query("UPDATE kafka_ledger SET next_offset = 500, skipped = 400")

    stopped = start("consumer")
    assert stopped.wait() == 3
    assert "offset 500 is next, but Kafka's log ends at 100" in stopped.text()


def test_emptied_ledger_stops_the_consumer_before_a_row_is_there_twice(
    start: StartService, topic: Topic, database: Database
) -> None:
    """The rows' ids remember what the ledger has forgotten."""
    topic.create()
    topic.send_heartbeats(100)
    first = start("consumer")
    wait_until(lambda: database.count() == 100)
    first.stop()
    database.query("DELETE FROM kafka_ledger")

    stopped = start("consumer")
    assert stopped.wait() == 3
    assert "a row is there already" in stopped.text()
    assert database.count() == 100


def test_empty_database_gets_everything_that_kafka_still_has(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Though the group's offsets are far ahead."""
    topic.create()
    sent = topic.send_heartbeats(300)
    first = start("consumer")
    wait_until(lambda: database.count() == 300)
    first.stop()
    database.query("TRUNCATE heartbeats, rejected_heartbeats, kafka_ledger, kafka_topics")
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends())

    assert database.lost_and_surplus(sent) == ([], [])


@pytest.mark.parametrize("deferred", ["", " DEFERRABLE INITIALLY DEFERRED"])
def test_row_that_postgresql_refuses_is_quarantined_without_its_neighbours(
    deferred: str, start: StartService, topic: Topic, database: Database
) -> None:
    """A constraint that was added later is stricter than validation; only the rows that it rejects are quarantined."""
    database.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF NEW.customer_id = 'CUST-000013' THEN RAISE 'unlucky'; END IF; RETURN NEW; END$$"
    )
    kind = "CONSTRAINT TRIGGER refuse AFTER INSERT" if deferred else "TRIGGER refuse BEFORE INSERT"
    database.query(f"CREATE {kind} ON heartbeats{deferred} FOR EACH ROW EXECUTE FUNCTION refuse()")
    topic.create()
    rows = topic.send_heartbeats(2000)
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends())

    assert database.lost_and_surplus(row for row in rows if row[0] != "CUST-000013") == ([], [])
    assert database.query("SELECT DISTINCT reason, detail, key FROM rejected_heartbeats") == [
        ("refused_by_postgresql", "P0001 unlucky", b"CUST-000013")
    ]
    assert start("consumer", "verify", "--full").wait() == 0


def test_table_that_refuses_most_rows_stops_the_consumer(start: StartService, topic: Topic, database: Database) -> None:
    """Then the schema is wrong, not the data, and quarantining everything would only move the problem."""
    database.query("ALTER TABLE heartbeats ADD CHECK (heart_rate < 0) NOT VALID")
    topic.create()
    topic.send_heartbeats(500)
    consumer = start("consumer")

    assert consumer.wait() == 3
    assert "PostgreSQL refused" in consumer.text()
    assert database.rejected() == []
    assert database.count() == 0


def test_flood_of_bad_messages_is_quarantined(start: StartService, topic: Topic, database: Database) -> None:
    """However many: the good ones among them are stored."""
    topic.create()
    good = heartbeats(200)
    topic.send(
        (b"k", encode(good[number // 100]) if number % 100 == 0 else b"{broken" * 10) for number in range(20_000)
    )
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends())

    assert database.lost_and_surplus(good) == ([], [])
    assert len(database.rejected()) == 19_800
