"""`docker compose up` gives a pipeline that runs, says what it does, and can be looked into from outside."""

import json
import time

import pytest
from confluent_kafka import Consumer

from local.waiting import wait_until
from tests.e2e.stack import GROUP, PIPELINE, TOPIC, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]  # the first test waits for the build

HEALTHY_WITHIN_S = 60.0
CUSTOMERS = 1000


def test_pipeline_is_healthy_within_a_minute_of_the_build(stack: Stack) -> None:
    """Somebody who tries it waits for it."""
    print(f"healthy after {stack.healthy_after_s:.1f} s")

    assert stack.healthy_after_s < HEALTHY_WITHIN_S
    for service in PIPELINE:
        wait_until(lambda: stack.health(service) == "healthy", what=f"{service} healthy")  # noqa: B023 - called at once


def test_a_thousand_rows_arrive_each_second(stack: Stack) -> None:
    """The producer sends at the pace of its schedule and the consumer keeps up with it."""
    stack.wait_until_rows_flow()
    before, began = stack.rows(), time.monotonic()
    wait_until(lambda: stack.rows() >= before + 10 * CUSTOMERS)
    seconds = time.monotonic() - began

    assert 9 < seconds < 11


def test_every_customer_has_a_row_in_every_second(stack: Stack) -> None:
    """A thousand rows a second could also be one customer's."""
    stack.wait_until_rows_flow()
    wait_until(lambda: stack.rows() >= 5 * CUSTOMERS)

    counts = stack.query(
        "SELECT count(*), count(DISTINCT customer_id) FROM heartbeats"
        ' WHERE "timestamp" > (SELECT max("timestamp") - interval \'3 s\' FROM heartbeats)'
    )

    assert counts[0][1] == CUSTOMERS
    assert 2.5 * CUSTOMERS < counts[0][0] < 3.5 * CUSTOMERS


def test_a_row_is_seen_within_a_quarter_of_a_second(stack: Stack) -> None:
    """The dashboards are about now."""
    stack.wait_until_rows_flow()
    ages = [
        stack.query('SELECT extract(epoch FROM clock_timestamp() - max("timestamp")) FROM heartbeats')[0][0]
        for _ in range(50)
    ]

    assert sorted(ages)[len(ages) // 2] < 0.25


def test_logs_say_what_was_sent_and_stored(stack: Stack) -> None:
    """`docker compose logs -f producer consumer` is how people see that it works: about a line a second each."""
    sent = wait_until(lambda: (found := stack.events("producer", "Sent"))[3:] and found)
    stored = wait_until(lambda: (found := stack.events("consumer", "Stored"))[3:] and found)

    assert sorted(event["rate_per_s"] for event in sent[-5:])[2] == pytest.approx(CUSTOMERS, rel=0.1)
    assert sorted(event["rate_per_s"] for event in stored[-5:])[2] == pytest.approx(CUSTOMERS, rel=0.2)
    assert sum(event["rejected"] for event in stored) == 0


def test_kafka_answers_on_its_published_port(stack: Stack) -> None:
    """The address outside of compose is another one than inside, and a client is sent to the right one."""
    client = Consumer(
        {"bootstrap.servers": stack.bootstrap_servers(), "group.id": "e2e", "auto.offset.reset": "latest"}
    )
    client.subscribe([TOPIC])
    try:
        message = wait_until(lambda: client.poll(1), 30)
    finally:
        client.close()

    assert message is not None
    event = json.loads(message.value() or b"")
    assert event["customer_id"].encode() == message.key()
    assert set(event) == {"customer_id", "timestamp", "heart_rate"}


def test_kafka_knows_how_far_the_consumer_is(stack: Stack) -> None:
    """Kafka-UI shows the group's lag from what Kafka knows; the ledger alone would leave it empty."""
    script = "/opt/kafka/bin/kafka-consumer-groups.sh"
    table = stack.run_in("kafka", script, "--bootstrap-server", "kafka:9092", "--describe", "--group", GROUP)
    lags = [int(line.split()[5]) for line in table.splitlines() if TOPIC in line.split()[1:2]]

    assert len(lags) == 6
    assert sum(lags) < 5 * CUSTOMERS


def test_ledger_balances(stack: Stack) -> None:
    """What the README shows as proof works in the container, with the consumer's own rights."""
    stack.wait_until_rows_flow()

    assert stack.verify().startswith("the ledger balances")
