"""What the broker says of the topic, without a broker."""

import pytest
from confluent_kafka import Node, TopicPartitionInfo, Uuid
from confluent_kafka.admin import TopicDescription

from common.errors import ConfigError
from common.topic import TopicState
from consumer.batch import TopicIdentity
from consumer.topic_identity import identity


def described(topic_id: Uuid, partitions: int = 2) -> TopicDescription:
    """Make the answer of a broker."""
    node = Node(1, "127.0.0.1", 9092)
    parts = [TopicPartitionInfo(number, node, [node], [node]) for number in range(partitions)]
    return TopicDescription("heartbeats", topic_id, is_internal=False, partitions=parts)


def test_topic_is_known_by_the_id_that_kafka_prints() -> None:
    topic_id = Uuid(1, 2)

    state = TopicState.of(described(topic_id))

    assert state == TopicState(str(topic_id), 2)
    assert identity("heartbeats", state) == TopicIdentity("heartbeats", str(topic_id))


def test_topic_without_an_id_is_not_read() -> None:
    """Of two topics with one name, the second would go on at the first one's offset: its first messages are lost."""
    state = TopicState.of(described(Uuid(0, 0)))

    assert state == TopicState(None, 2)
    with pytest.raises(ConfigError) as raised:
        identity("heartbeats", state)
    assert raised.value.message.startswith("cannot read topic heartbeats: ")
    assert "2.8" in raised.value.hint
