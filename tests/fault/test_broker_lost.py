"""One of two brokers is lost: what the other one holds can be used soon."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from common.errors import OutageError
from common.settings import Kafka
from common.topic import TopicAdmin, TopicState
from local.waiting import wait_until
from tests.pipeline import Topic
from tests.two_brokers import two_brokers

pytestmark = [pytest.mark.integration, pytest.mark.fault]
CLIENTS = 10  # each asks the broker that it takes for the controller, which is one of the two at random


def look(admin: TopicAdmin) -> TopicState | None:
    try:
        return admin.look()
    except OutageError:
        return None


def test_topic_is_known_again_soon_after_the_broker_that_is_asked_is_lost(tmp_path: Path) -> None:
    """Every batch needs the topic's id; by its default, the client would ask the lost broker for up to five minutes."""
    first, second = two_brokers(tmp_path)
    with first, second:
        topic = Topic(first, "heartbeats")
        created = NewTopic(topic.name, num_partitions=1, replica_assignment=[[1]])
        admin = topic.admin
        admin.create_topics([created])[topic.name].result()
        address = Kafka(bootstrap_servers=first.bootstrap_servers, topic=topic.name)
        admins = [TopicAdmin(address) for _ in range(CLIENTS)]
        before = [wait_until(lambda: look(one)) for one in admins]  # noqa: B023
        second.kill()
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as waiting:
            after = list(waiting.map(lambda one: wait_until(lambda: look(one), within_s=40), admins))
        print(f"all clients had the answer {time.monotonic() - began:.1f} s after the kill")

    assert after == before
