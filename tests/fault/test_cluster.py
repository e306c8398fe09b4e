"""A cluster of three brokers: any one of them may die, and its disk with it."""

import time
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaException, TopicCollection

from local.kafka_cluster import KafkaCluster, wipe
from local.service import Service
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic
from tests.soak.watch import Watch

pytestmark = [pytest.mark.integration, pytest.mark.fault]
PAUSE_S = 30.0  # at most, of each partition
THREE_COPIES = {"HEARTBEAT_KAFKA__REPLICATION_FACTOR": "3"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    cluster = KafkaCluster(tmp_path_factory.mktemp("cluster"))
    with cluster.running():
        yield cluster


@pytest.fixture
def topic(cluster: KafkaCluster) -> Topic:
    """On the cluster; the service that starts first creates it."""
    cluster.start()  # the test before may have failed while a broker was down
    return Topic(cluster, f"test-{uuid.uuid4().hex[:12]}")  # type: ignore[arg-type]  # it has addresses, as a broker


def copies_in_sync(topic: Topic) -> int:
    """Return how many brokers have all messages, of the partition where they are fewest; 0: the cluster is busy."""
    admin = topic.admin  # kept: answers to a client that is gone never come
    try:
        found = admin.describe_topics(TopicCollection([topic.name]), request_timeout=5)[topic.name].result()
    except KafkaException:
        return 0
    return min(len(partition.isr) for partition in found.partitions)


def check_whole(producer: Service, database: Database, topic: Topic) -> None:
    """Stop the producer; what was acknowledged to it is in Kafka once, and in the table once."""
    assert producer.stop() == 0
    [stopped] = producer.events("service stopped")
    wait_until(lambda: database.passed() == topic.ends(), within_s=60)
    rows, different = database.query('SELECT count(*), count(DISTINCT (customer_id, "timestamp")) FROM heartbeats')[0]

    assert stopped["undelivered"] == 0
    assert sum(topic.ends().values()) == stopped["sent"] == rows == different
    assert database.rejected() == []


@pytest.mark.timeout(300)  # four JVMs on a busy machine
def test_each_broker_in_turn_loses_its_disk(
    start: StartService, cluster: KafkaCluster, topic: Topic, database: Database
) -> None:
    """A leader, the controller and the group's coordinator are among them; each comes back empty, as a new machine."""
    producer, consumer = start("producer", **THREE_COPIES), start("consumer", **THREE_COPIES)
    watch = Watch(topic, database)
    wait_until(lambda: len(database.passed()) == 6, within_s=60, what="every partition is stored")
    wait_until(lambda: copies_in_sync(topic) == 3, within_s=60)
    for broker in cluster.brokers:
        watch.begin()
        wipe(broker)
        watch.look()
        killed = time.monotonic()
        while not (watch.all_advanced_since(killed + 1) or watch.pause_s > PAUSE_S):
            watch.look()
        print(f"longest pause of a partition: {watch.pause_s:.1f} s")
        assert watch.pause_s < PAUSE_S
        broker.start()
        wait_until(lambda: copies_in_sync(topic) == 3, within_s=60, what="the empty broker has copied everything")

    check_whole(producer, database, topic)
    assert consumer.process.poll() is None
