"""A partition whose broker is away waits for it; the others go on."""

import contextlib
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic

from local.kafka import KafkaServer
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats
from tests.two_brokers import two_brokers

pytestmark = [pytest.mark.integration]


def make_groups_on(kafka: KafkaServer) -> None:
    """Have the broker's groups kept on the only broker there is."""
    client = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "first"})
    try:
        wait_until(lambda: has_coordinator(client), 60, "the groups have a coordinator")
    finally:
        client.close()


def has_coordinator(client: Consumer) -> bool:
    with contextlib.suppress(KafkaException):
        return bool(client.committed([TopicPartition("heartbeats", 0)], timeout=5))
    return False


def test_partition_without_a_leader_does_not_hold_up_the_others(
    start: StartService, database: Database, tmp_path: Path
) -> None:
    """Also where the consumer starts while the broker is away; that one's messages are stored when it is back."""
    first, broker = two_brokers(tmp_path)
    with contextlib.ExitStack() as servers:
        kafka = servers.enter_context(first)
        topic = Topic(kafka, "heartbeats")
        make_groups_on(kafka)  # the groups' own topic has one replica; it must not be on the broker that goes away
        servers.enter_context(broker)
        admin = topic.admin
        created = NewTopic(topic.name, num_partitions=3, replica_assignment=[[1], [1], [2]])
        admin.create_topics([created])[topic.name].result()
        rows = heartbeats(300)
        topic.ends(3)
        for partition in range(3):
            topic.send([(None, encode(row)) for row in rows[partition::3]], partition=partition)
        broker.kill()
        address = {"HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "HEARTBEAT_KAFKA__TOPIC": topic.name}
        consumer = start("consumer", **address)
        wait_until(lambda: database.count() == 200, 60, "the partitions that have a leader are stored")
        warned = [event["error"] for event in consumer.events("server unavailable")]
        broker.start()
        wait_until(lambda: database.count() == 300, 60, "the other one is stored once it has a leader")

        assert database.lost_and_surplus(rows) == ([], [])
        assert any("heartbeats[2]" in line and "no leader" in line for line in warned), warned
        assert consumer.stop() == 0
