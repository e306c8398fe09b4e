"""Logs one `Stored` line for each micro-batch, and reports the lag."""

import time
from collections.abc import Callable, Mapping

import structlog

from spark.stream import MicroBatch
from store.lag import Lag
from store.metrics import DUPLICATES, REJECTED, STORED
from store.old_rows import OldRows


class MicroBatchReport:
    """
    Reports micro-batches; two threads call it.

    Args:
        trigger_s: The shortest time from one micro-batch to the next.
        progress: Called after each micro-batch that was stored completely.
        old_rows: Warns of rows that are older than the retention.
        lag: Gets what is known of the lag.
    """

    def __init__(self, trigger_s: float, progress: Callable[[], None], old_rows: OldRows, lag: Lag) -> None:
        self._log = structlog.get_logger()
        self._trigger_s = trigger_s
        self._progress = progress
        self._old_rows = old_rows
        self._ends: Mapping[int, int] = {}
        self._positions: dict[int, int] = {}
        self._total = 0
        self._last = time.monotonic()
        self._gauges = lag
        self._generation = 0
        self.lag: int | None = None  # messages that are not stored yet, as of the last call of `look`

    def look(
        self, ends: Mapping[int, int], positions: Mapping[int, int] | None = None, generation: int | None = None
    ) -> None:
        """Note the ends of Kafka's logs, the ledger's offsets and the topic's generation; None: it is unchanged."""
        self._ends = ends
        self._positions = dict(self._positions if positions is None else positions)
        self._generation = self._generation if generation is None else generation
        self._show()

    def _show(self) -> None:
        self.lag = self._gauges.show(self._ends, self._positions, self._generation)

    def stored(self, batch: MicroBatch) -> None:
        """Log a micro-batch. If it has no row, another consumer has stored it before."""
        now = time.monotonic()
        # A pause before the micro-batch must not lower its rate.
        seconds = min(now - self._last, max(batch.seconds, self._trigger_s))
        self._last = now
        rows = sum(one.stored for one in batch.outcomes)
        rejected = 0
        for one in batch.outcomes:
            self._old_rows.add(one.old, one.oldest_us)
            for reason, count in one.rejected.items():
                REJECTED.labels(reason).inc(count)
                rejected += count
        duplicates = sum(one.duplicates for one in batch.outcomes)
        STORED.inc(rows)
        DUPLICATES.inc(duplicates)
        self._total += rows
        self._positions.update({one.partition: one.position for one in batch.outcomes})
        self._gauges.stored(max((one.newest_ms for one in batch.outcomes), default=0))
        self._show()
        self._log.info(
            "Stored",
            batch=batch.number,
            count=rows,
            rate_per_s=round(rows / max(seconds, 0.001)),
            rejected=rejected,
            lag=self.lag,
            total=self._total,
            **({"duplicates": duplicates} if duplicates else {}),
        )
        if all(one.error is None for one in batch.outcomes):
            self._progress()
