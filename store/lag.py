"""The lag: what Kafka's log holds beyond the ledger, as a number of records and as an age; for Prometheus and SQL."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from store.metrics import LAG, LAG_SECONDS
from store.session import Session
from store.steps import Done

NOTE_EVERY_S: Final = 5.0
NOTE: Final = """
INSERT INTO kafka_log_ends AS noted (generation, partition, log_end, newest_stored_at)
SELECT %(generation)s, partition, log_end, to_timestamp(nullif(%(newest_stored_s)s, 0))
FROM unnest(%(partitions)s::integer[], %(ends)s::bigint[]) AS found (partition, log_end) ORDER BY partition
ON CONFLICT (generation, partition) DO UPDATE
SET log_end = excluded.log_end, seen_at = excluded.seen_at,
    newest_stored_at = coalesce(excluded.newest_stored_at, noted.newest_stored_at)
"""


@dataclass(frozen=True, slots=True)
class LogEnds:
    """The ends of Kafka's logs, by partition, as last known; `newest_stored_s`: Unix time, 0 if unknown."""

    generation: int
    ends: Mapping[int, int]
    newest_stored_s: float


class Lag:
    """
    Sets the two gauges of the lag: the end of the log minus the ledger's offset, each as last known.

    It works in every state of the loop, also while the database is away or a write hangs. Maintenance writes `log_ends`
    to the database, from another thread.
    """

    def __init__(self) -> None:
        self.log_ends = LogEnds(0, {}, 0.0)
        self._behind_since: float | None = None  # Unix time; None: no lag
        self._newest_stored = 0.0  # Unix time of the newest stored record, by the broker's clock

    def stored(self, newest_ms: int) -> None:
        """Note the time of a committed batch's newest record; 0: unknown. With `CreateTime`, it may be any number."""
        self._newest_stored = max(self._newest_stored, min(newest_ms / 1000, time.time()))

    def show(self, ends: Mapping[int, int | None], ledger: Mapping[int, int], generation: int) -> int | None:
        """
        Set the gauges.

        Args:
            ends: By assigned partition, the end of Kafka's log; None: not known yet.
            ledger: By partition, the next offset to read.
            generation: The topic's.
        Returns:
            The number of records not stored yet; None if no partition has both values.
        """
        known = {partition: end for partition, end in ends.items() if end is not None and partition in ledger}
        self.log_ends = LogEnds(generation, known, self._newest_stored)
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


def note_log_ends(session: Session, lag: Lag) -> Done:
    """
    Write to the database how far Kafka's logs reach, a step of maintenance.

    Raises:
        OutageError, ConfigError: As `Session.run`.
    """
    known = lag.log_ends
    if known.ends:
        given = {
            "generation": known.generation,
            "partitions": list(known.ends),
            "ends": list(known.ends.values()),
            "newest_stored_s": known.newest_stored_s,
        }
        session.run("note the ends of Kafka's logs", lambda connection: connection.execute(NOTE, given))
    return Done.ALL
