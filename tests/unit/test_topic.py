"""What the broker says of the topic, without a broker."""

import pytest
from confluent_kafka import Node, TopicPartitionInfo, Uuid
from confluent_kafka.admin import TopicDescription

from common.errors import ConfigError
from common.settings import Kafka
from common.topic import TopicState
from common.topic_config import differences, wanted_config
from common.topic_identity import TopicIdentity, identity


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


def test_topic_as_the_settings_say_is_not_complained_of() -> None:
    kafka = Kafka()

    assert list(differences(kafka, 6, 1, wanted_config(kafka))) == []
    assert list(differences(kafka, 6, 1, {})) == []  # a broker that shows us nothing


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("retention.ms", "3600000", "has retention.ms=3600000, kafka.retention_hours asks for 604800000"),
        ("retention.bytes", "-1", "has retention.bytes=-1, kafka.retention_bytes asks for 2147483648"),
        ("max.message.bytes", "1048588", "has max.message.bytes=1048588, kafka.max_message_bytes asks for 262144"),
        (
            "message.timestamp.type",
            "CreateTime",
            "has message.timestamp.type=CreateTime, not LogAppendTime: records have",
        ),
        (
            "cleanup.policy",
            "compact,delete",
            "has cleanup.policy=compact,delete, not delete: compaction deletes all but",
        ),
    ],
)
def test_difference_of_a_topic_is_named_with_the_command_that_ends_it(name: str, value: str, line: str) -> None:
    kafka = Kafka(bootstrap_servers="broker:9092", topic="pulse")
    wanted = wanted_config(kafka)

    [(message, hint)] = differences(kafka, 6, 1, {**wanted, name: value})

    assert message.startswith(f"topic pulse {line}")
    assert (
        "`kafka-configs.sh --bootstrap-server broker:9092 --alter --entity-type topics --entity-name pulse"
        f" --add-config {name}={wanted[name]}`" in hint
    )


def test_partitions_can_be_added_but_not_taken_away() -> None:
    kafka = Kafka(bootstrap_servers="broker:9092")
    [(fewer, add)] = differences(kafka, 2, 1, {})
    [(more, keep)] = differences(kafka, 8, 1, {})

    assert fewer == "topic heartbeats has 2 partitions, and kafka.partitions is 6"
    assert "`kafka-topics.sh --bootstrap-server broker:9092 --alter --topic heartbeats --partitions 6`" in add
    assert more == "topic heartbeats has 8 partitions, and kafka.partitions is 6"
    assert "HEARTBEAT_KAFKA__PARTITIONS=8" in keep


@pytest.mark.parametrize(("copies", "fewest"), [(1, "1"), (2, "1"), (3, "2"), (5, "3")])
def test_new_topic_acknowledges_what_is_on_more_than_one_broker_of_three(copies: int, fewest: str) -> None:
    """With Kafka's default, 1, a message may be acknowledged by a broker that alone has it, and then loses its disk."""
    kafka = Kafka(replication_factor=copies)

    assert wanted_config(kafka)["min.insync.replicas"] == fewest
    assert list(differences(kafka, 6, copies, wanted_config(kafka))) == []


def test_topic_of_one_broker_is_not_taken_for_one_of_a_cluster() -> None:
    """Its messages have one copy, whatever the settings say; and with more in sync than it has, it accepts none."""
    kafka = Kafka(replication_factor=3)
    found = {**wanted_config(kafka), "min.insync.replicas": "1"}
    [(message, hint)] = differences(kafka, 6, 1, found)
    [(too_few, raised)] = differences(kafka, 6, 3, found)

    assert message == "topic heartbeats has replication 1, and kafka.replication_factor is 3"
    assert "kafka-reassign-partitions.sh" in hint
    assert too_few == "topic heartbeats has min.insync.replicas=1, kafka.replication_factor asks for 2"
    assert "--add-config min.insync.replicas=2" in raised
    assert list(differences(kafka, 6, 3, {**found, "min.insync.replicas": "3"})) == []
