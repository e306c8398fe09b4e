"""What Kafka's client reports besides records, by partition, until the loop handles it."""

from typing import Final

import structlog
from confluent_kafka import KafkaError, Message

from common.errors import ConfigError, HeartbeatError, RefusedError
from common.kafka_client import OFFSET_LOST, TRANSIENT, explain, is_fatal
from common.settings import Kafka
from consumer.errors import MembershipLostError

# These concern no offset: the topic was deleted, or does not exist yet.
UNKNOWN_TOPIC: Final = {
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the library's public names for its own codes begin so
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_TOPIC_ID,
}


class ClientEvents:
    """
    Sorts what the client reports.

    Args:
        kafka: Address and topic, for errors.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._fatal: KafkaError | None = None
        self.refusal: HeartbeatError | None = None  # the broker rejects the settings or us, not for one partition alone
        self._was_away = False
        self.log_ends: dict[int, int] = {}  # where the client has reached the log's end
        self.lost: set[int] = set()  # partitions whose log does not hold their position
        self.failed: set[int] = set()  # partitions with another error

    def note(self, error: KafkaError) -> None:
        """Note an error if the client cannot continue, or has lost all brokers."""
        if is_fatal(error):
            self._fatal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - as above
            self._was_away = True

    def was_away(self) -> bool:
        """Return whether all brokers were away since the last call."""
        was_away, self._was_away = self._was_away, False
        return was_away

    def check(self) -> None:
        """Raise `MembershipLostError` if the client cannot continue."""
        if self._fatal is not None:
            raise MembershipLostError(
                f"cannot stay in group {self._kafka.group_id}: {self._fatal.str()}",
                hint="The broker lost the group or its data. The consumer joins again.",
            )

    def records_of(self, messages: list[Message]) -> list[Message]:
        """Return the records; note everything else."""
        if not self.failed and not any(map(Message.error, messages)):
            return messages
        return [message for message in messages if self._is_record(message)]

    def forget(self, partition: int) -> None:
        """Forget the notes on a partition."""
        self.log_ends.pop(partition, None)
        self.lost.discard(partition)
        self.failed.discard(partition)

    def _is_record(self, message: Message) -> bool:
        partition = None if message.topic() is None else message.partition()  # of a group's error, it would be 0
        # After an error, the client misreads the rest of the partition, and can report offsets that do not exist.
        if partition in self.failed:
            return False
        if (error := message.error()) is None:
            return True
        self._note(error, partition, message.offset())
        return False

    def _note(self, error: KafkaError, partition: int | None, offset: int | None) -> None:
        code = error.code()
        self.note(error)
        if code == KafkaError._PARTITION_EOF and partition is not None:  # noqa: SLF001 - its public name
            self.log_ends[partition] = offset or 0
        elif code in TRANSIENT:
            structlog.get_logger().debug("kafka", error=error.str())
        elif code in OFFSET_LOST and partition is not None:
            self.lost.add(partition)
        else:
            found = explain(error, self._kafka, f"read topic {self._kafka.topic}")
            if partition is not None and code not in UNKNOWN_TOPIC:
                self.failed.add(partition)  # also if a fetch is rejected, which the client reports only once
            elif isinstance(found, (ConfigError, RefusedError)):
                self.refusal = found
            else:
                structlog.get_logger().warning("server unavailable", server="kafka", **found.fields)
