"""When each customer sends: evenly spread over the interval, on a schedule that does not drift."""

import time
from collections.abc import Callable
from typing import Final

TICK_S: Final = 0.02  # slots are gathered this long; half of it would cost a third more CPU at 1,000/s, for no gain
MOST_BEHIND_S: Final = 1.0  # shorter delays are made up for; arbitrary, far above any pause of a healthy machine
MOST_WAIT_S: Final = 0.5  # for any interval: acknowledgements, the log and signals must be handled

# Unlike `time.monotonic`, Linux's boot time passes in a suspended machine, so that the readings missed are noticed.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_clock() -> float:
    """Return the seconds since a fixed moment; changes of the wall clock do not affect them."""
    return time.clock_gettime(_CLOCK)


class Schedule:
    """
    Slots on a steady clock: slot `k` is customer `k % customers`'s, at `k * interval / customers` after the start.

    Args:
        customers: How many share an interval.
        interval_s: Seconds from one reading of a customer to the next; 0: every slot is due at once.
        clock: Steady seconds; a wall clock that jumps would stop the schedule, or burst.
    """

    def __init__(self, customers: int, interval_s: float, clock: Callable[[], float] = steady_clock) -> None:
        self._customers = customers
        self._clock = clock
        self._start = clock()
        self._slot_s = interval_s / customers
        self._next = 0

    def due(self, most: int) -> tuple[int, int, int]:
        """
        Take the slots that are due.

        Args:
            most: How many at the most.
        Returns:
            The first customer that is due (from 0) and the one after the last, all in one round; and how many
            slots were skipped before them: all that were due, if the schedule was more than `MOST_BEHIND_S` behind.
        """
        skipped = 0
        if self._slot_s:
            passed_s = self._clock() - self._start
            end = int(passed_s / self._slot_s) + 1
            if passed_s - self._next * self._slot_s > MOST_BEHIND_S:
                skipped = end - self._next
                self._next = end
            most = min(most, end - self._next)
        first = self._next % self._customers
        last = min(first + most, self._customers)
        self._next += last - first
        return first, last, skipped

    def wait_s(self) -> float:
        """Return the seconds until the next slots are due, at most `MOST_WAIT_S`."""
        if not self._slot_s:
            return 0.0
        gathered = self._start + self._next * self._slot_s + max(0.0, TICK_S - self._slot_s)
        return min(max(0.0, gathered - self._clock()), MOST_WAIT_S)
