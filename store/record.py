"""A Kafka record as the store uses it, whichever client read it."""

from dataclasses import dataclass
from typing import Final, Protocol

LOG_APPEND_TIME: Final = 2  # as confluent_kafka.TIMESTAMP_LOG_APPEND_TIME; any other time is the sender's, or missing


class Record(Protocol):
    """What is used of a Kafka message; a consumed confluent_kafka.Message is one."""

    def partition(self) -> int: ...  # noqa: D102
    def offset(self) -> int: ...  # noqa: D102
    def key(self) -> bytes | None: ...  # noqa: D102
    def value(self) -> bytes | None: ...  # noqa: D102
    def timestamp(self) -> tuple[int, int]: ...  # noqa: D102


def reference_ms(record: Record, clock_ms: int) -> int:
    """
    Return the time by which a record's timestamp counts as future, in milliseconds since 1970.

    Args:
        record: With `LogAppendTime`, the broker's time decides alone: the result is the same whenever it is read.
            A topic with `CreateTime` holds the sender's time, which may be seconds, 0 or -1.
        clock_ms: The consumer's clock; it decides where it is later than a sender's time.
    """
    kind, record_ms = record.timestamp()
    return record_ms if kind == LOG_APPEND_TIME else max(record_ms, clock_ms)


class PlainRecord:
    """A `Record` made of its parts; `timestamp_type` and `record_ms` are what `timestamp` returns."""

    __slots__ = ("_key", "_offset", "_partition", "_timestamp", "_value")

    def __init__(  # noqa: PLR0913, PLR0917 - as Spark's columns come
        self, partition: int, offset: int, timestamp_type: int, record_ms: int, key: bytes | None, value: bytes | None
    ) -> None:
        self._partition = partition
        self._offset = offset
        self._timestamp = timestamp_type, record_ms
        self._key = key
        self._value = value

    def partition(self) -> int:
        """Return its partition."""
        return self._partition

    def offset(self) -> int:
        """Return its offset."""
        return self._offset

    def key(self) -> bytes | None:
        """Return its key."""
        return self._key

    def value(self) -> bytes | None:
        """Return its payload, None for a tombstone."""
        return self._value

    def timestamp(self) -> tuple[int, int]:
        """Return what kind of time it has (2: the broker's) and the time, in milliseconds since 1970."""
        return self._timestamp


@dataclass(frozen=True, slots=True)
class Rejected:
    """
    A record for the quarantine.

    Args:
        record: As Kafka holds it, or what is kept of it.
        reason: Why it is rejected, see store/reasons.py.
        payload_length: The full length of its payload in bytes if `record` holds less.
        detail: What PostgreSQL said where PostgreSQL rejected it.
    """

    record: Record
    reason: str
    payload_length: int = 0
    detail: str | None = None
