"""What a producer left in its topic, read back with a plain consumer."""

import json
import time
from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, TopicPartition

from tests.pipeline import Topic


class Sent(NamedTuple):
    """One record, as the broker has it, with the event in it."""

    partition: int
    key: bytes | None
    value: bytes
    appended_ms: int  # by the broker's clock
    customer_id: str
    timestamp: datetime
    heart_rate: int


def read_topic(topic: Topic, partitions: int = 6) -> list[Sent]:
    """Read all records, each partition in its order."""
    left = {partition: end for partition, end in topic.ends(partitions).items() if end}
    client = Consumer({"bootstrap.servers": topic.server.bootstrap_servers, "group.id": "tests"})
    client.assign([TopicPartition(topic.name, partition, 0) for partition in left])
    found = []
    deadline = time.monotonic() + 30
    try:
        while left:
            assert time.monotonic() < deadline, f"records are missing: {left}"
            for message in client.consume(10_000, timeout=0.2):
                assert message.error() is None, message.error()
                kind, appended_ms = message.timestamp()
                assert kind == TIMESTAMP_LOG_APPEND_TIME
                partition, offset, value = message.partition(), message.offset(), message.value()
                assert partition is not None
                assert offset is not None
                assert value is not None
                event = json.loads(value)
                taken_at = datetime.fromisoformat(event["timestamp"])
                reading = event["customer_id"], taken_at, event["heart_rate"]
                found.append(Sent(partition, message.key(), value, appended_ms, *reading))
                if offset + 1 == left.get(partition):
                    del left[partition]
    finally:
        client.close()
    return found


def by_customer(records: list[Sent]) -> dict[str, list[datetime]]:
    """Return each customer's timestamps, in the order in which the topic has them."""
    found: defaultdict[str, list[datetime]] = defaultdict(list)
    for record in records:
        found[record.customer_id].append(record.timestamp)
    return dict(found)


def check_order(records: list[Sent]) -> None:
    """Assert that each customer's readings are there once and in the order in which they were taken."""
    for customer, timestamps in by_customer(records).items():
        assert timestamps == sorted(set(timestamps)), f"{customer}: repeated or out of order"
    places = {(record.customer_id, record.partition) for record in records}
    assert len(places) == len(by_customer(records)), "a customer's readings are in several partitions"
