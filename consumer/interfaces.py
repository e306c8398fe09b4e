"""Interfaces of the loop: `Source` (Kafka) and `Store` (PostgreSQL). tests/*_claims.py has claims that each keeps."""

from collections.abc import Collection, Mapping
from typing import Protocol

from common.topic_identity import Check, TopicIdentity
from store.batch import Batch, Slice
from store.position import Position
from store.record import Rejected


class Stop(Protocol):
    """A flag that asks to stop."""

    def is_set(self) -> bool:
        """Return whether to stop."""


class Source(Protocol):
    """
    One session in the consumer group. One thread uses it; partitions come and go only during calls.

    An assigned partition is unstarted until `start_at` says where to read it. `topic` is known after `subscribe`.
    """

    topic: TopicIdentity
    unstarted: set[int]

    @property
    def stuck(self) -> set[int]:
        """Return the partitions that cannot be read on; that others are at their end is then no progress."""

    def subscribe(self) -> None:
        """
        Learn the topic's id and join the group.

        Raises:
            OutageError: The broker is away, or there is no such topic (yet). It can be called again.
            ConfigError, RefusedError: The broker refuses us.
        """

    def check_topic(self) -> Check:
        """Return a check, for any thread, that the topic is still `topic`; raises `TopicReplacedError` if not."""

    def read(self) -> list[Slice]:
        """
        Read what placed partitions hold next, and wait a bounded time for it.

        Returns:
            At most one slice per partition, which begins where its last one ended. Partitions that were given up
            during the call are not in them.
        Raises:
            OutageError, ConfigError, RefusedError: The broker is away or refuses us.
            MembershipLostError: This session cannot go on.
            RecordReplacedError: Kafka holds another record at an offset that was taken.
            TopicReplacedError: So it does, and the topic is another one.
        """

    def holds(self, part: Slice) -> bool:
        """Return whether a slice is still the last that was read of its partition, whose position was not forgotten."""

    def rest(self) -> None:
        """Stay in the group without reading; the next `read` goes on where the last one ended. Raises as `read`."""

    def forget_positions(self) -> None:
        """Forget the position of each partition: all become unstarted."""

    def start_at(self, positions: Mapping[int, Position]) -> None:
        """
        Start reading partitions.

        Args:
            positions: By partition, the next offset and the record before it, which is compared with Kafka's and not
                returned again. Partitions that are not unstarted are ignored.
        """

    def log_ranges(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """
        Return the first offset that each partition holds, and the one that its next record will get.

        Partitions whose leader does not answer are left out.

        Raises:
            OutageError, ConfigError: The broker does not answer at all.
        """

    def log_ends(self) -> dict[int, int | None]:
        """Return where the log of each assigned partition ends, as last known, without waiting; None: not known yet."""

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Show Kafka's tools the ledger's offsets; nothing reads them back, so failures are ignored."""

    def close(self) -> None:
        """Leave the group; its partitions are given up."""


class Store(Protocol):
    """One session with the database, used by one thread at a time; `terminate_blockers` may be called from any."""

    def positions(
        self, topic: TopicIdentity, log_ranges: Mapping[int, tuple[int, int]]
    ) -> tuple[int, dict[int, Position]]:
        """
        Read where each partition goes on; one that the ledger does not know begins at the log's first offset.

        Args:
            topic: Another id begins another generation.
            log_ranges: As `Source.log_ranges`.
        Returns:
            The topic's generation, and by partition the next offset and the last record that was taken.
        Raises:
            LogEndsEarlyError: The log ends before the ledger.
            LedgerError: Kafka dropped what was not read yet.
            OutageError, ConfigError: The database is away or refuses us.
        """

    def write(self, batch: Batch, topic: TopicIdentity, check: Check) -> list[Rejected]:
        """
        Store a batch and advance the ledger, or change nothing.

        Args:
            batch: Its slices begin where the ledger should stand.
            topic: Named in the quarantine.
            check: What must hold for the ledger to advance; started before rows are copied, awaited after.
        Returns:
            All that was quarantined: the batch's own, and what the database rejected.
        Raises:
            StaleOwnerError: The ledger stands elsewhere; nothing was stored.
            LedgerError: An id is taken though the ledger says that it is not, or the database rejects most rows.
            OutageError, ConfigError: The database failed; whether the batch was stored, only the ledger knows.
            HeartbeatError: What `check` raises; nothing was stored.
        """

    def terminate_blockers(self) -> int:
        """Terminate stalled sessions that block this one; return how many."""

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
