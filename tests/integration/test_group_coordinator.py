"""A consumer that has no partition finds out whether its group has a coordinator."""

import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka.admin import ListConsumerGroupsResult
from structlog.testing import capture_logs

from common import telemetry
from common.settings import Consumer, Kafka, Settings
from common.topic import TopicAdmin
from consumer import coordinator
from consumer.kafka_consumer import KafkaSource
from consumer.worker import Worker, leave_group
from contracts.heartbeats import HEARTBEATS
from local.waiting import wait_until
from store.events import Events
from store.lag import Lag
from store.postgres import PostgresStore
from store.validation import Decode
from tests.pipeline import Database, Topic
from tests.store import open_store
from tests.two_brokers import two_brokers

pytestmark = pytest.mark.integration


def settings_for(topic: Topic) -> Settings:
    address = Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name, group_id=topic.name)
    return Settings().model_copy(update={"kafka": address, "consumer": Consumer()})


def test_group_without_a_coordinator_is_told_and_unhealthy(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka's client only waits: no message was stored, the log said nothing, and `/healthz` reported ok."""
    monkeypatch.setattr(coordinator, "PATIENCE_S", 0.5)
    monkeypatch.setattr(coordinator, "ASK_AGAIN_S", 0.5)
    monkeypatch.setattr(telemetry, "HEALTHY_FOR_S", 7.0)
    first, second = two_brokers(tmp_path, **{"offsets.topic.replication.factor": "2"})
    topic, stop = Topic(first, "heartbeats"), threading.Event()
    with contextlib.ExitStack() as until, capture_logs() as lines:
        until.enter_context(first)
        topic.create(1)
        sent = topic.send_heartbeats(10)
        health, events = telemetry.Health(), Events("consumer")
        worker = Worker(
            lambda before_revoke: KafkaSource(settings_for(topic), before_revoke, events),
            [open_store(PostgresStore, database)],
            Decode(HEARTBEATS, timedelta(minutes=5)),
            health=health,
            lag=Lag(),
            events=events,
        )
        running = until.enter_context(ThreadPoolExecutor(1)).submit(worker.run, stop)
        until.callback(stop.set)
        wait_until(lambda: not health.is_ok, what="unhealthy")
        told = next(line for line in lines if line["log_level"] != "debug")
        until.enter_context(second)  # now the topic that the coordinator needs can be created
        wait_until(lambda: database.count() == 10, 60, "stored once there is a coordinator")
        wait_until(lambda: health.is_ok, what="healthy")
        stop.set()
        running.result(30)

    assert database.lost_and_surplus(sent) == ([], [])
    assert told["log_level"] == "warning"
    assert told["error"].endswith("the group has no coordinator")
    assert "__consumer_offsets" in told["hint"]


def test_spare_consumer_is_quiet(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer more than there are partitions is a reserve: a broker knows its group, so nothing is wrong."""
    monkeypatch.setattr(coordinator, "PATIENCE_S", 0.2)
    monkeypatch.setattr(coordinator, "ASK_EVERY_S", 0.2)
    ask, asked = TopicAdmin.ask_groups, list[Future[ListConsumerGroupsResult]]()

    def ask_groups(self: TopicAdmin) -> Future[ListConsumerGroupsResult]:
        asked.append(ask(self))
        return asked[-1]

    monkeypatch.setattr(TopicAdmin, "ask_groups", ask_groups)
    topic.create(1)
    topic.ends(1)
    with contextlib.ExitStack() as closing, capture_logs() as lines:
        owner, spare = (KafkaSource(settings_for(topic), lambda: None, Events("consumer")) for _ in range(2))
        for source in (owner, spare):
            closing.callback(leave_group, source)
            source.subscribe()
            wait_until(lambda: source.read() == [] and owner.unstarted == {0})  # noqa: B023
        asked.clear()
        wait_until(lambda: spare.read() == [] and len(asked) > 2)

    assert all(spare.topic.name in [group.group_id for group in future.result().valid or []] for future in asked[:2])
    assert [line for line in lines if line["log_level"] != "debug"] == []
