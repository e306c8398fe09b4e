"""
The loop: reads and validates the next batch while others are written.

More than 250 lines: it handles every result of a wait, a read and a write.

Each writer has its own connection, so one batch is copied while the previous one commits. Only `COPY` overlaps: a batch
advances the ledger after the previous batch has. If that one fails, this one fails, too.

Start, rebalance, a lost connection and a stale owner share one path: forget the positions, read the ledger, continue
from there. This module does not know Kafka or PostgreSQL; it gets a `Source` and a `Store`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from common.errors import ConfigError, HeartbeatError, NoLeaderError, OutageError, RefusedError, TopicReplacedError
from common.telemetry import Health
from consumer.errors import MembershipLostError, PredecessorFailedError
from consumer.interfaces import Source, Stop, Store
from consumer.metrics import BATCH_ROWS, BATCH_SECONDS
from consumer.report import StoredReport
from consumer.writers import Write, Writers
from store.batch import Batch, Slice
from store.errors import LogEndsEarlyError, StaleOwnerError
from store.events import Events
from store.lag import Lag
from store.metrics import FENCED
from store.outage import Outage
from store.validation import Decode

PATIENCE_S: Final = 1.0  # while a write takes longer, the group is polled this often
# A stop waits this long for the last writes, then for leaving the group; less than compose's stop_grace_period.
DRAIN_S, LEAVE_S = 25.0, 5.0
REVOKE_S: Final = 5.0  # a rebalance waits this long for writes; the fence stops a later one
NAP_S: Final = 0.1


class Worker:
    """
    Reads, validates and writes batches until it is stopped.

    An operator's mistake (`ConfigError`, `RefusedError`) stops it, until it has read the ledger once. After that it is
    an outage, such as a database being restored or a changed password: it retries.

    Args:
        open_source: Starts a new group session; its argument is called before partitions are revoked.
        stores: One for each batch that may be written at a time; each is used by one thread at a time.
        decode: Validates payloads.
        health: Gets notes of progress.
        lag: Gets what is known of the lag.
        events: Gets outages and fenced batches.
    """

    def __init__(  # noqa: PLR0913 - both ends of the loop, and what gets notes; the latter by keyword
        self,
        open_source: Callable[[Callable[[], object]], Source],
        stores: Sequence[Store],
        decode: Decode,
        *,
        health: Health,
        lag: Lag,
        events: Events,
    ) -> None:
        self._open_source = open_source
        self._decode = decode
        self._health = health
        self._report = StoredReport(lag)
        self._kafka, self._postgresql = Outage("kafka", events), Outage("postgresql", events)
        self._events = events
        self._writers = Writers(stores)
        self._write_failed = False
        self._has_worked = False
        self._revoke_s = REVOKE_S
        self._generation = 0

    def run(self, stop: Stop) -> None:
        """
        Store records until `stop` is set; then finish the writes in flight, in bounded time.

        Raises:
            LedgerError, ConfigError: Continuing is useless or unsafe. Everything that was committed stays.
        """
        try:
            while not stop.is_set():
                self._run_source(stop)
        finally:
            self._writers.close()

    def _run_source(self, stop: Stop) -> None:
        """Run one group session, until stopped or the topic is re-created."""
        self._report.forget_offsets()
        self._revoke_s = REVOKE_S
        source = self._open_source(lambda: self._writers.wait(self._revoke_s))
        try:
            try:
                self._subscribe(source, stop)
                self._loop(source, stop)
                self._settle(source, DRAIN_S)
                self._show_progress(source, now=True)
            finally:
                self._revoke_s = 0.0  # leaving the group does not wait for writes again
                leave_group(source)
        except (TopicReplacedError, MembershipLostError) as error:
            structlog.get_logger().warning("group session ended", **error.fields)

    def _subscribe(self, source: Source, stop: Stop) -> None:
        while not stop.is_set():
            if self._kafka.wait_s:
                time.sleep(min(self._kafka.wait_s, NAP_S))
                continue
            try:
                source.subscribe()
            except (OutageError, ConfigError) as error:
                self._wait_out(error, self._kafka)
            else:
                self._kafka.note_success()
                return

    def _loop(self, source: Source, stop: Stop) -> None:
        while not stop.is_set():
            self._start_partitions(source, stop)
            if slices := self._read(source):
                self._hand_over(source, Batch.of(slices, self._generation, self._decode), stop)
            self._settle(source, 0)
            self._show_progress(source)
            if not (slices or self._writers or source.unstarted or source.stuck):
                self._note_idle()

    def _show_progress(self, source: Source, *, now: bool = False) -> None:
        """Report once a second, and show Kafka's tools the ledger's offsets: its own may have expired or been reset."""
        if now or self._report.is_due:
            self._report.write(source.log_ends(), self._generation)
            if moved := self._report.take_moved():
                source.mirror(moved)

    def _note_idle(self) -> None:
        """Note that there is nothing to do, unless a server has just failed and was not retried yet."""
        if self._kafka.is_settled and self._postgresql.is_settled:
            self._health.ok()
            self._kafka.note_success()
            self._recovered()

    def _read(self, source: Source) -> list[Slice]:
        try:
            return source.read()
        except (ConfigError, OutageError) as error:
            self._wait_out(error, self._kafka)
            return []

    def _start_partitions(self, source: Source, stop: Stop) -> None:
        """Read the positions of unstarted partitions from the ledger, and start reading there."""
        if (
            not source.unstarted
            or self._kafka.wait_s
            or self._postgresql.wait_s
            or not self._settle(source, PATIENCE_S)
        ):
            return
        if not (log_ranges := self._look_up_logs(source)):
            return
        asked = self._writers.ask_positions(source.topic, log_ranges)
        while not self._writers.is_done(asked, PATIENCE_S):
            if stop.is_set():
                return
            self._rest(source)
        try:
            self._generation, positions = asked.result()
        except LogEndsEarlyError as error:
            if self._ends_early(source, error):
                raise
            return  # another engine stored newer records meanwhile: ask again
        except (OutageError, ConfigError) as error:
            self._wait_out(error, self._postgresql)
            return
        source.start_at(positions)
        self._report.note_offsets({partition: at.next_offset for partition, at in positions.items()})
        self._has_worked = True
        if not self._write_failed:  # otherwise only a successful write shows that writing works again
            self._recovered()

    def _look_up_logs(self, source: Source) -> dict[int, tuple[int, int]]:
        """Return the first and the next offset of the unstarted partitions that Kafka answers for."""
        try:
            log_ranges = source.log_ranges(source.unstarted)
            source.check_topic().wait()  # afterwards, so the ranges are this topic's and not its successor's
        except (OutageError, ConfigError) as error:
            self._wait_out(error, self._kafka)
            return {}
        if leaderless := source.unstarted - log_ranges.keys():
            self._kafka.report(NoLeaderError(source.topic.name, leaderless))
        else:
            self._kafka.note_success()
        return log_ranges

    def _ends_early(self, source: Source, error: LogEndsEarlyError) -> bool:
        try:
            log_ranges = source.log_ranges([error.partition])
        except (OutageError, ConfigError) as outage:
            self._wait_out(outage, self._kafka)
            return False
        return error.partition in log_ranges and log_ranges[error.partition][1] < error.expected

    def _rest(self, source: Source) -> None:
        """Stay in the group and report, during a wait."""
        try:
            source.rest()
        except (ConfigError, OutageError) as error:
            self._wait_out(error, self._kafka)
        self._show_progress(source)

    def _hand_over(self, source: Source, batch: Batch, stop: Stop) -> None:
        """Start writing a batch when a writer is free. Drop it if the previous one fails."""
        while not self._settle(source, PATIENCE_S, leave=self._writers.most - 1):
            if stop.is_set():
                return  # it is read again
            self._rest(source)
        # Slices whose position was forgotten meanwhile (the previous write failed, the partition was revoked) are not
        # written; they are read again. The others must be written: their positions have advanced.
        held = [part for part in batch.slices if source.holds(part)]
        if not held:
            return
        if len(held) < len(batch.slices):
            batch = Batch.of(held, self._generation, self._decode)
        self._writers.write(batch, source)

    def _settle(self, source: Source, timeout_s: float, leave: int = 0) -> bool:
        """Wait at most `timeout_s` until at most `leave` writes are in flight; return False if there are more."""
        for write in self._writers.take_finished(timeout_s, leave):
            self._finish(source, write)
        return len(self._writers) <= leave

    def _finish(self, source: Source, write: Write) -> None:
        """Note a write's result. A failure forgets the position of every partition."""
        # Not by `result()`: it would raise here, and the error and this frame would keep each other and the batch.
        match write.future.exception():
            case None:
                BATCH_SECONDS.observe(time.monotonic() - write.started)
                BATCH_ROWS.observe(write.batch.messages)
                self._report.stored(write.batch, write.future.result())
                # While a partition cannot be read, the others' progress is no sign of health.
                if not (source.unstarted or source.stuck):
                    self._health.ok()
                self._recovered()
            case PredecessorFailedError():
                pass  # all positions were forgotten when the previous write failed
            case TopicReplacedError() if write.source is not source:
                pass  # an earlier session read it; this one reads the topic that replaced that one
            case StaleOwnerError() as error:
                source.forget_positions()
                FENCED.inc()
                self._events.add("fenced", error.message)
                structlog.get_logger().info("stale batch dropped", **error.fields)
            case OutageError() | ConfigError() as error:
                source.forget_positions()
                self._write_failed = True
                self._wait_out(error, self._postgresql)
            case error:
                raise error

    def _wait_out(self, error: HeartbeatError, server: Outage) -> None:
        if isinstance(error, (ConfigError, RefusedError)) and not self._has_worked:
            raise error
        server.report(error)

    def _recovered(self) -> None:
        self._write_failed = False
        self._postgresql.note_success()


def leave_group(source: Source) -> None:
    """
    Close a source, in bounded time.

    With a hanging broker, Kafka's client waits over a minute. librdkafka 2.16 was also seen to wait forever: in
    the callback of a rebalance, for an answer to its own `incremental_unassign`.
    """
    leaving = threading.Thread(target=source.close, name="leave", daemon=True)
    leaving.start()
    leaving.join(LEAVE_S)
    if leaving.is_alive():
        structlog.get_logger().warning(
            "did not leave the consumer group in time",
            waited_s=LEAVE_S,
            hint="Kafka's client still waits. The group reassigns the partitions when the session expires.",
        )
