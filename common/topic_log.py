"""Asks Kafka about the topic without reading it: its identity, and the offsets of its logs."""

from collections.abc import Collection, Mapping

from confluent_kafka import KafkaError

from common.kafka_options import open_consumer
from common.log_offsets import LogOffsets
from common.settings import Settings
from common.topic import TopicAdmin
from common.topic_identity import TopicCheck, TopicIdentity, identify


class TopicLog:
    """
    A client that asks about the topic and joins no group.

    Args:
        settings: Addresses, topic, group and options.
    """

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._was_away = False
        self._consumer = open_consumer(settings, error_cb=self._note)
        self._admin = TopicAdmin(self._kafka)
        self._offsets = LogOffsets(self._consumer, self._admin, self._kafka)

    def identify(self) -> tuple[TopicIdentity, int]:
        """Return the topic's identity and its number of partitions; raises as `topic_identity.identify`."""
        self._consumer.poll(0)  # serves the client's callbacks
        return identify(self._admin, self._kafka.topic)

    def check(self, expected: TopicIdentity) -> TopicCheck:
        """Return a check, not started yet, that the topic is still this one."""
        return TopicCheck(self._admin, expected)

    def ranges(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """Return the first and the next offset of partitions; as `LogOffsets.ranges`."""
        return self._offsets.ranges(partitions)

    def at(self, partitions: Collection[int], time_ms: int) -> dict[int, int | None]:
        """Return the offset of each partition's first record of this time or later; as `LogOffsets.at`."""
        return self._offsets.at(partitions, time_ms)

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Show Kafka's tools these offsets; as `LogOffsets.mirror`."""
        self._offsets.mirror(offsets)

    def was_away(self) -> bool:
        """Return whether all brokers were away since the last call."""
        self._consumer.poll(0)  # as above
        was_away, self._was_away = self._was_away, False
        return was_away

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def _note(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the library's public names begin so
            self._was_away = True
