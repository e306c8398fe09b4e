"""When each customer sends: evenly spread over the interval, on a schedule that does not drift."""

import time
from collections.abc import Callable
from typing import Final

TICK_S: Final = 0.01  # how often is looked; ten times that would be seen in a dashboard refreshed every second
FEWEST_BEHIND_S: Final = 1.0  # a pause this long is made up for; of a longer one the beginning is skipped


class Schedule:
    """
    Slots on a monotonic clock: slot `k` is customer `k % customers`'s, at `k * interval / customers` after the start.

    Args:
        customers: How many share an interval.
        interval_s: Seconds from one reading of a customer to the next; 0: every slot is due at once.
        clock: Monotonic seconds; a wall clock that jumps must neither stop nor burst the schedule.
    """

    def __init__(self, customers: int, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._customers = customers
        self._clock = clock
        self._start = clock()
        self._slot_s = interval_s / customers
        self._next = 0
        self._most_behind = int(max(interval_s, FEWEST_BEHIND_S) / self._slot_s) if interval_s else 0

    def due(self, most: int) -> tuple[int, int, int]:
        """
        Take the slots that are due.

        Args:
            most: How many at the most.
        Returns:
            The first and the one after the last customer (from 0) whose turn it is, all in one round; and how many
            slots were skipped, because sending them now would put the whole schedule late for ever.
        """
        skipped = 0
        if self._slot_s:
            end = int((self._clock() - self._start) / self._slot_s) + 1
            skipped = max(0, end - self._next - self._most_behind)
            self._next += skipped
            most = min(most, end - self._next)
        first = self._next % self._customers
        last = min(first + most, self._customers)
        self._next += last - first
        return first, last, skipped

    def wait_s(self) -> float:
        """Seconds until it is worth looking again."""
        if not self._slot_s:
            return 0.0
        return max(
            0.0, min(max(TICK_S, self._slot_s), self._start + self._next * self._slot_s - self._clock() + TICK_S)
        )
