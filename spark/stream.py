"""One streaming query, from the ledger's offsets to its end."""

import contextlib
import contextvars
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import structlog
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from common.errors import ConfigError, HeartbeatError, LedgerError, OutageError, one_line
from common.topic_identity import Check
from contracts.load import contract_of
from spark.records import COLUMNS
from spark.session import read_kafka
from spark.task import ANYWHERE, OUTCOME_SQL, Job, PartitionOutcome, store
from store.batch import Batch, Slice
from store.errors import StaleOwnerError
from store.postgres import PostgresStore
from store.validation import Decode

# The message of Kafka's Java client, deep in the causes of Spark's error.
INVALID_BATCH: Final = re.compile(r"Record batch for partition (\S+)-(\d+) at offset (\d+) is invalid")
GRAVEST: Final = (LedgerError, ConfigError)  # errors that a retry does not solve are raised before others


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The result of a micro-batch. If a partition failed, it covers what was stored before that."""

    number: int  # Spark's own, from 0 for each query
    seconds: float
    outcomes: Sequence[PartitionOutcome]


class Stream:
    """
    A query that stores micro-batches until it is stopped or fails.

    Args:
        session: Spark.
        job: Its first positions, and where it writes.
        report: Gets every micro-batch, in a thread of Spark's.
        confirm_log: Called before a micro-batch is stored, in that thread; raises if Kafka's log may have been cut.
    """

    def __init__(
        self,
        session: SparkSession,
        job: Job,
        report: Callable[[MicroBatch], None],
        confirm_log: Callable[[], None],
    ) -> None:
        self.positions = dict(job.positions)
        self._session = session
        self._job = job
        self._report = report
        self._confirm_log = confirm_log
        self._stored = -1  # number of the last micro-batch that was stored completely
        self._failure: BaseException | None = None
        self._closed = False
        self._writing = threading.Lock()
        self._context = contextvars.copy_context()  # for the log lines of Spark's thread
        self._query: StreamingQuery | None = None

    def start(self) -> None:
        """
        Start the query.

        Raises:
            ConfigError: Spark has no Kafka connector.
            OutageError: The query cannot start.
        """
        frame = read_kafka(self._session, self._job.settings, self._job.positions)
        trigger = f"{round(self._job.settings.spark.trigger_s * 1000)} milliseconds"
        try:
            self._query = frame.writeStream.foreachBatch(self._called).trigger(processingTime=trigger).start()
        except PySparkException as error:
            raise _outage(error) from error

    def check(self) -> None:
        """
        Raise if the query does not run.

        Raises:
            HeartbeatError: The cause; an `OutageError` if it is unknown.
        """
        try:
            if self._query is None or self._query.isActive:
                return
            error = self._query.exception()
        except (Py4JError, OSError) as lost:
            raise HeartbeatError(
                f"Spark's Java process is gone: {one_line(lost)}",
                hint="Its last lines on stderr say why. If it ran out of memory, give it more (--driver-memory).",
            ) from lost
        if self._failure is not None:
            raise self._failure
        raise _outage(error)

    def pass_tails(self, store: PostgresStore, check: Check) -> None:
        """
        Advance the ledger past trailing offsets without a record, such as a transaction's last marker.

        A micro-batch has read these offsets, and all its records are stored. This does nothing while the next one is
        being stored, because that may have found more records.

        Raises:
            StaleOwnerError: The ledger went back.
            HeartbeatError: As `PostgresStore.write`.
        """
        if not self._writing.acquire(blocking=False):
            return
        try:
            ends, positions = self.ends(), self.positions.items()
            slices = [Slice(p, at, ends[p], [], ends[p] - at) for p, at in positions if ends.get(p, 0) > at]
            if not slices:
                return
            generation, topic = self._job.generation, self._job.topic
            nothing = Decode(
                contract_of(self._job.settings.event), timedelta()
            )  # nothing to validate: no record is there
            try:
                store.write(Batch.of(slices, generation, nothing), topic, check)
            except StaleOwnerError:
                self._catch_up(store, [part.partition for part in slices])
            else:
                self.positions.update({part.partition: part.to_offset for part in slices})
        finally:
            self._writing.release()

    def ends(self) -> dict[int, int]:
        """Return, by partition, the end offsets of finished micro-batches; empty if they are unknown."""
        try:
            progress = self._query.lastProgress if self._query is not None else None
        except (PySparkException, Py4JError, OSError):  # `check` says why
            return {}
        return ends_of(progress, self._job.topic.name, self._stored)

    def stop(self, timeout_s: float) -> None:
        """Stop the query when the running micro-batch is stored, or after `timeout_s` seconds."""
        finished = self._writing.acquire(timeout=timeout_s)
        self._closed = True
        if finished:
            self._writing.release()
        with contextlib.suppress(PySparkException, Py4JError, OSError):  # the rest ends with Spark
            if self._query is not None:
                self._query.stop()

    def _catch_up(self, store: PostgresStore, partitions: Sequence[int]) -> None:
        """Adopt the ledger's positions, after another engine has advanced them."""
        _, positions = store.positions(self._job.topic, dict.fromkeys(partitions, ANYWHERE))
        for partition, at in positions.items():
            if at.next_offset < self.positions[partition]:
                raise StaleOwnerError(
                    f"cannot continue partition {partition}: the ledger went back from {self.positions[partition]} to"
                    f" {at.next_offset}",
                    hint="The query restarts from the ledger.",
                )
            self.positions[partition] = at.next_offset

    def _called(self, frame: DataFrame, number: int) -> None:
        self._context.run(self._store, frame, number)

    def _store(self, frame: DataFrame, number: int) -> None:
        with self._writing:
            if self._closed:
                return
            try:
                self._run(frame, number)
            except BaseException as error:  # Spark would pass on only its text
                self._failure = _outage(error) if isinstance(error, (PySparkException, Py4JError)) else error
                raise

    def _run(self, frame: DataFrame, number: int) -> None:
        began = time.monotonic()
        self._confirm_log()
        task = store(replace(self._job, positions=dict(self.positions)))
        rows = frame.selectExpr(*COLUMNS).mapInArrow(task, OUTCOME_SQL).collect()
        outcomes = [PartitionOutcome(**row.asDict()) for row in rows]
        self.positions.update({one.partition: one.position for one in outcomes})
        self._report(MicroBatch(number, time.monotonic() - began, outcomes))
        failures = [failure for one in outcomes if (failure := one.failure()) is not None]
        if failures:
            raise min(failures, key=lambda failure: not isinstance(failure, GRAVEST))
        self._stored = number


def ends_of(progress: Mapping[str, Any] | None, topic: str, stored: int) -> dict[int, int]:
    """
    Return, by partition, the end offsets of finished micro-batches.

    Args:
        progress: Spark's report of the last finished one.
        topic: The topic's name.
        stored: The number of the last one that was stored completely. Later ones may not be.
    """
    if progress is None or progress["batchId"] > stored:
        return {}
    offsets = json.loads(progress["sources"][0]["endOffset"]) or {}
    return {int(partition): end for partition, end in offsets.get(topic, {}).items()}


def _outage(error: Exception | None) -> OutageError:
    structlog.get_logger().debug("spark", error=str(error))
    if (batch := INVALID_BATCH.search(str(error))) is not None:
        topic, partition, offset = batch.groups()
        return OutageError(
            f"cannot read topic {topic}, partition {partition}, at offset {offset}: the batch is corrupt",
            hint="Spark cannot skip it, but the plain consumer can: run `python -m consumer` until it is quarantined.",
        )
    lines = [line for line in str(error).splitlines() if line and not line.startswith((" ", "\t", "Traceback"))]
    words = lines[-1] if lines and "Traceback" in str(error) else one_line(error) if error else "for an unknown reason"
    return OutageError(
        f"Spark's query ended: {words}", hint="No message is lost. The query restarts from the ledger's offsets."
    )
