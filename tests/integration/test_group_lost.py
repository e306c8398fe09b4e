"""A member that lost its partitions joins again if it gets none."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition

from common.settings import Consumer, Kafka, Settings
from consumer import kafka_consumer
from consumer.errors import MembershipLostError
from consumer.kafka_consumer import KafkaSource
from consumer.worker import leave_group
from local.waiting import wait_until
from store.events import Events
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
