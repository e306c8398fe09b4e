"""A server that hangs instead of dying: a stop ends in time, and the metrics go on telling what waits."""

import contextlib
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.kafka import KafkaServer
from local.ports import find_free_port
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats, where

pytestmark = [pytest.mark.integration, pytest.mark.fault]
GRACE_S = 45  # stop_grace_period of docker-compose.yml


@contextlib.contextmanager
def hanging(pid: int) -> Iterator[None]:
    """Stop a server and its children, as a disk that does not answer would; let them go on afterwards."""
    server = psutil.Process(pid)
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def test_stop_is_in_time_while_postgresql_hangs(start: StartService, topic: Topic, own_database: Database) -> None:
    """Compose kills a service that takes longer than its grace period; what was in flight is read again."""
    topic.create()
    sent = topic.send_heartbeats(1000)
    consumer = start("consumer", **where(own_database))
    wait_until(lambda: own_database.count() == 1000)
    with hanging(own_database.server.pid):
        sent += topic.send_heartbeats(25_000, seed=8)  # more than both connections take at once
        time.sleep(3)
        began = time.monotonic()
        code = consumer.stop(GRACE_S)
        print(f"ended {time.monotonic() - began:.1f} s after the signal")

    assert code == 0
    start("consumer", **where(own_database))
    wait_until(lambda: own_database.passed() == topic.ends())
    assert own_database.lost_and_surplus(sent) == ([], [])


def test_stop_is_in_time_while_kafka_hangs(start: StartService, database: Database, tmp_path: Path) -> None:
    """The client would wait for the broker's answer for a minute before it leaves the group."""
    with KafkaServer(tmp_path / "kafka") as kafka:
        topic = Topic(kafka, "heartbeats")
        topic.create()
        sent = topic.send_heartbeats(1000)
        address = {"HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "HEARTBEAT_KAFKA__TOPIC": topic.name}
        consumer = start("consumer", **address)
        wait_until(lambda: database.count() == 1000)
        with hanging(kafka.pid):
            time.sleep(3)
            began = time.monotonic()
            code = consumer.stop(GRACE_S)
            print(f"ended {time.monotonic() - began:.1f} s after the signal")

    assert code == 0
    assert database.lost_and_surplus(sent) == ([], [])
    assert "did not leave the consumer group in time" in consumer.text()


@pytest.mark.parametrize("how", ["away", "hangs"])
def test_lag_is_told_while_the_database_is_away(
    how: str, start: StartService, topic: Topic, own_database: Database
) -> None:
    """The metric that people are woken by must not read 0, or freeze, in the very hour it is for."""
    topic.create()
    topic.send_heartbeats(1000)
    port = find_free_port()
    start("consumer", **where(own_database), HEARTBEAT_CONSUMER__METRICS_PORT=str(port))
    wait_until(lambda: own_database.count() == 1000)
    wait_until(lambda: metric(port, "heartbeat_consumer_lag_records") == 0)
    with contextlib.ExitStack() as stack:
        if how == "away":
            own_database.server.kill()
            stack.callback(own_database.server.start)
        else:
            stack.enter_context(hanging(own_database.server.pid))
        for waiting in (500, 1000):
            topic.send((row[0].encode(), encode(row)) for row in heartbeats(500))
            wait_until(lambda: metric(port, "heartbeat_consumer_lag_records") == waiting, within_s=10)  # noqa: B023
        seconds = metric(port, "heartbeat_consumer_lag_seconds")
        wait_until(lambda: metric(port, "heartbeat_consumer_lag_seconds") > seconds + 1)
    wait_until(lambda: own_database.passed() == topic.ends())

    wait_until(lambda: metric(port, "heartbeat_consumer_lag_records") == 0)
    assert metric(port, "heartbeat_consumer_lag_seconds") == 0
