"""Compares this machine's clock with the database's, which decides what is old."""

import time
from collections.abc import Callable
from typing import Final

import structlog

from common.errors import OutageError

TOLERATED_S: Final = 60.0
DROPS_NOTHING_S: Final = 86_400.0  # then one of the two clocks is wrong by a day or more, and it is unknown which


class Clocks:
    """
    Warns when the clocks differ, and again when the difference changes.

    Args:
        now_s: This machine's clock, in seconds since 1970.
    """

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._told_s = 0.0
        self.ahead_s = 0.0  # this clock before the database's, at least

    def compare(self, ask: Callable[[], float]) -> None:
        """
        Compare the clocks.

        Args:
            ask: Returns the database's time in seconds since 1970. The duration of the call does not count.
        """
        before = self._now_s()
        there = ask()
        after = self._now_s()
        self.ahead_s = max(0.0, before - there) + min(0.0, after - there)
        differs_s = self.ahead_s if abs(self.ahead_s) > TOLERATED_S else 0.0
        if self._told_s and not differs_s:
            structlog.get_logger().info("clock agrees with the database's again")
        elif abs(differs_s - self._told_s) <= TOLERATED_S:
            return
        else:
            structlog.get_logger().warning(
                "clock differs from the database's",
                ahead_s=round(differs_s),
                hint="Set both machines' clocks by NTP. The database's clock decides what is old. Nothing is dropped"
                " while the clocks differ by a day or more.",
            )
        self._told_s = differs_s

    def check(self) -> None:
        """Raise an `OutageError` if the clocks differ so much that dropping old data is not safe."""
        if abs(self.ahead_s) >= DROPS_NOTHING_S:
            raise OutageError(
                "cannot drop old data: the clocks of this machine and of the database differ by a day or more",
                hint="Set both machines' clocks by NTP.",
            )
