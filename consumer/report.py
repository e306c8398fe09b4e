"""What the consumer reports: one `Stored` line a second, the lag, and the ledger's offsets for Kafka's own tools."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog

from common.telemetry import REJECTED, STORED
from store.batch import Batch
from store.lag import Lag
from store.record import Rejected

INTERVAL_S: Final = 1.0


class Source(Protocol):
    """What is asked of Kafka's end."""

    def log_ends(self) -> dict[int, int | None]: ...  # noqa: D102
    def mirror(self, offsets: Mapping[int, int]) -> None: ...  # noqa: D102


class Report:
    """Sums up batches of one group session and reports once a second."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._stored = self._rejected = self._total = 0
        self._ledger: dict[int, int] = {}  # by partition, the next offset as last known
        self._to_mirror: dict[int, int] = {}
        self._lag = Lag()
        self._since = time.monotonic()

    def placed(self, offsets: Mapping[int, int]) -> None:
        """Note where the ledger stands; Kafka is told as well, whose own offsets may have expired or been reset."""
        self._ledger.update(offsets)
        self._to_mirror.update(offsets)

    def stored(self, batch: Batch, rejected: Sequence[Rejected]) -> None:
        """Count a committed batch."""
        rows = batch.messages - len(rejected)
        self._stored += rows
        self._rejected += len(rejected)
        self.placed({part.partition: part.to_offset for part in batch.slices})
        self._lag.stored(batch.newest_ms)
        STORED.inc(rows)
        for reason, count in Counter(one.reason for one in rejected).items():
            REJECTED.labels(reason).inc(count)

    def tick(self, source: Source) -> None:
        """Report if a second has passed."""
        if time.monotonic() - self._since >= INTERVAL_S:
            self.flush(source)

    def flush(self, source: Source) -> None:
        """Report now: the lag, the offsets that moved, and what was stored since the last time."""
        seconds = time.monotonic() - self._since
        self._since = time.monotonic()
        assigned = source.log_ends()
        self._ledger = {partition: offset for partition, offset in self._ledger.items() if partition in assigned}
        lag = self._lag.show(assigned, self._ledger)
        if mirrored := {partition: offset for partition, offset in self._to_mirror.items() if partition in assigned}:
            source.mirror(mirrored)
        self._to_mirror = {}
        if not self._stored and not self._rejected:
            return
        self._total += self._stored
        self._log.info(
            "Stored",
            count=self._stored,
            rate_per_s=round(self._stored / max(seconds, 0.001)),
            rejected=self._rejected,
            lag=lag,
            total=self._total,
        )
        self._stored = self._rejected = 0

    def forget_offsets(self) -> None:
        """Forget the offsets of a topic that may have been replaced."""
        self._ledger, self._to_mirror = {}, {}
