"""Heartbeats of a few people as a consumer stores them, for tests of alarms."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

from benchmarks.alarms import ADVANCE, BEGIN, COPY, LIMITS
from store.alarms import LOOK
from store.row_id import pack

START: Final = datetime(2026, 11, 22, 9, tzinfo=UTC)  # fixed: the episodes of a seed belong to the time of day
OPEN: Final = "SELECT customer_id, kind FROM alarms WHERE ended_at IS NULL ORDER BY customer_id, kind"
LASTED: Final = "SELECT customer_id, kind, started_at, ended_at FROM alarms"
EVERYBODY: Final = range(1, 21)


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def around_70(number: int, second: int) -> int:
    """Give a heart rate that varies."""
    return 70 + (number + second) % 5


class Fleet:
    """Heartbeats as a consumer stores them: odd customers in partition 1, even ones in 0; times in seconds."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.generation = 1
        self.offsets = [0, 0]
        connection.execute(BEGIN)

    def send(
        self,
        numbers: Iterable[int],
        begins_s: int,
        ends_s: int,
        bpm: Callable[[int, int], int] = around_70,
        *,
        ahead_s: int = 0,
    ) -> None:
        """Copy one heartbeat a second of each; the sender's clock may be ahead."""
        with self.connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for second in range(begins_s, ends_s):
                for number in numbers:
                    partition = number % 2
                    row_id = pack(self.generation, partition, self.offsets[partition])
                    self.offsets[partition] += 1
                    copy.write_row((row_id, f"CUST-{number:06d}", at(second + ahead_s), bpm(number, second)))

    def advance(self, *partitions: int) -> None:
        """Take into the ledger what was stored: only then does it count."""
        for partition in partitions or (0, 1):
            self.connection.execute(ADVANCE, (self.offsets[partition], self.offsets[partition], partition))

    def look(self) -> None:
        """Look for alarms until nothing is left."""
        while self.connection.execute(LOOK, LIMITS).fetchone()[0]:  # type: ignore[index]  # one row, always
            pass

    def alarms(self, statement: str = OPEN) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement.encode()).fetchall()
