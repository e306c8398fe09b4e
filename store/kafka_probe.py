"""Checks whether Kafka still holds the last records that were taken, without a group, while consumers read."""

import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import TopicPartition

from common.errors import ConfigError, OutageError, RefusedError
from common.kafka_client import TRANSIENT, explain
from common.kafka_options import open_consumer
from common.settings import Settings
from store.position import Evidence, Position

TIMEOUT_S: Final = 10.0


def find_replaced(settings: Settings, positions: Mapping[int, Position]) -> dict[int, int]:
    """
    Compare the last record that was taken from each partition with the one that Kafka holds at its offset.

    Args:
        settings: Kafka's address and options.
        positions: By partition, the position with its last record.
    Returns:
        By partition, the offset at which Kafka holds another record.
    Raises:
        OutageError, ConfigError: Kafka does not answer.
    """
    topic, evidence, found = settings.kafka.topic, Evidence(), dict[int, int]()
    waiting = {partition: at for partition, at in positions.items() if at.last is not None}
    consumer = open_consumer(settings)
    try:
        consumer.assign([TopicPartition(topic, one, evidence.expect(one, at)) for one, at in waiting.items()])
        deadline = time.monotonic() + TIMEOUT_S
        while waiting:
            if time.monotonic() > deadline:
                raise OutageError(
                    f"cannot read the last records of topic {topic} at {settings.kafka.bootstrap_servers}: no answer"
                    f" within {TIMEOUT_S:g} s",
                    hint="Check that the broker runs and that every partition has a leader.",
                )
            for message in consumer.consume(1000, 0.1):
                if (said := message.error()) is not None:
                    problem = explain(said, settings.kafka, f"read topic {topic}")
                    if isinstance(problem, (ConfigError, RefusedError)):
                        raise problem
                    if said.code() in TRANSIENT or message.topic() is None:  # the group's, with 0 as its partition
                        continue
                elif (other := evidence.find_other([message])) is not None:  # type: ignore[list-item]  # it has a place
                    found[other.partition()] = other.offset()
                # Also at the log's end, and if the record was dropped or cannot be read: then the check has no result.
                evidence.forget(message.partition())  # type: ignore[arg-type]  # as above
                waiting.pop(message.partition(), None)  # type: ignore[arg-type]  # as above
    finally:
        consumer.close()
    return found
