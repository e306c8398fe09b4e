"""The lag: what Kafka's log holds beyond the ledger, as a number of records and as an age."""

import math
import time
from collections.abc import Mapping

from store.metrics import LAG, LAG_SECONDS


class Lag:
    """
    Sets the two gauges of the lag: the end of the log minus the ledger's offset, each as last known.

    It works in every state of the loop, also while the database is away or a write hangs.
    """

    def __init__(self) -> None:
        self._behind_since: float | None = None  # Unix time; None: no lag
        self._newest_stored = 0.0  # Unix time of the newest stored record, by the broker's clock

    def stored(self, newest_ms: int) -> None:
        """Note the broker's time of a committed batch's newest record; 0: unknown."""
        self._newest_stored = max(self._newest_stored, newest_ms / 1000)

    def show(self, ends: Mapping[int, int | None], ledger: Mapping[int, int]) -> int | None:
        """
        Set the gauges.

        Args:
            ends: By assigned partition, the end of Kafka's log; None: not known yet.
            ledger: By partition, the next offset to read.
        Returns:
            The number of records not stored yet; None if no partition has both values.
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
        # Waiting records are younger than the newest one stored. Before that one, count from when the lag was seen.
        LAG_SECONDS.set(max(0.0, now - (self._newest_stored or self._behind_since or now)) if lag else 0.0)
        return lag
