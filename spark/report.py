"""What the job says of itself: one `Stored` line for each micro-batch, outages once, lag for others to see."""

import time
from collections.abc import Callable, Mapping

import structlog

from common.telemetry import LAG, NEWEST_AGE, REJECTED, STORED
from consumer import report
from spark.stream import MicroBatch


class Report:
    """
    Speaks of micro-batches; the calls come from two threads.

    Args:
        trigger_s: How often micro-batches begin, at most.
        progress: Called after each that was stored whole.
    """

    def __init__(self, trigger_s: float, progress: Callable[[], None]) -> None:
        self._log = structlog.get_logger()
        self._trigger_s = trigger_s
        self._progress = progress
        self._ends: Mapping[int, int] = {}
        self._positions: dict[int, int] = {}
        self._total = 0
        self._last = time.monotonic()
        words = report.Report()
        self.outage, self.recovered = words.outage, words.recovered

    @property
    def lag(self) -> int:
        """Messages that are not stored, as far as the last look knows."""
        positions = dict(self._positions)
        return sum(max(0, end - positions.get(partition, end)) for partition, end in dict(self._ends).items())

    def look(self, ends: Mapping[int, int], positions: Mapping[int, int]) -> None:
        """Note how far Kafka's log goes, and the books."""
        self._ends, self._positions = ends, dict(positions)
        LAG.set(self.lag)

    def stored(self, batch: MicroBatch) -> None:
        """Tell of a micro-batch; one without a row was stored by somebody else before."""
        now = time.monotonic()
        # After a rest, what came at once is not to look like a trickle.
        seconds = min(now - self._last, max(batch.seconds, self._trigger_s))
        self._last = now
        rows = sum(one.stored for one in batch.outcomes)
        rejected = 0
        for one in batch.outcomes:
            for reason, count in one.rejected.items():
                REJECTED.labels(reason).inc(count)
                rejected += count
        STORED.inc(rows)
        self._total += rows
        self._positions.update({one.partition: one.position for one in batch.outcomes})
        if newest_ms := max((one.newest_ms for one in batch.outcomes), default=0):
            NEWEST_AGE.set(max(0.0, time.time() - newest_ms / 1000))
        self._log.info(
            "Stored",
            batch=batch.number,
            count=rows,
            rate_per_s=round(rows / max(seconds, 0.001)),
            rejected=rejected,
            lag=self.lag,
            total=self._total,
        )
        if all(one.error is None for one in batch.outcomes):
            self._progress()
