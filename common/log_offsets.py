"""The first and last offsets of partitions' logs, and the offsets that Kafka shows for the group."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from common.kafka_client import explain
from common.settings import Kafka
from common.topic import TopicAdmin

TIMEOUT_S: Final = 5.0
WAKE_S: Final = 0.1


class LogOffsets:
    """
    Asks the brokers for offsets, and shows them the ledger's.

    Args:
        consumer: The client that reads.
        admin: Asks without waiting.
        kafka: Address and topic.
    """

    def __init__(self, consumer: Consumer, admin: TopicAdmin, kafka: Kafka) -> None:
        self._consumer = consumer
        self._admin = admin
        self._kafka = kafka
        self._ends: dict[int, int] = {}

    def ranges(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """
        Return the first offset that each partition holds, and the offset of its next record.

        Partitions whose leader does not answer are left out, so that the others do not wait for them.

        Raises:
            OutageError, ConfigError: The broker does not answer at all.
        """
        lows, ends = (self._ask(partitions, which) for which in (OFFSET_BEGINNING, OFFSET_END))
        return {partition: (low, ends[partition]) for partition, low in lows.items() if partition in ends}

    def at(self, partitions: Collection[int], time_ms: int) -> dict[int, int | None]:
        """
        Return the offset of each partition's first record of this time or later; None: there is no such record.

        Partitions whose leader does not answer are left out; raises as `ranges`.
        """
        found = self._look_up([TopicPartition(self._kafka.topic, partition, time_ms) for partition in partitions])
        return {one.partition: one.offset if one.offset >= 0 else None for one in found if one.error is None}

    def ends(self, fetched: Collection[int], waiting: Collection[int]) -> dict[int, int | None]:
        """
        Return the ends of partitions' logs, as last known; None: not known yet.

        Args:
            fetched: Partitions that are being read: the last fetch has the end.
            waiting: Other partitions. Each call asks the brokers again, and does not wait for the answer.
        """
        for partition in fetched:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(self._kafka.topic, partition), cached=True)
            if end >= 0:
                self._ends[partition] = max(end, self._ends.get(partition, 0))
        if waiting:
            self._ends |= self._admin.poll_ends(waiting)
        self._ends = {partition: end for partition, end in self._ends.items() if partition in {*fetched, *waiting}}
        return {partition: self._ends.get(partition) for partition in (*fetched, *waiting)}

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Write offsets to the group, for tools that show its lag. Nothing here reads them back."""
        given = [TopicPartition(self._kafka.topic, partition, offset) for partition, offset in offsets.items()]
        try:
            self._consumer.commit(offsets=given, asynchronous=True)
        except KafkaException as error:
            structlog.get_logger().debug("offsets not shown to Kafka", error=str(error))

    def wake(self, partitions: Iterable[int]) -> None:
        """Send the leaders a request: librdkafka notices resumed partitions at any answer, otherwise after 0.5 s."""
        asked = [TopicPartition(self._kafka.topic, partition, OFFSET_END) for partition in partitions]
        with suppress(KafkaException):
            self._consumer.offsets_for_times(asked, timeout=WAKE_S)

    def _ask(self, partitions: Iterable[int], which: int) -> dict[int, int]:
        found = self._look_up([TopicPartition(self._kafka.topic, partition, which) for partition in partitions])
        return {one.partition: one.offset for one in found if one.error is None and one.offset >= 0}

    def _look_up(self, asked: list[TopicPartition]) -> list[TopicPartition]:
        try:
            return self._consumer.offsets_for_times(asked, timeout=TIMEOUT_S)
        except KafkaException as error:
            raise explain(error, self._kafka, f"look up the offsets of topic {self._kafka.topic}") from error
