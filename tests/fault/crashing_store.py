"""The consumer's store with a crash or a stall at a chosen point of its transaction, inside the test's own process."""

import threading
from collections.abc import Sequence
from typing import Final

from psycopg import Connection

from common.topic_identity import TopicIdentity
from store.batch import Batch
from store.postgres import PostgresStore
from store.record import Rejected

STALL_S: Final = 30  # at most: a test that forgets to wake it fails


class CrashError(Exception):
    """The process is gone; what its connection had begun is rolled back."""


class CrashingStore(PostgresStore):
    """The real one, with a crash or a stall at a point of the transaction."""

    crash_at: str | None = None
    stalled: threading.Event | None = None
    go_on: threading.Event | None = None

    def _reach(self, point: str) -> None:
        if self.crash_at == point:
            raise CrashError(point)

    def _quarantine(
        self, connection: Connection, topic: TopicIdentity, batch: Batch, rejected: Sequence[Rejected]
    ) -> None:
        super()._quarantine(connection, topic, batch, rejected)
        self._reach("after-quarantine")
        if self.stalled and self.go_on:
            self.stalled.set()
            assert self.go_on.wait(STALL_S)

    def _advance(self, connection: Connection, batch: Batch, rejected: Sequence[Rejected]) -> None:
        super()._advance(connection, batch, rejected)
        self._reach("before-commit")
