"""Reads a range of a partition's log again, without a group, while consumers read on."""

import time
from collections.abc import Iterator
from typing import Final

from confluent_kafka import KafkaError, Message, TopicPartition

from common.errors import ConfigError, OutageError, RefusedError
from common.kafka_client import OFFSET_LOST, TRANSIENT, explain
from common.kafka_options import open_consumer
from common.settings import Settings
from consumer.batch_end import UNREADABLE, find
from consumer.reading import Hole, Reading, set_aside_large
from store.batch import Slice
from store.errors import NotHeldError

WAIT_S: Final = 0.5
ANSWER_S: Final = 20.0  # arbitrary; a broker that restarts is back by then


class LogRange:
    """
    A client that reads ranges, one at a time.

    Args:
        settings: Address, topic, options.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.kafka.topic
        self._most = settings.consumer.max_batch
        self._kept_bytes = settings.consumer.max_payload_bytes
        self._client = open_consumer(settings)

    def slices(self, partition: int, start: int, end: int) -> Iterator[Slice]:
        """
        Yield the offsets from `start` to before `end`, each in one slice, of at most `max_batch` records.

        Raises:
            NotHeldError: Kafka has dropped offsets of the range meanwhile, or cannot deliver them.
            OutageError, ConfigError: Kafka does not answer, or rejects us.
        """
        expected, holes = start, set[Hole]()
        self._seek(partition, expected)
        heard_at = time.monotonic()
        while expected < end:
            reading = self._read(partition, expected, end, holes)
            if reading.suspected:  # only a second read shows that no record is there
                self._seek(partition, reading.expected)
            if reading.expected > expected or reading.suspected:
                holes = reading.suspected
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > ANSWER_S:
                raise OutageError(
                    f"cannot read topic {self._topic}, partition {partition}, at offset {expected}: no answer within"
                    f" {ANSWER_S:g} s",
                    hint="Check that the broker runs and that the partition has a leader.",
                )
            if reading.expected > expected:
                records, rejected = set_aside_large(reading.records, self._kept_bytes)
                yield Slice(partition, expected, reading.expected, records, reading.skipped, rejected)
                expected = reading.expected

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _seek(self, partition: int, offset: int) -> None:
        self._client.unassign()  # otherwise the client does not report the log's end again
        self._client.assign([TopicPartition(self._topic, partition, offset)])

    def _read(self, partition: int, expected: int, end: int, holes: set[Hole]) -> Reading:
        reading = Reading(expected, holes)
        records: list[Message] = []
        reached = expected
        for message in self._client.consume(min(self._most, end - expected), WAIT_S):
            error = message.error()
            if error is None:
                records.append(message)
                reached = message.offset() or 0
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public name
                reached = message.offset() or 0
            elif error.code() not in TRANSIENT:
                if not records:  # otherwise these come first; the error is repeated
                    self._raise(error, partition, expected)
                self._seek(partition, (records[-1].offset() or 0) + 1)
                break
        reading.take([record for record in records if (record.offset() or 0) < end])  # type: ignore[misc]  # a consumed message has a place
        reading.reach(min(reached, end))
        return reading

    def _raise(self, error: KafkaError, partition: int, expected: int) -> None:
        tried = f"read topic {self._topic}, partition {partition}, at offset {expected}"
        if error.code() in OFFSET_LOST:
            raise NotHeldError(
                f"cannot {tried}: Kafka does not hold it any more",
                hint="Nothing is lost: the stored rows from there on stay as they are.",
            )
        if error.code() in UNREADABLE and (batch := find(self._settings, partition, expected)) is not None:
            raise NotHeldError(
                f"cannot {tried}: Kafka's client cannot read the batch of the offsets {batch.from_offset} to"
                f" {batch.to_offset - 1}: {batch.words}",
                hint=f"What is stored of it stays as it is. Read again from offset {batch.to_offset}.",
            )
        problem = explain(error, self._settings.kafka, tried)
        if isinstance(problem, (ConfigError, RefusedError)):
            raise problem
