"""The topic is there, and takes messages, before anybody sends one."""

import random
import time

import pytest
from confluent_kafka.admin import NewPartitions
from structlog.testing import capture_logs

from common.runtime import StopFlag
from common.settings import Kafka, Producer, Settings
from common.topic import TopicAdmin, TopicState, ensure_topic
from local.waiting import wait_until
from producer import topic_watch
from producer.kafka_producer import KafkaSender
from tests import pipeline

pytestmark = pytest.mark.integration


def partitions(kafka: Kafka) -> int:
    """Return how many partitions the topic has; 0: there is none."""
    state = TopicAdmin(kafka).look()
    return state.partitions if state else 0


def test_new_topic_takes_messages_once_it_is_ensured(topic: pipeline.Topic) -> None:
    """Otherwise a producer's first request can be refused and its second accepted, out of order for good."""
    kafka = Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name, partitions=100)

    state = ensure_topic(kafka, StopFlag())

    assert TopicAdmin(kafka).is_led(100)
    assert isinstance(state, TopicState)
    assert state.partitions == 100


def test_partition_that_is_not_there_has_no_leader(topic: pipeline.Topic) -> None:
    topic.create(3)
    kafka = Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name)
    wait_until(lambda: TopicAdmin(kafka).is_led(3))

    assert not TopicAdmin(kafka).is_led(4)


def test_added_partitions_do_not_ask_for_a_new_client(topic: pipeline.Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new client gives up what is on its way: right for a topic that is gone, a loss for one that has grown."""
    monkeypatch.setattr(topic_watch, "PATIENCE_S", 0.0)
    kafka = Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name, partitions=2)
    watch = topic_watch.TopicWatch(kafka, StopFlag(), ensure_topic(kafka, StopFlag()))
    admin = topic.admin  # kept: answers to a client that is gone never come
    admin.create_partitions([NewPartitions(topic.name, 3)])[topic.name].result()
    wait_until(lambda: partitions(kafka) == 3)
    watch._look()  # noqa: SLF001 - `look` does the same in a thread, whose end cannot be waited for

    assert not watch.wants_new_client(is_stuck=True)

    topic.delete()
    topic.create(3)
    wait_until(lambda: partitions(kafka) == 3)
    watch._look()  # noqa: SLF001
    time.sleep(0.01)

    assert watch.wants_new_client(is_stuck=True)


def test_existing_topic_is_compared_with_the_settings_once(topic: pipeline.Topic) -> None:
    """A setting that has no effect must be seen; the producer looks again at each outage, and must not repeat it."""
    topic.create(2, **{"retention.ms": "3600000", "cleanup.policy": "compact"})
    kafka = Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name)
    with capture_logs() as said:
        state = ensure_topic(kafka, StopFlag())

    assert {line["event"] for line in said} == {"topic differs from the settings"}
    assert [line["difference"].removeprefix(f"topic {topic.name} has ").partition(",")[0] for line in said] == [
        "2 partitions",
        "cleanup.policy=compact",
        "retention.ms=3600000",
        "retention.bytes=-1",
        "max.message.bytes=1048588",
    ]
    assert {(line["log_level"], line["event"]) for line in said} == {("warning", "topic differs from the settings")}

    with capture_logs() as said:
        assert ensure_topic(kafka, StopFlag(), state) == state
    assert said == []


def test_topic_made_by_a_service_is_as_the_settings_say(topic: pipeline.Topic) -> None:
    kafka = Kafka(
        bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name, retention_hours=-1, max_message_bytes=16384
    )
    with capture_logs() as said:
        ensure_topic(kafka, StopFlag())
        ensure_topic(kafka, StopFlag())

    assert [line["event"] for line in said] == ["topic created"]


@pytest.mark.parametrize("limit_bytes", [16 * 1024, 256 * 1024])
@pytest.mark.parametrize("compression", ["lz4", "none", "zstd"])
def test_no_batch_of_the_producer_is_too_large_for_the_topic(
    topic: pipeline.Topic, limit_bytes: int, compression: str
) -> None:
    """Not even one that does not shrink: the broker refuses a batch as a whole, and that is final."""
    kafka = {"bootstrap_servers": topic.server.bootstrap_servers, "topic": topic.name, "partitions": 1}
    settings = Settings(
        kafka=Kafka(**kafka, max_message_bytes=limit_bytes),
        producer=Producer(librdkafka={"compression.type": compression, "linger.ms": 200}),
    )
    ensure_topic(settings.kafka, StopFlag())
    sender = KafkaSender(settings)
    chance = random.Random(7)
    sizes = [size for size in (10, 90, 1000, limit_bytes // 3) for _ in range(4 * limit_bytes // (size + 20))]
    sender.send([{"key": chance.randbytes(8), "value": chance.randbytes(size)} for size in sizes])

    assert sender.finish(20) == 0
    assert sender.undelivered == {}
    assert topic.ends(1) == {0: len(sizes)}
