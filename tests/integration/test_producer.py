"""The producer on a real broker: who sends what, when and how often."""

import itertools
import signal
import socket
import statistics
import urllib.request
from datetime import timedelta

import pytest

from common.event import GENERATED_BPM, NORMAL_BPM
from contracts.heartbeats import HEARTBEATS
from local.kafka import KafkaServer
from local.service import Service
from local.waiting import wait_until
from store.reasons import Reason
from store.validation import Decode
from tests.conftest import StartService
from tests.pipeline import Topic, start_service
from tests.sent import Sent, by_customer, check_order, read_topic

pytestmark = pytest.mark.integration


def total(producer: Service) -> int:
    """Messages that it says were acknowledged."""
    return max((event["total"] for event in producer.events("Sent")), default=0)


def stop_at(producer: Service, messages: int) -> dict[str, int]:
    """Stop it once so many are acknowledged; what it says at the end."""
    wait_until(lambda: total(producer) >= messages, what=f"{messages} messages sent")
    assert producer.stop() == 0
    [stopped] = producer.events("service stopped")
    return stopped


@pytest.fixture(scope="module")
def ordinary_run(
    kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, int], list[Sent]]:
    """A few seconds with the default settings, without episodes: the last report and all records."""
    topic = Topic(kafka_server, "ordinary-run")
    settings = {
        "HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS": kafka_server.bootstrap_servers,
        "HEARTBEAT_KAFKA__TOPIC": topic.name,
        "HEARTBEAT_PRODUCER__METRICS_PORT": "0",
        "HEARTBEAT_PRODUCER__EPISODES_PER_HOUR": "0",  # a silent customer would not send once a second
    }
    producer = start_service(["producer"], settings, tmp_path_factory.mktemp("producer") / "log")
    try:
        return stop_at(producer, 5000), read_topic(topic)
    finally:
        producer.end()


def test_every_customer_sends_once_a_second(ordinary_run: tuple[dict[str, int], list[Sent]]) -> None:
    stopped, records = ordinary_run
    turns = by_customer(records)
    pairs = itertools.chain.from_iterable(map(itertools.pairwise, turns.values()))
    gaps_s = [(later - earlier).total_seconds() for earlier, later in pairs]

    assert len(records) == stopped["sent"]
    assert (stopped["undelivered"], stopped["skipped"]) == (0, 0)
    assert sorted(turns) == [f"CUST-{number:06d}" for number in range(1, 1001)]
    assert max(map(len, turns.values())) - min(map(len, turns.values())) <= 1
    assert statistics.median(gaps_s) == pytest.approx(1, abs=0.03)
    assert max(gaps_s) < 2
    check_order(records)


def test_records_are_valid_events_keyed_by_customer(ordinary_run: tuple[dict[str, int], list[Sent]]) -> None:
    """Validated by the function that decides what reaches the table; its clock is the broker's."""
    _, records = ordinary_run
    decode = Decode(HEARTBEATS, timedelta(seconds=5))

    assert not [r for r in records if isinstance(decode(r.value, r.appended_ms), Reason)]
    assert all(record.key == record.customer_id.encode() for record in records)
    assert all(record.heart_rate in GENERATED_BPM for record in records)
    assert sum(record.heart_rate in NORMAL_BPM for record in records) / len(records) == pytest.approx(0.9, abs=0.03)


def test_readings_reach_the_broker_at_once(ordinary_run: tuple[dict[str, int], list[Sent]]) -> None:
    """Timestamps are of the moment they are sent, so nearly nothing of the quarter of a second is used up here."""
    _, records = ordinary_run
    ages_s = [record.appended_ms / 1000 - record.timestamp.timestamp() for record in records[len(records) // 5 :]]

    assert min(ages_s) > -0.01
    assert statistics.median(ages_s) < 0.05


def test_sending_times_are_spread_over_the_second(ordinary_run: tuple[dict[str, int], list[Sent]]) -> None:
    _, records = ordinary_run
    first = min(record.timestamp for record in records)
    second = [r for r in records if timedelta(seconds=2) <= r.timestamp - first < timedelta(seconds=4)]
    by_tenth = [sum(int((r.timestamp - first) / timedelta(seconds=0.1)) % 10 == k for r in second) for k in range(10)]

    assert sum(count > 100 for count in by_tenth) >= 8, by_tenth  # a busy machine may hold it up for a moment
    assert max(by_tenth) < 300


def test_same_seed_sends_the_same_heart_rates(start: StartService, topic: Topic) -> None:
    """Episodes are also the seed's, but belong to the time of day."""
    seeded = {
        "HEARTBEAT_PRODUCER__SEED": "7",
        "HEARTBEAT_PRODUCER__CUSTOMERS": "50",
        "HEARTBEAT_PRODUCER__EPISODES_PER_HOUR": "0",
    }
    first = stop_at(start("producer", **seeded), 100)["sent"]
    stop_at(start("producer", **seeded), 100)
    records = read_topic(topic)
    records.sort(key=lambda record: record.timestamp)
    runs = [sorted((r.customer_id, r.heart_rate) for r in run[:50]) for run in (records[:first], records[first:])]

    assert runs[0] == runs[1]


def test_interval_zero_sends_as_fast_as_it_can(start: StartService, topic: Topic) -> None:
    """Far beyond the schedule every message is still counted, once, and in order."""
    stopped = stop_at(start("producer", HEARTBEAT_PRODUCER__INTERVAL_S="0"), 100_000)
    records = read_topic(topic)

    assert len(records) == stopped["sent"]
    assert stopped["undelivered"] == 0
    check_order(records)


def test_small_queue_holds_the_generator_back(start: StartService, topic: Topic) -> None:
    """What the client has no room for is kept and offered again, in order; memory stays bounded."""
    producer = start(
        "producer",
        HEARTBEAT_PRODUCER__INTERVAL_S="0",
        HEARTBEAT_PRODUCER__LIBRDKAFKA='{"queue.buffering.max.messages": 300, "linger.ms": 50}',
    )
    stopped = stop_at(producer, 20_000)
    records = read_topic(topic)

    assert all(event["in_flight"] < 3000 for event in producer.events("Sent"))
    assert len(records) == stopped["sent"]
    assert stopped["undelivered"] == 0
    check_order(records)


def test_too_many_customers_are_skipped_with_a_number(start: StartService, topic: Topic) -> None:
    """A million readings in a tenth of a second are too many for any core; the rest goes on in order."""
    producer = start("producer", HEARTBEAT_PRODUCER__CUSTOMERS="1000000", HEARTBEAT_PRODUCER__INTERVAL_S="0.1")
    wait_until(lambda: [event for event in producer.events() if "readings skipped" in event["event"]])
    stopped = stop_at(producer, 1)

    assert stopped["skipped"] > 0
    assert sum(topic.ends().values()) == stopped["sent"]


def test_ctrl_c_stops_it_as_well(start: StartService, topic: Topic) -> None:
    producer = start("producer")
    wait_until(lambda: total(producer) > 0)
    producer.send_signal(signal.SIGINT)

    assert producer.wait(10) == 0
    assert sum(topic.ends().values()) == next(producer.events("service stopped"))["sent"]


def test_metrics_agree_with_the_log(start: StartService) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    producer = start("producer", HEARTBEAT_PRODUCER__METRICS_PORT=str(port))
    wait_until(lambda: total(producer) > 0)

    def read(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def delivered() -> float:
        [line] = [
            line for line in read("/metrics").splitlines() if line.startswith("heartbeat_producer_delivered_total ")
        ]
        return float(line.split()[1])

    assert read("/healthz") == "ok\n"
    assert wait_until(lambda: delivered() in {event["total"] for event in producer.events("Sent")})
    assert "heartbeat_producer_skipped_total 0.0" in read("/metrics")
