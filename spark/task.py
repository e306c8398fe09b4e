"""
Runs in Spark's Python workers: stores a partition's part of a micro-batch in PostgreSQL.

Spark may run a task twice for the same records: after a failure, beside a slow copy, or after a driver was killed. Each
transaction advances the ledger from its first offset to its last one, or is rolled back. So a second task finds the
ledger ahead, and writes only the rest.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pyarrow as pa

from common.errors import ConfigError, HeartbeatError, LedgerError, OutageError, TopicReplacedError
from common.runtime import prepare_for_batches
from common.settings import Credentials, Settings
from common.topic import TopicAdmin
from common.topic_identity import TopicCheck, TopicIdentity
from contracts.load import contract_of
from spark.records import batch_of, rows_of
from store.batch import Batch
from store.errors import StaleOwnerError
from store.postgres import PostgresStore
from store.record import PlainRecord, Rejected
from store.row_id import LAST_OFFSET
from store.validation import Decode

BLOCKED_S: Final = 1.5  # then a stalled copy is assumed to block the write, and its session is terminated
ANYWHERE: Final = (0, LAST_OFFSET + 1)  # all offsets that fit into a row id
# Errors go from the workers to the driver by name: Spark would pass on only an exception's text.
ERRORS: Final[Mapping[str, type[HeartbeatError]]] = {
    error.__name__: error for error in (LedgerError, ConfigError, OutageError, StaleOwnerError, TopicReplacedError)
}
OUTCOME: Final = pa.schema(
    [
        ("partition", pa.int32()),
        ("position", pa.int64()),
        ("stored", pa.int64()),
        ("rejected", pa.map_(pa.string(), pa.int64())),
        ("newest_ms", pa.int64()),
        ("error", pa.string()),
        ("message", pa.string()),
        ("hint", pa.string()),
        ("old", pa.int64()),
        ("oldest_us", pa.int64()),
        ("duplicates", pa.int64()),
    ]
)
OUTCOME_SQL: Final = (
    "partition int, position long, stored long, rejected map<string, long>, newest_ms long,"
    " error string, message string, hint string, old long, oldest_us long, duplicates long"
)


@dataclass(frozen=True, slots=True)
class Job:
    """What a task has to know; it is sent to every worker."""

    settings: Settings
    credentials: Credentials
    topic: TopicIdentity
    generation: int
    positions: Mapping[int, int]  # by partition, the ledger's next offset when the micro-batch began


@dataclass(slots=True)
class PartitionOutcome:
    """The result of a partition's part of a micro-batch. With an error, it covers what was stored before that."""

    partition: int
    position: int  # the ledger's next offset now
    stored: int
    rejected: dict[str, int]  # by reason
    newest_ms: int
    error: str | None = None
    message: str | None = None
    hint: str | None = None
    old: int = 0  # number of stored rows that are older than the retention
    oldest_us: int = 0  # the timestamp of the oldest of them
    duplicates: int = 0  # events that the table already had

    def failure(self) -> HeartbeatError | None:
        """Return the error, if there is one, as it was raised in the worker."""
        if self.error is None:
            return None
        return ERRORS.get(self.error, OutageError)(self.message or self.error, hint=self.hint or "")


class Connections:
    """One Python worker's connections, kept from micro-batch to micro-batch."""

    def __init__(self, job: Job) -> None:
        self.key = (job.settings, job.credentials)
        self.outcome: PartitionOutcome | None = None  # of the running task
        self.store = PostgresStore(job.settings, job.credentials, self._note_old)  # the driver warns, not a worker
        self.decode = Decode(contract_of(job.settings.event), timedelta(seconds=job.settings.consumer.max_future_s))
        self._topic = TopicAdmin(job.settings.kafka)
        prepare_for_batches()

    def write(self, batch: Batch, topic: TopicIdentity) -> list[Rejected]:
        """Store a batch or raise, as `PostgresStore.write`. Stalled sessions that block it are terminated."""
        written = threading.Event()

        def watch() -> None:
            while not written.wait(BLOCKED_S):
                self.store.terminate_blockers()

        threading.Thread(target=watch, name="blockers", daemon=True).start()
        try:
            return self.store.write(batch, topic, TopicCheck(self._topic, topic))
        finally:
            written.set()

    def _note_old(self, count: int, oldest_us: int) -> None:
        if count and (outcome := self.outcome) is not None:
            outcome.oldest_us = min(oldest_us, outcome.oldest_us) if outcome.old else oldest_us
            outcome.old += count


_connections: list[Connections] = []  # at most one: a Python worker runs one task at a time


def store(job: Job) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function for `mapInArrow`: it takes a partition's records and returns one row of `OUTCOME`."""

    def run(parts: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return store_parts(job, parts)

    return run


def store_parts(job: Job, parts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Store a partition's records, each Arrow batch in its own transaction."""
    outcome: PartitionOutcome | None = None
    for part in parts:
        rows = rows_of(part)
        if not rows:
            continue
        if outcome is None:
            partition = rows[0].partition()
            outcome = PartitionOutcome(partition, job.positions.get(partition, 0), 0, {}, 0)
        try:
            _store_rows(job, rows, outcome)
        except HeartbeatError as error:
            outcome.error, outcome.message, outcome.hint = type(error).__name__, error.message, error.hint
            break
    if outcome is not None:
        values: list[list[Any]] = [[getattr(outcome, name)] for name in OUTCOME.names]
        values[OUTCOME.names.index("rejected")] = [list(outcome.rejected.items())]
        arrays = [pa.array(value, field.type) for value, field in zip(values, OUTCOME, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=OUTCOME)


def _store_rows(job: Job, rows: list[PlainRecord], outcome: PartitionOutcome) -> None:
    connections = _connections_for(job)
    connections.outcome = outcome
    while (batch := batch_of(rows, outcome.position, job.generation, connections.decode)) is not None:
        try:
            rejected = connections.write(batch, job.topic)
        except StaleOwnerError:
            log_ranges = {outcome.partition: ANYWHERE}
            position = connections.store.positions(job.topic, log_ranges)[1][outcome.partition].next_offset
            if position <= outcome.position:  # the ledger went back, or its row is gone: restart
                raise
            outcome.position = position
        else:
            reasons = Counter(outcome.rejected)
            reasons.update(one.reason for one in rejected)
            outcome.rejected = dict(reasons)
            outcome.stored += batch.messages - len(rejected) - batch.duplicates.total()
            outcome.duplicates += batch.duplicates.total()
            outcome.position = batch.slices[0].to_offset
            outcome.newest_ms = max(outcome.newest_ms, batch.newest_ms)


def _connections_for(job: Job) -> Connections:
    if _connections and _connections[0].key != (job.settings, job.credentials):
        _connections.pop().store.close()
    if not _connections:
        _connections.append(Connections(job))
    return _connections[0]
