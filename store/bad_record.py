"""Records that are quarantined without being judged: unreadable ones, and ones too large to be kept in memory."""

import time
from dataclasses import dataclass, field

from store.reasons import Reason


@dataclass(frozen=True, slots=True)
class BadRecord:
    """
    A record that goes into quarantine for `reason`; it has the methods of a `store.batch.Record`.

    Args:
        partition_number: Its partition.
        place: Its offset.
        reason: Why it is not judged.
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
