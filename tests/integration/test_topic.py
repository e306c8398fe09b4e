"""The topic is there, and takes messages, before anybody sends one."""

import pytest

from common.runtime import StopFlag
from common.settings import Kafka
from common.topic import Topic, TopicState, ensure_topic
from tests import pipeline

pytestmark = pytest.mark.integration


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
    pipeline.eventually(lambda: Topic(kafka).is_led(3))

    assert not Topic(kafka).is_led(4)
