"""Logs one `Stored` line a second, and reports the lag."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from store.batch import Batch
from store.lag import Lag
from store.metrics import DUPLICATES, REJECTED, STORED
from store.record import Rejected

INTERVAL_S: Final = 1.0


class StoredReport:
    """Sums up batches and reports once a second; `lag` gets what is known of it."""

    def __init__(self, lag: Lag) -> None:
        self._log = structlog.get_logger()
        self._stored = self._rejected = self._duplicates = self._total = 0
        self._ledger: dict[int, int] = {}  # by partition, the next offset as last known
        self._moved: set[int] = set()  # partitions whose offset `take_moved` has not returned yet
        self._lag = lag
        self._since = time.monotonic()

    def note_offsets(self, offsets: Mapping[int, int]) -> None:
        """Note the ledger's offsets."""
        self._ledger.update(offsets)
        self._moved.update(offsets)

    def stored(self, batch: Batch, rejected: Sequence[Rejected]) -> None:
        """Count a committed batch."""
        duplicates = batch.duplicates.total()
        rows = batch.messages - len(rejected) - duplicates
        self._stored += rows
        self._duplicates += duplicates
        self._rejected += len(rejected)
        # The others were revoked meanwhile, or belong to a topic that was replaced.
        self.note_offsets({part.partition: part.to_offset for part in batch.slices if part.partition in self._ledger})
        self._lag.stored(batch.newest_ms)
        STORED.inc(rows)
        DUPLICATES.inc(duplicates)
        for reason, count in Counter(one.reason for one in rejected).items():
            REJECTED.labels(reason).inc(count)

    @property
    def is_due(self) -> bool:
        """Return whether a second has passed since the last report."""
        return time.monotonic() - self._since >= INTERVAL_S

    def take_moved(self) -> dict[int, int]:
        """Return the ledger's offsets that were noted since the last call, of partitions that are still assigned."""
        moved, self._moved = self._moved & self._ledger.keys(), set()
        return {partition: self._ledger[partition] for partition in moved}

    def write(self, log_ends: Mapping[int, int | None], generation: int) -> None:
        """
        Report the lag, and what was stored since the last report.

        Args:
            log_ends: By assigned partition, the end of Kafka's log; None: not known yet.
            generation: The topic's.
        """
        seconds = time.monotonic() - self._since
        self._since = time.monotonic()
        self._ledger = {partition: offset for partition, offset in self._ledger.items() if partition in log_ends}
        lag = self._lag.show(log_ends, self._ledger, generation)
        if not (self._stored or self._rejected or self._duplicates):
            return
        self._total += self._stored
        self._log.info(
            "Stored",
            count=self._stored,
            rate_per_s=round(self._stored / max(seconds, 0.001)),
            rejected=self._rejected,
            lag=lag,
            total=self._total,
            **({"duplicates": self._duplicates} if self._duplicates else {}),
        )
        self._stored = self._rejected = self._duplicates = 0

    def forget_offsets(self) -> None:
        """Forget the offsets of a topic that may have been replaced."""
        self._ledger = {}
