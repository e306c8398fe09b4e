"""A member joins again with a new client: if it lost its partitions and gets none, or if it gets no records."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition

from common.settings import Consumer, Kafka, Settings
from consumer import delivery, kafka_consumer
from consumer.errors import MembershipLostError
from consumer.kafka_consumer import KafkaSource
from consumer.worker import leave_group
from local.waiting import wait_until
from store.events import Events
from store.position import Position
from tests.pipeline import Topic

pytestmark = pytest.mark.integration


@pytest.fixture
def source(topic: Topic) -> Iterator[KafkaSource]:
    topic.create(partitions=2)
    topic.ends(2)
    address = Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name, group_id=topic.name)
    made = KafkaSource(
        Settings().model_copy(update={"kafka": address, "consumer": Consumer()}), lambda: None, Events("consumer")
    )
    yield made
    leave_group(made)


def read_until_assigned(source: KafkaSource) -> bool:
    source.read()
    return source.unstarted == {0, 1}


def test_member_without_partitions_after_it_had_some_begins_anew(
    source: KafkaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker before 4.2 can refuse for ever a member that joins again under its own id (KAFKA-19233)."""
    monkeypatch.setattr(kafka_consumer, "REJOIN_S", 0.3)
    source.subscribe()
    wait_until(lambda: read_until_assigned(source))
    time.sleep(0.4)  # as long as it has partitions, nothing happens, however little is read
    source.read()
    source._unassign(source._consumer, [TopicPartition(source.topic.name, partition) for partition in (0, 1)])  # noqa: SLF001
    source.read()
    time.sleep(0.4)

    with pytest.raises(MembershipLostError, match="no partition from group"):
        source.read()


def test_member_that_never_had_a_partition_waits(source: KafkaSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """More consumers than partitions are a reserve; they must not disturb the group again and again."""
    monkeypatch.setattr(kafka_consumer, "REJOIN_S", 0.01)
    time.sleep(0.02)

    assert source.read() == []


@pytest.fixture
def reading(source: KafkaSource, monkeypatch: pytest.MonkeyPatch) -> KafkaSource:
    """A source that has started its partitions, and waits a second for what Kafka holds."""
    for name, seconds in (("IDLE_S", 0.3), ("ASK_EVERY_S", 0.1), ("PATIENCE_S", 1.0)):
        monkeypatch.setattr(delivery, name, seconds)
    source.subscribe()
    wait_until(lambda: read_until_assigned(source))
    source.start_at({0: Position(0), 1: Position(0)})
    return source


def read_for(source: KafkaSource, seconds: float) -> list[int]:
    """Read, and return the offsets."""
    until, offsets = time.monotonic() + seconds, []
    while time.monotonic() < until:
        offsets += [record.offset() or 0 for part in source.read() for record in part.records]
    return offsets


def test_client_that_no_longer_delivers_what_kafka_holds_is_replaced(reading: KafkaSource, topic: Topic) -> None:
    """After a broker had frozen, librdkafka polled on without a connection, and without an error."""
    topic.send([(b"a", b"1")], partition=0)
    assert read_for(reading, 3) == [0]  # nothing is left to read: that is no fault, however long
    reading._consumer.pause([TopicPartition(topic.name, 0)])  # noqa: SLF001 - behind its back: it delivers no more
    topic.send([(b"a", b"2")], partition=0)

    with pytest.raises(MembershipLostError, match=r"no record of partition 0 .* Kafka holds more from offset 1 on"):
        read_for(reading, 10)


def test_client_that_no_longer_delivers_one_partition_is_replaced_while_others_flow(
    reading: KafkaSource, topic: Topic
) -> None:
    """Of several brokers, one freezes: no read is without records, and only its partitions stand still."""
    reading._consumer.pause([TopicPartition(topic.name, 0)])  # noqa: SLF001 - as above
    topic.send([(b"a", b"1")], partition=0)

    def read_others() -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            topic.send([(b"b", b"1")], partition=1)
            reading.read()

    with pytest.raises(MembershipLostError, match="no record of partition 0"):
        read_others()


def test_long_rest_with_records_waiting_is_no_fault_of_the_client(reading: KafkaSource, topic: Topic) -> None:
    """In an outage of PostgreSQL nothing is read; the first read afterwards must not end the session."""
    place = [TopicPartition(topic.name, 0)]
    reading._consumer.pause(place)  # noqa: SLF001 - as above
    topic.send([(b"a", b"1")], partition=0)
    assert read_for(reading, 0.8) == []  # it is known that a record waits
    time.sleep(1.5)
    assert reading.read() == []
    reading._consumer.resume(place)  # noqa: SLF001 - as above

    assert read_for(reading, 0.9) == [0]
