"""Kafka's log loses its end and grows again: old offsets hold other records, which must not pass for the old ones."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.kafka import KafkaServer
from local.waiting import wait_until
from tests.conftest import StartService
from tests.cut_log import keep_copy, restore_copy
from tests.pipeline import Database, Topic

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.fixture
def kafka_server(tmp_path: Path) -> Iterator[KafkaServer]:
    """One that a test may cut; a consumer that rests for half a minute stays a member of its group."""
    with KafkaServer(tmp_path / "kafka", settings={"group.consumer.session.timeout.ms": "30000"}) as server:
        yield server


@pytest.mark.parametrize("meanwhile", ["stopped", "running"])
def test_log_that_was_cut_and_has_grown_again_stops_the_consumer(
    meanwhile: str, start: StartService, kafka_server: KafkaServer, topic: Topic, database: Database
) -> None:
    """Reading on behind the ledger's offset would lose what was written before it, and the ledger would balance."""
    topic.create(partitions=1)
    rows = topic.send_heartbeats(100)
    consumer = start("consumer")
    wait_until(lambda: database.count() == 100)
    keep_copy(kafka_server)
    rows += topic.send_heartbeats(50, seed=8)
    wait_until(lambda: database.count() == 150)
    if meanwhile == "running":
        consumer.send_signal(signal.SIGSTOP)
    else:
        consumer.stop()
    restore_copy(kafka_server)
    assert topic.ends(1) == {0: 100}
    topic.send_heartbeats(80, seed=9)
    if meanwhile == "running":
        consumer.send_signal(signal.SIGCONT)
    else:
        consumer = start("consumer")

    assert consumer.wait(60) == 3
    assert f"{topic.name}[0]: Kafka's log was cut and has grown again" in consumer.text()
    assert "at offset 149" in consumer.text()
    assert "Traceback" not in consumer.text()
    assert database.lost_and_surplus(rows) == ([], [])
    assert database.passed() == {0: 150}
    verify = start("consumer", "verify", "--full")
    assert verify.wait() == 1
    assert "it holds another record at offset 149" in verify.text()
