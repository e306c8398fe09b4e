"""Kafka records in memory, for code that is told of records and never asks where they came from."""

from dataclasses import dataclass

from store.record import LOG_APPEND_TIME
from tests.corpus.case import USUAL_MS, event

GOOD = event()


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A record as a consumer hands it out."""

    partition_number: int
    place: int
    payload: bytes | None = GOOD
    appended_ms: int = USUAL_MS
    timestamp_type: int = LOG_APPEND_TIME

    def partition(self) -> int:
        """Return the partition it stands in."""
        return self.partition_number

    def offset(self) -> int:
        """Return its offset."""
        return self.place

    def key(self) -> bytes | None:
        """Return its key."""
        return b"CUST-000001"

    def value(self) -> bytes | None:
        """Return its payload, None for a tombstone."""
        return self.payload

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of its time (2: the broker's) and the milliseconds since 1970."""
        return self.timestamp_type, self.appended_ms
