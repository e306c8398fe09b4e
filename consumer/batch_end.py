"""
Finds the end of a batch that Kafka's client cannot read, by reading at later offsets.

A broker answers a fetch at any offset inside a batch with the whole batch. So the client's error names the batch's
first offset for each offset inside, and another one behind its end.
"""

import time
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from common.errors import ConfigError, OutageError, RefusedError
from common.kafka_client import OFFSET_LOST, TRANSIENT, explain
from common.kafka_options import open_consumer
from common.settings import Options, Settings

# The client's errors for a batch that it cannot unpack, or whose checksum is wrong. An unknown format is not among
# them: another client may know it, and quarantine would discard a whole topic.
UNREADABLE: Final = {
    KafkaError._BAD_COMPRESSION,  # noqa: SLF001 - the library's public names for its own codes begin so
    KafkaError._BAD_MSG,  # noqa: SLF001
}
GRAVE: Final = (ConfigError, RefusedError)
OPTIONS: Final[Options] = {
    "fetch.wait.max.ms": 10,
    "fetch.error.backoff.ms": 10,  # 500 ms by default, before the next offset is read
    "fetch.message.max.bytes": 1,  # one batch at a time: a broker never sends less
    "queued.min.messages": 1,
}
ANSWER_S: Final = 5.0  # for one offset; it takes a millisecond, now and then a second
SEARCH_S: Final = 20.0  # for all offsets: 35 of them for a batch of 100,000 records


@dataclass(frozen=True, slots=True)
class UnreadableBatch:
    """The offsets from `from_offset` to before `to_offset`, and the client's error for them."""

    from_offset: int
    to_offset: int
    words: str


def find(settings: Settings, partition: int, offset: int) -> UnreadableBatch | None:
    """
    Return the unreadable batch at an offset, or behind offsets without a record; None if there is none.

    Raises:
        OutageError: The broker does not answer or rejects us, or no end was found.
        ConfigError: The broker rejects the settings.
    """
    client = open_consumer(settings, **OPTIONS)
    try:
        return _Finder(client, settings, partition, offset).find()
    finally:
        client.close()


class _Finder:
    def __init__(self, client: Consumer, settings: Settings, partition: int, offset: int) -> None:
        self._client = client
        self._settings = settings
        self._topic = settings.kafka.topic
        self._partition = partition
        self._offset = offset
        self._tried = f"read topic {self._topic}, partition {partition}, at offset {offset}"
        self._words = "no answer"
        self._deadline = time.monotonic() + SEARCH_S

    def find(self) -> UnreadableBatch | None:
        first = self._look(self._offset)
        error, base = first.error(), first.offset()
        if error is None or error.code() in {KafkaError._PARTITION_EOF, *OFFSET_LOST}:  # noqa: SLF001
            return None
        self._words = " ".join(error.str().split())
        end = self._log_end()
        if error.code() not in UNREADABLE or base is None or base >= end:
            raise self._stuck()
        start = max(base, self._offset)
        inside, outside, step = start, end, 1
        while inside + step < outside:
            if self._is_inside(inside + step, base):
                inside, step = inside + step, 2 * step
            else:
                outside = inside + step
        while outside - inside > 1:
            middle = (inside + outside) // 2
            if self._is_inside(middle, base):
                inside = middle
            else:
                outside = middle
        return UnreadableBatch(start, outside, self._words)

    def _is_inside(self, offset: int, base: int) -> bool:
        found = self._look(offset)
        error = found.error()
        return error is not None and error.code() in UNREADABLE and found.offset() == base

    def _look(self, offset: int) -> Message:
        """Return the client's first message at this offset: a record or an error."""
        self._client.assign([TopicPartition(self._topic, self._partition, offset)])
        deadline = min(time.monotonic() + ANSWER_S, self._deadline)
        while (left_s := deadline - time.monotonic()) > 0:
            message = self._client.poll(left_s)
            if message is None:
                break
            error = message.error()
            if error is not None and isinstance(found := explain(error, self._settings.kafka, self._tried), GRAVE):
                raise found
            if error is None or (
                error.code() not in TRANSIENT and message.topic() and message.partition() == self._partition
            ):
                return message  # a group's error has no topic, and 0 as its partition
        raise self._stuck()

    def _log_end(self) -> int:
        here = TopicPartition(self._topic, self._partition)
        try:
            _, end = self._client.get_watermark_offsets(here, timeout=ANSWER_S)
        except KafkaException as error:
            raise explain(error, self._settings.kafka, f"look up the offsets of topic {self._topic}") from error
        return end

    def _stuck(self) -> OutageError:
        return OutageError(
            f"cannot {self._tried}: {self._words}",
            hint="The partition waits there, and reading is retried. Check the broker's log and disk.",
        )
