"""
The consumer, with a signal sent to itself at a named point: `python -m tests.fault.faulty_consumer POINT SIGNAL NTH`.

The same for `reread`, whose arguments follow these.

Only the store is replaced, by one that does the same and stops to send the signal; everything else is the real thing.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from psycopg import Connection

import consumer.__main__
import consumer.reread
from common.topic_identity import Check, TopicIdentity
from store.batch import Batch
from store.postgres import PostgresStore
from store.record import Rejected
from store.rewrite import Rewriter

POINTS = ("before-transaction", "inside-copy", "after-copy", "after-quarantine", "before-commit", "after-commit")


class FaultyStore(PostgresStore):
    """Counts the batches that hold rows, and at one point of the chosen one sends the signal."""

    point: str
    signal: signal.Signals
    nth: int
    _batch = 0

    def _reach(self, point: str) -> None:
        if point == self.point and self._batch == self.nth:
            os.kill(os.getpid(), self.signal)

    def write(self, batch: Batch, topic: TopicIdentity, check: Check) -> list[Rejected]:
        self._batch += bool(batch.records)
        self._reach("before-transaction")
        rejected = super().write(batch, topic, check)
        self._reach("after-commit")
        return rejected

    def _store_rows(self, connection: Connection, batch: Batch, part: range, check: Check) -> Counter[int]:
        duplicates = Counter[int]()
        if self.point != "inside-copy" or self._batch != self.nth:
            duplicates = super()._store_rows(connection, batch, part, check)
        else:
            with connection.cursor().copy(self._copy_events) as copy:
                whole = self._encoded(batch, part)
                copy.write(whole[: len(whole) // 2])
                copy._pgconn.flush()  # noqa: SLF001 - half of it must have left
                self._reach("inside-copy")
                copy.write(whole[len(whole) // 2 :])
        self._reach("after-copy")
        return duplicates

    def _quarantine(
        self, connection: Connection, topic: TopicIdentity, batch: Batch, rejected: Sequence[Rejected]
    ) -> None:
        super()._quarantine(connection, topic, batch, rejected)
        self._reach("after-quarantine")

    def _advance(self, connection: Connection, batch: Batch, rejected: Sequence[Rejected]) -> None:
        super()._advance(connection, batch, rejected)
        self._reach("before-commit")


class FaultyRewriter(FaultyStore, Rewriter):
    """The same for batches that are read again."""


def main(run: Callable[[list[str]], int] = consumer.__main__.main) -> int:
    """Run the consumer with the fault that the command line names."""
    FaultyStore.point, name, nth = sys.argv[1:4]
    assert FaultyStore.point in POINTS
    FaultyStore.signal, FaultyStore.nth = signal.Signals[name], int(nth)
    setattr(consumer.__main__, "PostgresStore", FaultyStore)  # noqa: B010 - the type checker would see a name rebound
    setattr(consumer.reread, "Rewriter", FaultyRewriter)  # noqa: B010 - as above
    return run(sys.argv[4:])


if __name__ == "__main__":
    sys.exit(main())
