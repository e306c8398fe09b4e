"""What the consumer says of itself: one `Stored` line a second, outages once, lag and offsets for others to see."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog

from common.errors import OutageError
from common.telemetry import LAG, NEWEST_AGE, REJECTED, STORED
from consumer.batch import Batch, Rejected

INTERVAL_S: Final = 1.0
REPEAT_OUTAGE_S: Final = 10.0


class Source(Protocol):
    """What is asked of Kafka's end."""

    def lag(self) -> int: ...  # noqa: D102
    def mirror(self, offsets: Mapping[int, int]) -> None: ...  # noqa: D102


class Report:
    """Sums up batches and speaks once a second, if there is anything to say."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._stored = self._rejected = self._total = 0
        self._offsets: dict[int, int] = {}
        self._since = time.monotonic()
        self._outage: OutageError | None = None
        self._outage_began = self._outage_told = 0.0

    def stored(self, batch: Batch, rejected: Sequence[Rejected]) -> None:
        """Count a committed batch."""
        rows = batch.messages - len(rejected)
        self._stored += rows
        self._rejected += len(rejected)
        self._offsets.update({part.partition: part.to_offset for part in batch.slices})
        STORED.inc(rows)
        for reason, count in Counter(one.reason.partition(":")[0] for one in rejected).items():
            REJECTED.labels(reason).inc(count)
        if batch.newest_ms:
            NEWEST_AGE.set(max(0.0, time.time() - batch.newest_ms / 1000))

    def tick(self, source: Source) -> None:
        """Speak if a second has passed."""
        if time.monotonic() - self._since >= INTERVAL_S:
            self.flush(source)

    def flush(self, source: Source) -> None:
        """Speak now, if anything was stored since the last time; and show Kafka how far we are."""
        seconds = time.monotonic() - self._since
        self._since = time.monotonic()
        lag = source.lag()
        LAG.set(lag)
        if self._offsets:
            source.mirror(self._offsets)
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
        self._offsets = {}

    def forget_offsets(self) -> None:
        """Do not show the next topic the offsets of this one."""
        self._offsets = {}

    def outage(self, error: OutageError) -> None:
        """Tell of an outage when it begins, when its cause changes, and every ten seconds."""
        now = time.monotonic()
        if self._outage is None:
            self._outage_began = now
        elif self._outage.message == error.message and now - self._outage_told < REPEAT_OUTAGE_S:
            return
        self._outage, self._outage_told = error, now
        self._log.warning(error.message, hint=error.hint, waiting_s=round(now - self._outage_began))

    def recovered(self) -> None:
        """Tell that an outage is over."""
        if self._outage is not None:
            self._log.info("recovered", after_s=round(time.monotonic() - self._outage_began, 1))
            self._outage = None
