"""The topic is there, and takes messages, before anybody sends one."""

import time

import pytest
from confluent_kafka.admin import NewPartitions

from common.runtime import StopFlag
from common.settings import Kafka
from common.topic import Topic, TopicState, ensure_topic
from producer import topic_watch
from tests import pipeline
from tests.pipeline import eventually

pytestmark = pytest.mark.integration


def partitions(kafka: Kafka) -> int:
    """Give how many partitions the topic has; 0: there is none."""
    state = Topic(kafka).look()
    return state.partitions if state else 0


def test_new_topic_takes_messages_once_it_is_ensured(topic: pipeline.Topic) -> None:
    """Otherwise a producer's first request can be refused and its second accepted, out of order for good."""
    kafka = Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name, partitions=100)

    state = ensure_topic(kafka, StopFlag())

    assert Topic(kafka).is_led(100)
    assert isinstance(state, TopicState)
    assert state.partitions == 100


def test_partition_that_is_not_there_has_no_leader(topic: pipeline.Topic) -> None:
    topic.create(3)
    kafka = Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name)
    eventually(lambda: Topic(kafka).is_led(3))

    assert not Topic(kafka).is_led(4)


def test_added_partitions_do_not_ask_for_a_new_client(topic: pipeline.Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new client gives up what is on its way: right for a topic that is gone, a loss for one that has grown."""
    monkeypatch.setattr(topic_watch, "PATIENCE_S", 0.0)
    kafka = Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name, partitions=2)
    watch = topic_watch.TopicWatch(kafka, StopFlag(), ensure_topic(kafka, StopFlag()))
    admin = topic.admin  # kept: answers to a client that is gone never come
    admin.create_partitions([NewPartitions(topic.name, 3)])[topic.name].result()
    eventually(lambda: partitions(kafka) == 3)
    watch._look()  # noqa: SLF001 - `look` does the same in a thread, whose end cannot be waited for

    assert not watch.wants_new_client(is_stuck=True)

    topic.delete()
    topic.create(3)
    eventually(lambda: partitions(kafka) == 3)
    watch._look()  # noqa: SLF001
    time.sleep(0.01)

    assert watch.wants_new_client(is_stuck=True)
