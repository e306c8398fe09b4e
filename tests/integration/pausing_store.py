"""The consumer's store with a crash or a pause at a chosen point of its transaction."""

import threading
from collections.abc import Sequence

from psycopg import Connection

from store.batch import Batch
from store.postgres import PostgresStore
from store.record import Rejected
from tests.fault.crashing_store import CrashError


class PausingStore(PostgresStore):
    """The real one, with a crash or a pause before or after the ledger and the notes are written."""

    crash_at: str | None = None
    pause_at: str | None = None

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # handed through
        self.paused, self.go_on = threading.Event(), threading.Event()

    def _reach(self, point: str) -> None:
        if self.crash_at == point:
            raise CrashError(point)
        if self.pause_at == point:
            self.paused.set()
            assert self.go_on.wait(30)

    def _advance(self, connection: Connection, batch: Batch, rejected: Sequence[Rejected]) -> None:
        self._reach("before-notes")
        super()._advance(connection, batch, rejected)
        self._reach("before-commit")
