"""Warns of rows that are older than the retention. They are stored, and the next maintenance deletes them."""

import threading
import time
from datetime import timedelta
from typing import Final

import structlog

from store.timestamps import EPOCH

INTERVAL_S: Final = 10.0


class OldRows:
    """
    Counts old rows and warns of them, at once and then at most every ten seconds. Any thread may call it.

    Args:
        retention_days: The setting, for the warning.
    """

    def __init__(self, retention_days: int) -> None:
        self._retention_days = retention_days
        self._lock = threading.Lock()
        self._count = self._oldest_us = 0
        self._warned_at = -INTERVAL_S

    def add(self, count: int, oldest_us: int) -> None:
        """
        Note the old rows of a committed batch, and warn if a warning is due.

        Args:
            count: Their number, possibly 0.
            oldest_us: The oldest timestamp, in microseconds since 1970; without old rows, any value.
        """
        with self._lock:
            if count:
                self._oldest_us = min(oldest_us, self._oldest_us) if self._count else oldest_us
                self._count += count
            if not self._count or time.monotonic() - self._warned_at < INTERVAL_S:
                return
            structlog.get_logger().warning(
                "rows stored that retention deletes within minutes",
                count=self._count,
                oldest=(EPOCH + timedelta(microseconds=self._oldest_us)).isoformat(),
                retention_days=self._retention_days,
                hint="Their timestamps are older than HEARTBEAT_CONSUMER__RETENTION_DAYS. To keep such rows,"
                " raise it, or set it to 0, which keeps everything.",
            )
            self._warned_at, self._count = time.monotonic(), 0
