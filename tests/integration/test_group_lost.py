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


def read_for(source: KafkaSource, seconds: float) -> list[int]:
    """Read, and return the offsets."""
    until, offsets = time.monotonic() + seconds, []
    while time.monotonic() < until:
        offsets += [record.offset() or 0 for part in source.read() for record in part.records]
    return offsets


def test_client_that_no_longer_delivers_what_kafka_holds_is_replaced(
    source: KafkaSource, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a broker had frozen, librdkafka polled on without a connection, and without an error."""
    for name, seconds in (("IDLE_S", 0.3), ("ASK_EVERY_S", 0.1), ("PATIENCE_S", 1.0)):
        monkeypatch.setattr(delivery, name, seconds)
    source.subscribe()
    wait_until(lambda: read_until_assigned(source))
    source.start_at({0: Position(0), 1: Position(0)})
    topic.send([(b"a", b"1")], partition=0)
    assert read_for(source, 3) == [0]  # nothing is left to read: that is no fault, however long
    source._consumer.pause([TopicPartition(topic.name, 0)])  # noqa: SLF001 - behind its back: it delivers no more
    topic.send([(b"a", b"2")], partition=0)

    with pytest.raises(MembershipLostError, match=r"no record of partition 0 .* Kafka holds more from offset 1 on"):
        read_for(source, 10)


def test_client_that_no_longer_delivers_one_partition_is_replaced_while_others_flow(
    source: KafkaSource, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several brokers, one freezes: no read is without records, and only its partitions stand still."""
    for name, seconds in (("IDLE_S", 0.3), ("ASK_EVERY_S", 0.1), ("PATIENCE_S", 1.0)):
        monkeypatch.setattr(delivery, name, seconds)
    source.subscribe()
    wait_until(lambda: read_until_assigned(source))
    source.start_at({0: Position(0), 1: Position(0)})
    source._consumer.pause([TopicPartition(topic.name, 0)])  # noqa: SLF001 - as above
    topic.send([(b"a", b"1")], partition=0)

    def read_others() -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            topic.send([(b"b", b"1")], partition=1)
            source.read()

    with pytest.raises(MembershipLostError, match="no record of partition 0"):
        read_others()
