"""What Kafka's log holds beyond the ledger, as a number and as an age."""

import math
import time
from collections.abc import Mapping

from store.metrics import LAG, LAG_SECONDS


class Lag:
    """
    What Kafka's log holds beyond the ledger, by what was last known of both; sets the two gauges.

    It holds in any state of the loop: also while the database is away, or a write hangs.
    """

    def __init__(self) -> None:
        self._behind_since: float | None = None  # Unix time; None: nothing waits
        self._newest_stored = 0.0  # Unix time of the newest stored record, by the broker's clock

    def stored(self, newest_ms: int) -> None:
        """Note the broker's time of the newest record of a committed batch; 0: it held none."""
        self._newest_stored = max(self._newest_stored, newest_ms / 1000)

    def show(self, ends: Mapping[int, int | None], ledger: Mapping[int, int]) -> int | None:
        """
        Set the gauges.

        Args:
            ends: By partition of ours, where Kafka's log ends; None: not known yet.
            ledger: By partition, the next offset to read.
        Returns:
            The records that wait; None if of none of the partitions both are known yet.
        """
        known = {partition: end for partition, end in ends.items() if end is not None and partition in ledger}
        if ends and not known:
            LAG.set(math.nan)
            LAG_SECONDS.set(math.nan)
            return None
        lag = sum(max(0, end - ledger[partition]) for partition, end in known.items())
        now = time.time()
        self._behind_since = (self._behind_since or now) if lag else None
        LAG.set(lag)
        # What waits is younger than the newest record stored; before the first one, it waits since we know of it.
        LAG_SECONDS.set(max(0.0, now - (self._newest_stored or self._behind_since or now)) if lag else 0.0)
        return lag
