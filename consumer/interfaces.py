"""Interfaces of the loop: `Source` (Kafka) and `Store` (PostgreSQL). tests/*_claims.py has claims that each keeps."""

from collections.abc import Collection, Mapping
from typing import Protocol

from common.topic_identity import Check, TopicIdentity
from store.batch import Batch, Slice
from store.position import Position
from store.record import Rejected


class Stop(Protocol):
    """A flag that requests a stop."""

    def is_set(self) -> bool:
        """Return whether a stop is requested."""


class Source(Protocol):
    """
    One session in the consumer group. One thread uses it; partitions come and go only during calls.

    An assigned partition is unstarted until `start_at` says where to read it. `topic` is known after `subscribe`.
    """

    topic: TopicIdentity
    unstarted: set[int]

    @property
    def stuck(self) -> set[int]:
        """Return the partitions that cannot be read. While there are any, idle others are no sign of health."""

    def subscribe(self) -> None:
        """
        Read the topic's id and join the group.

        Raises:
            OutageError: The broker is away, or there is no such topic (yet). The call can be repeated.
            ConfigError, RefusedError: The broker rejects us.
        """

    def check_topic(self) -> Check:
        """Return a check, for any thread, that the topic is still `topic`; raises `TopicReplacedError` if not."""

    def read(self) -> list[Slice]:
        """
        Read the next records of started partitions, and wait a bounded time for them.

        Returns:
            At most one slice per partition, which begins where its last one ended. Partitions that were revoked during
            the call are left out.
        Raises:
            OutageError, ConfigError, RefusedError: The broker is away or rejects us.
            MembershipLostError: This session cannot continue.
            RecordReplacedError: Kafka holds another record at an offset that was taken.
            TopicReplacedError: The same, because the topic was replaced.
        """

    def holds(self, part: Slice) -> bool:
        """Return whether a slice is still the last that was read of its partition, whose position was not forgotten."""

    def rest(self) -> None:
        """Stay in the group without reading; the next `read` continues where the last one ended. Raises as `read`."""

    def forget_positions(self) -> None:
        """Forget the position of each partition: all become unstarted."""

    def start_at(self, positions: Mapping[int, Position]) -> None:
        """
        Start reading partitions.

        Args:
            positions: By partition, the next offset and the record before it, which is compared with Kafka's and not
                returned again. Only unstarted partitions are started.
        """

    def log_ranges(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """
        Return the first offset that each partition holds, and the offset of its next record.

        Partitions whose leader does not answer are left out.

        Raises:
            OutageError, ConfigError: The broker does not answer at all.
        """

    def log_ends(self) -> dict[int, int | None]:
        """Return the end of each assigned partition's log, as last known, without waiting; None: not known yet."""

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Show Kafka's tools the ledger's offsets; nothing reads them back, so failures are ignored."""

    def close(self) -> None:
        """Leave the group; its partitions are revoked."""


class Store(Protocol):
    """One session with the database, used by one thread at a time; `terminate_blockers` may be called from any."""

    def positions(
        self, topic: TopicIdentity, log_ranges: Mapping[int, tuple[int, int]]
    ) -> tuple[int, dict[int, Position]]:
        """
        Read each partition's position. A partition that the ledger does not know begins at the log's first offset.

        Args:
            topic: A new id starts a new generation.
            log_ranges: As `Source.log_ranges`.
        Returns:
            The topic's generation, and by partition the next offset and the last record that was taken.
        Raises:
            LogEndsEarlyError: The log ends before the ledger's offset.
            LedgerError: Kafka dropped messages that were not read yet.
            OutageError, ConfigError: The database is away or rejects us.
        """

    def write(self, batch: Batch, topic: TopicIdentity, check: Check) -> list[Rejected]:
        """
        Store a batch and advance the ledger, or change nothing.

        Args:
            batch: Its slices begin at the ledger's offsets.
            topic: Its name goes into the quarantine.
            check: The condition for the ledger to advance; started before rows are copied, awaited after.
        Returns:
            All quarantined records: the batch's own, and those that the database rejected.
        Raises:
            StaleOwnerError: The ledger is at another offset; nothing was stored.
            LedgerError: A row exists that the ledger has not counted, or the database rejects most rows.
            OutageError, ConfigError: The database failed. Only the ledger shows whether the batch was stored.
            HeartbeatError: From `check`; nothing was stored.
        """

    def terminate_blockers(self) -> int:
        """Terminate stalled sessions that block this one; return their number."""

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
