"""A Kafka record as the store uses it, whichever client read it."""

import time
from dataclasses import dataclass, field
from typing import Final, Protocol

from store.reasons import Reason

LOG_APPEND_TIME: Final = 2  # as confluent_kafka.TIMESTAMP_LOG_APPEND_TIME; any other time is the sender's, or missing


class Record(Protocol):
    """What is used of a Kafka message; a consumed confluent_kafka.Message is one."""

    def partition(self) -> int: ...  # noqa: D102
    def offset(self) -> int: ...  # noqa: D102
    def key(self) -> bytes | None: ...  # noqa: D102
    def value(self) -> bytes | None: ...  # noqa: D102
    def timestamp(self) -> tuple[int, int]: ...  # noqa: D102


def judged_at_ms(record: Record, clock_ms: int) -> int:
    """
    Return the time by which a record's timestamp counts as future, in milliseconds since 1970.

    Args:
        record: With `LogAppendTime`, the broker's time decides alone: the verdict is the same whenever it is read.
            A topic with `CreateTime` holds the sender's time, which may be seconds, 0 or -1.
        clock_ms: The consumer's clock; it decides where it is later than a sender's time.
    """
    kind, record_ms = record.timestamp()
    return record_ms if kind == LOG_APPEND_TIME else max(record_ms, clock_ms)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """
    A record that is quarantined without being validated: it is unreadable, or too large to be kept in memory.

    Args:
        partition_number: Its partition.
        place: Its offset.
        reason: Why it is not validated.
        kept_key: Its key; None if it has none or the key cannot be read.
        kept_payload: What is kept of its payload; None if nothing can be read.
        payload_length: The full length of its payload in bytes.
        stamp: The kind of its time, and the milliseconds since 1970; the time of noticing where that cannot be read.
    """

    partition_number: int
    place: int
    reason: Reason
    kept_key: bytes | None = None
    kept_payload: bytes | None = None
    payload_length: int = 0
    stamp: tuple[int, int] = field(default_factory=lambda: (0, time.time_ns() // 1_000_000))

    def partition(self) -> int:
        """Return its partition."""
        return self.partition_number

    def offset(self) -> int:
        """Return its offset."""
        return self.place

    def key(self) -> bytes | None:
        """Return its key."""
        return self.kept_key

    def value(self) -> bytes | None:
        """Return what is kept of its payload."""
        return self.kept_payload

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of its time (0: not told) and the time in milliseconds since 1970."""
        return self.stamp
