"""The broker goes, the producer is stopped or frozen: what was counted as sent is in the topic, once and in order."""

import itertools
import os
import signal
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest

from local.kafka import KafkaServer
from local.service import Service
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Topic, is_stopped
from tests.sent import check_order, read_topic

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker for these tests alone, to be killed as they like."""
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture
def own_topic(own_server: KafkaServer) -> Topic:
    own_server.start()  # the test before may have failed while it was down
    return Topic(own_server, f"test-{uuid.uuid4().hex[:12]}")


def begin(start: StartService, topic: Topic, **settings: str) -> Service:
    """Start a producer and wait until it sends."""
    producer = start(
        "producer",
        **{
            "HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS": topic.server.bootstrap_servers,
            "HEARTBEAT_KAFKA__TOPIC": topic.name,
            **settings,
        },
    )
    wait_until(lambda: sent(producer) > 0, what="something sent")
    return producer


def sent(producer: Service) -> int:
    return max((event["total"] for event in producer.events("Sent")), default=0)


def in_flight(producer: Service) -> int:
    return int([event["in_flight"] for event in producer.events("Sent")][-1])


def goes_on(producer: Service, messages: int) -> None:
    """Wait until so many more are acknowledged."""
    before = sent(producer)
    wait_until(lambda: sent(producer) > before + messages, what="sending again")


def last_words(producer: Service) -> dict[str, int]:
    [stopped] = producer.events("service stopped")
    return stopped


def said(producer: Service, words: str) -> list[str]:
    lines = [f"{event['event']} {event.get('error', '')}" for event in producer.events()]
    return [line for line in lines if words in line]


def test_broker_killed_again_and_again_loses_and_repeats_nothing(start: StartService, own_topic: Topic) -> None:
    """What was on its way when the broker died is sent again; at 10,000 readings a second there is always something."""
    producer = begin(start, own_topic, HEARTBEAT_PRODUCER__INTERVAL_S="0.1")
    for _ in range(2):
        own_topic.server.kill()
        wait_until(lambda: in_flight(producer) > 10_000, what="readings wait for the broker")
        own_topic.server.start()
        goes_on(producer, 10_000)
    assert producer.stop() == 0
    records = read_topic(own_topic)

    assert len(records) == last_words(producer)["sent"]
    assert last_words(producer)["undelivered"] == 0
    assert len(said(producer, "nothing is acknowledged")) == 2
    check_order(records)


def test_frozen_broker_that_wakes_up_gets_nothing_twice(start: StartService, own_topic: Topic) -> None:
    """It appends what it had received, though the producer gave those requests up and sends them again."""
    producer = begin(start, own_topic, HEARTBEAT_PRODUCER__LIBRDKAFKA='{"socket.timeout.ms": 1000}')
    os.kill(own_topic.server.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: in_flight(producer) > 3000, what="requests given up and sent again")
    finally:
        os.kill(own_topic.server.pid, signal.SIGCONT)
    goes_on(producer, 5000)
    assert producer.stop() == 0
    records = read_topic(own_topic)

    assert len(records) == last_words(producer)["sent"]
    assert last_words(producer)["undelivered"] == 0
    check_order(records)


def test_stop_waits_for_a_broker_that_comes_back(start: StartService, own_topic: Topic) -> None:
    producer = begin(start, own_topic)
    own_topic.server.kill()
    wait_until(lambda: in_flight(producer) > 1000, what="readings wait for the broker")
    producer.send_signal(signal.SIGTERM)
    own_topic.server.start()

    assert producer.wait() == 0
    assert last_words(producer)["undelivered"] == 0
    assert sum(own_topic.ends().values()) == last_words(producer)["sent"]


def test_what_cannot_be_delivered_in_time_is_a_number_and_an_exit_code(start: StartService, own_topic: Topic) -> None:
    producer = begin(start, own_topic, HEARTBEAT_PRODUCER__FLUSH_TIMEOUT_S="1")
    own_topic.server.kill()
    waiting = wait_until(lambda: in_flight(producer) > 1000 and in_flight(producer), what="readings wait")

    assert producer.stop(grace_s=10) == 1
    assert last_words(producer)["undelivered"] >= waiting
    [failed] = producer.events("failed")
    undelivered = last_words(producer)["undelivered"]
    assert failed["error"].startswith(f"cannot deliver {undelivered} messages within 1 s of the stop")
    assert "Traceback" not in producer.text()

    own_topic.server.start()
    stored, delivered = sum(own_topic.ends().values()), last_words(producer)["sent"]
    assert delivered <= stored <= delivered + last_words(producer)["undelivered"]


def test_full_queue_skips_aloud_and_loses_nothing_it_took(start: StartService, own_topic: Topic) -> None:
    """Memory is bounded in an outage that lasts; the readings not taken are counted while it lasts."""
    producer = begin(start, own_topic, HEARTBEAT_PRODUCER__LIBRDKAFKA='{"queue.buffering.max.messages": 1500}')
    own_topic.server.kill()
    wait_until(lambda: said(producer, "readings skipped"), what="skipped readings reported")
    assert in_flight(producer) < 4000
    own_topic.server.start()
    goes_on(producer, 3000)
    assert producer.stop() == 0
    records = read_topic(own_topic)

    assert len(records) == last_words(producer)["sent"]
    assert last_words(producer)["undelivered"] == 0
    assert last_words(producer)["skipped"] >= 1000
    check_order(records)


def test_frozen_producer_skips_what_it_missed(start: StartService, topic: Topic) -> None:
    """On waking it must not send minutes of readings at once, nor pretend that they were taken before."""
    producer = begin(start, topic)
    producer.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(producer))
    waking = time.monotonic() + 3
    wait_until(lambda: time.monotonic() > waking)
    producer.send_signal(signal.SIGCONT)
    goes_on(producer, 2000)
    assert producer.stop() == 0
    records = read_topic(topic)
    times = sorted(record.timestamp for record in records)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]

    assert max(pauses) > timedelta(seconds=2.5)
    assert said(producer, "readings skipped")
    assert last_words(producer)["skipped"] == pytest.approx(1000 * max(pauses).total_seconds(), abs=300)
    woke = times[pauses.index(max(pauses)) + 1]
    assert sum(woke <= time < woke + timedelta(seconds=0.1) for time in times) < 300
    assert len(records) == last_words(producer)["sent"]
    check_order(records)


def test_deleted_topic_is_made_again(start: StartService, topic: Topic) -> None:
    """The broker creates no topics by itself, and no operator restarts a producer that runs."""
    producer = begin(start, topic)
    topic.delete()
    wait_until(lambda: len(said(producer, "topic created")) == 2, what="topic made again")
    goes_on(producer, 2000)

    assert producer.stop() == 0
    assert last_words(producer)["undelivered"] == 0
    check_order(read_topic(topic))


def test_fatal_client_error_ends_in_one_line(start: StartService, topic: Topic) -> None:
    """A client that can keep its order no more refuses everything; going on would only look so."""
    topic.create(6, **{"max.message.bytes": "10"})  # the broker refuses a batch, and leaves a gap in the sequence
    options = '{"enable.gapless.guarantee": true}'
    producer = start("producer", HEARTBEAT_KAFKA__TOPIC=topic.name, HEARTBEAT_PRODUCER__LIBRDKAFKA=options)

    assert producer.wait() == 1
    assert "Traceback" not in producer.text()
    *_, last = producer.events()
    assert last["error"].startswith(f"cannot continue sending to {topic.name}: ")
    assert last["hint"]
    assert last_words(producer)["undelivered"] > 0
    assert last_words(producer)["sent"] == sum(topic.ends().values()) == 0
