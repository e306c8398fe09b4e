"""The driver's loop: start a query at the ledger's offsets, watch it, and restart it when it ends."""

import contextlib
from collections.abc import Callable
from typing import Final

import structlog
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from common.errors import ConfigError, NoLeaderError, OutageError, RefusedError, TopicReplacedError
from common.runtime import StopFlag
from common.topic_log import TopicLog
from spark.report import MicroBatchReport
from spark.stream import Stream
from spark.task import Job
from store.errors import LogEndsEarlyError, RecordReplacedError, StaleOwnerError
from store.kafka_probe import find_replaced
from store.metrics import FENCED
from store.old_rows import OldRows
from store.outage import Outage
from store.postgres import PostgresStore
from store.service import Storing

LOOK_S: Final = 1.0
DRAIN_S: Final = 30.0  # a stop waits this long for the running micro-batch; compose's stop_grace_period is longer
CUT_S: Final = 5.0  # a restart of the query waits this long
OVERTAKEN_S: Final = 0.5  # before the query restarts behind what another consumer stored


class Engine:
    """
    Stores records until it is stopped.

    Args:
        service: Settings, the login at PostgreSQL, and what gets notes of progress, lag and events.
        open_session: Starts Spark; called once, after Kafka and PostgreSQL have answered.
    """

    def __init__(self, service: Storing, open_session: Callable[[], SparkSession]) -> None:
        self._settings = settings = service.settings
        self._credentials = credentials = service.credentials
        self._open_session = open_session
        self._session: SparkSession | None = None
        self._health = service.health
        self._log = TopicLog(settings)
        self._store = PostgresStore(settings, credentials)
        old_rows = OldRows(settings.consumer.retention_days)
        self._report = MicroBatchReport(settings.spark.trigger_s, self._stored, old_rows, service.lag)
        self._outage = Outage("spark", service.events)
        self._events = service.events
        self._has_worked = False  # after that, mistakes are retried, as in the consumer's worker

    def run(self, stop: StopFlag) -> None:
        """
        Store records until `stop` is set; then finish the running micro-batch, in bounded time.

        Raises:
            LedgerError, ConfigError: Continuing is useless or unsafe. Everything that was committed stays.
        """
        try:
            while not stop.is_set():
                try:
                    self._run_stream(stop)
                except StaleOwnerError as error:
                    FENCED.inc()
                    self._events.add("fenced", error.message)
                    structlog.get_logger().info("stale batch dropped", **error.fields)
                    stop.wait(OVERTAKEN_S)
                except TopicReplacedError as error:
                    structlog.get_logger().warning("topic replaced", **error.fields)
                except (OutageError, ConfigError) as error:
                    if isinstance(error, (ConfigError, RefusedError)) and not self._has_worked:
                        raise
                    self._outage.report(error)
                    stop.wait(self._outage.wait_s)
        finally:
            self._log.close()
            self._store.close()
            if self._session is not None:
                with contextlib.suppress(Py4JError, OSError):  # its Java process may be gone
                    self._session.stop()

    def _run_stream(self, stop: StopFlag) -> None:
        """Run one query until it is stopped, it fails, or the topic changes."""
        if (job := self._find_start()) is None:
            return
        if self._session is None:
            self._session = self._open_session()
        stream = Stream(self._session, job, self._report.stored, self._confirm_log)
        patience_s = CUT_S
        try:
            stream.start()
            self._has_worked = True
            while not stop.wait(LOOK_S):
                stream.check()
                if not self._look(job, stream):
                    return
            patience_s = DRAIN_S
        finally:
            stream.stop(patience_s)

    def _find_start(self) -> Job | None:
        """Return a job at the ledger's positions, checked against Kafka's log; None: ask again."""
        self._log.was_away()  # resets it: the log is read from here on
        topic, partitions = self._log.identify()
        log_ranges = self._log.ranges(range(partitions))
        if leaderless := set(range(partitions)) - log_ranges.keys():  # Spark reads all partitions or none
            raise NoLeaderError(topic.name, leaderless)
        self._report.look({partition: end for partition, (_, end) in log_ranges.items()})
        check = self._log.check(topic)
        check.wait()  # afterwards, so the ranges are this topic's and not its successor's
        try:
            generation, positions = self._store.positions(topic, log_ranges)
        except LogEndsEarlyError as error:
            low_and_end = self._log.ranges([error.partition]).get(error.partition)
            if low_and_end is not None and low_and_end[1] < error.expected:
                raise
            return None  # another engine stored newer records meanwhile
        replaced = find_replaced(self._settings, positions)
        check.wait()
        for partition, offset in replaced.items():
            raise RecordReplacedError(topic.name, partition, offset)
        nexts = {partition: at.next_offset for partition, at in positions.items()}
        return Job(self._settings, self._credentials, topic, generation, nexts)

    def _confirm_log(self) -> None:
        if self._log.was_away():
            raise OutageError(
                f"Kafka at {self._settings.kafka.bootstrap_servers} was away, and its log may have been cut meanwhile",
                hint="The query restarts, and compares the last records first.",
            )

    def _look(self, job: Job, stream: Stream) -> bool:
        """Report positions and lag; return False if the topic was replaced or has more partitions."""
        try:
            if self._log.identify() != (job.topic, len(job.positions)):
                return False
            log_ranges = self._log.ranges(job.positions)
        except OutageError as error:
            self._outage.report(error)  # Spark waits for Kafka, too, or its query fails
            return True
        stream.pass_tails(self._store, self._log.check(job.topic))
        positions = dict(stream.positions)
        self._report.look({partition: end for partition, (_, end) in log_ranges.items()}, positions, job.generation)
        self._log.mirror(positions)
        if self._report.lag == 0:
            self._stored()
        return True

    def _stored(self) -> None:
        self._health.ok()
        self._outage.note_success()
