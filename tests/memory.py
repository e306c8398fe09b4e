"""
Kafka's and PostgreSQL's ends in memory, with the contracts of `KafkaSource` and `PostgresStore`.

Small enough to be believed; what a test wants to go wrong, it puts into their queues. Longer than 250 lines, since the
two ends share what they are told of.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from common.errors import HeartbeatError
from common.topic_identity import Check, TopicIdentity
from store.batch import Batch, Slice
from store.errors import LogEndsEarlyError, RecordReplacedError, StaleOwnerError
from store.position import Evidence, LastRecord, Position
from store.record import Rejected
from store.row_id import unpack
from tests.records import MemoryRecord

RecordId = tuple[int, int, int]  # generation, partition, offset


@dataclass
class MemoryTopic:
    """A topic: its id, and its records by partition."""

    topic_id: str
    partitions: dict[int, list[MemoryRecord]]

    @classmethod
    def holding(cls, messages: int, *, partitions: int = 2, topic_id: str = "first") -> "MemoryTopic":
        """Make a topic with so many good messages in each of its partitions."""
        return cls(topic_id, {p: [MemoryRecord(p, offset) for offset in range(messages)] for p in range(partitions)})

    def record_ids(self, generation: int = 1) -> list[RecordId]:
        """Return where the messages stand: the rows that are due."""
        return [(generation, p, r.offset()) for p, records in self.partitions.items() for r in records]


class MemoryCheck:
    """Asks a function what speaks against the ledger's advancing; None: nothing does."""

    def __init__(self, ask: Callable[[], HeartbeatError | None] = lambda: None) -> None:
        self._ask = ask
        self.start()

    def start(self) -> None:
        """Ask now."""
        self._answer = self._ask()

    def wait(self) -> None:
        """Raise what was answered."""
        if self._answer is not None:
            raise self._answer


class MemorySource:
    """
    One membership in the group, alone in it: it gets all partitions at its first turn.

    `turns` are done at the next calls of `read` or `rest`, one at each, in the loop's own thread, as rebalances are.
    """

    def __init__(self, topic: MemoryTopic, before_revoke: Callable[[], object], *, max_batch: int = 10) -> None:
        self._log = topic
        self._before_revoke = before_revoke
        self._max_batch = max_batch
        self.max_slice = max_batch  # of one partition in one call
        self.idle_s = 0.001
        self._positions: dict[int, int] = {}
        self._evidence = Evidence()
        self._is_fetching = False
        self._thread = threading.get_ident()
        self.topic = TopicIdentity("heartbeats", topic.topic_id)
        self.unstarted: set[int] = set()
        self.stuck: set[int] = set()
        self.turns: deque[Callable[[], object]] = deque([lambda: self.assign(topic.partitions)])
        self.outages: deque[HeartbeatError] = deque()  # of `subscribe` and `log_ranges`
        self.leaderless: set[int] = set()
        self.unknown_ends: set[int] = set()
        self.gone: HeartbeatError | None = None  # what asking for the topic gives from now on
        self.reads = self.rests = self.forgotten = 0
        self.mirrored: dict[int, int] = {}
        self.closed = False

    def subscribe(self) -> None:
        """Join the group."""
        self._raise_outage()

    def check_topic(self) -> MemoryCheck:
        """Return a check that the topic is still the same one."""
        return MemoryCheck(lambda: self.gone)

    def read(self) -> list[Slice]:
        """Read at most `max_batch` messages of started partitions; what was started just now is still being fetched."""
        self._turn()
        self.reads += 1
        found, room = [], 0 if self._is_fetching else self._max_batch
        self._is_fetching = False
        for partition, position in sorted(self._positions.items()):
            records = self._log.partitions[partition][position : position + min(room, self.max_slice)]
            if room and (other := self._evidence.find_other(self._log.partitions[partition])) is not None:
                raise RecordReplacedError(self.topic.name, partition, other.offset())
            if records:
                found.append(Slice(partition, position, position + len(records), records))
                self._positions[partition] += len(records)
                room -= len(records)
        if not found and self.idle_s:
            time.sleep(self.idle_s)  # as consume() waits for a batch to fill
        return found

    def holds(self, part: Slice) -> bool:
        """Return whether a slice is still the last that was read of its partition."""
        return self._positions.get(part.partition) == part.to_offset

    def rest(self) -> None:
        """Stay a member without reading."""
        self._turn()
        self.rests += 1

    def forget_positions(self) -> None:
        """Forget every position."""
        self.forgotten += 1
        self.unstarted |= self._positions.keys()
        self._positions.clear()

    def start_at(self, positions: Mapping[int, Position]) -> None:
        """Start the unstarted partitions at these positions."""
        self._is_fetching = True
        for partition in self.unstarted & positions.keys():
            self._evidence.expect(partition, positions[partition])
            self._positions[partition] = positions[partition].next_offset
        self.unstarted -= positions.keys()

    def log_ranges(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """Return the first and the next offset of partitions that have a leader."""
        self._raise_outage()
        return {partition: (0, len(self._log.partitions[partition])) for partition in set(partitions) - self.leaderless}

    def log_ends(self) -> dict[int, int | None]:
        """Return where the log of each assigned partition ends; None where the test says that it is not known yet."""
        assigned = self._positions.keys() | self.unstarted
        return {p: None if p in self.unknown_ends else len(self._log.partitions[p]) for p in assigned}

    def unread(self) -> int:
        """Count what was not read yet."""
        return sum(len(self._log.partitions[partition]) - at for partition, at in self._positions.items())

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Show Kafka how far we are."""
        beyond = {p: offset for p, offset in offsets.items() if offset > len(self._log.partitions[p])}
        assert not beyond, f"{beyond} are no offsets of topic {self.topic.topic_id}"
        self.mirrored.update(offsets)

    def close(self) -> None:
        """Leave the group; partitions are revoked on the way out."""
        self.revoke([*self._positions, *self.unstarted])
        self.closed = True

    def assign(self, partitions: Iterable[int]) -> None:
        """Assign partitions, as yet without a position."""
        for partition in partitions:
            self._positions.pop(partition, None)
            self.unstarted.add(partition)

    def revoke(self, partitions: Iterable[int]) -> None:
        """Revoke partitions after the loop was asked to finish with them."""
        self._before_revoke()
        self.lose(partitions)

    def lose(self, partitions: Iterable[int]) -> None:
        """Have partitions taken away."""
        for partition in [*partitions]:
            self._positions.pop(partition, None)
            self.unstarted.discard(partition)

    def _turn(self) -> None:
        assert threading.get_ident() == self._thread, "a Kafka consumer belongs to one thread"
        assert not self.closed, "a membership that ended is not asked any more"
        if self.turns:
            self.turns.popleft()()

    def _raise_outage(self) -> None:
        if self.outages:
            raise self.outages.popleft()


@dataclass
class MemoryTables:
    """What is committed: rows by their ids, and the ledger."""

    rows: list[int] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    next_offsets: dict[tuple[int, int], int] = field(default_factory=dict)  # by generation and partition
    last: dict[tuple[int, int], LastRecord] = field(default_factory=dict)  # as next_offsets
    topics: list[str] = field(default_factory=list)  # generation 1 first
    lock: threading.Lock = field(default_factory=threading.Lock)

    def record_ids(self) -> list[RecordId]:
        """Return the ids of all rows, in order; a row that is there twice is there twice."""
        return sorted(map(unpack, self.rows))

    def commit(self, batch: Batch) -> None:
        """Store a batch and advance the ledger, or neither."""
        with self.lock:
            for part in batch.slices:
                if (found := self.next_offsets[batch.generation, part.partition]) != part.from_offset:
                    raise StaleOwnerError(f"cannot advance: expected {part.from_offset}, found {found}", hint="Reload.")
            self.rows += batch.row_ids
            self.rejected += batch.rejected
            for part in batch.slices:
                self.next_offsets[batch.generation, part.partition] = part.to_offset
                if part.last is not None:
                    self.last[batch.generation, part.partition] = part.last


class MemoryStore:
    """
    Writes batches into tables, one at a time.

    `before_positions`, `before_commit` and `after_commit` hold what happens to the next calls there, one entry each.
    """

    def __init__(self, tables: MemoryTables | None = None) -> None:
        self.tables = tables or MemoryTables()
        self.before_positions: deque[Callable[[], object]] = deque()
        self.before_commit: deque[Callable[[Batch], object]] = deque()
        self.after_commit: deque[Callable[[Batch], object]] = deque()
        self.written: list[Batch] = []  # also those that failed
        self.stale = self.asked = self.terminate_blockers_calls = 0
        self.closed = False
        self._busy = threading.Lock()

    def positions(
        self, topic: TopicIdentity, log_ranges: Mapping[int, tuple[int, int]]
    ) -> tuple[int, dict[int, Position]]:
        """Read the ledger; a partition that it does not know begins at the log's first offset."""
        self.asked += 1
        with self._one_at_a_time():
            if self.before_positions:
                self.before_positions.popleft()()
            with self.tables.lock:
                if topic.topic_id not in self.tables.topics:
                    self.tables.topics.append(topic.topic_id)
                generation = self.tables.topics.index(topic.topic_id) + 1
                next_offsets = self.tables.next_offsets
                for p, (_, end) in log_ranges.items():
                    if (expected := next_offsets.get((generation, p), 0)) > end:
                        raise LogEndsEarlyError("it ends", hint="Wait.", partition=p, expected=expected)
                return generation, {
                    p: Position(next_offsets.setdefault((generation, p), low), self.tables.last.get((generation, p)))
                    for p, (low, _) in log_ranges.items()
                }

    def write(self, batch: Batch, topic: TopicIdentity, check: Check) -> list[Rejected]:
        """Store a batch, or nothing."""
        assert self.tables.topics.index(topic.topic_id) + 1 == batch.generation, "a batch of another topic"
        self.written.append(batch)
        with self._one_at_a_time():
            check.start()
            if self.before_commit:
                self.before_commit.popleft()(batch)
            check.wait()
            try:
                self.tables.commit(batch)
            except StaleOwnerError:
                self.stale += 1
                raise
            if self.after_commit:
                self.after_commit.popleft()(batch)
            return batch.rejected

    def terminate_blockers(self) -> int:
        """End what holds a write up; nothing does."""
        self.terminate_blockers_calls += 1
        return 0

    def close(self) -> None:
        """Close the connection."""
        self.closed = True

    def _one_at_a_time(self) -> threading.Lock:
        assert not self._busy.locked(), "the store is used by one thread at a time"
        assert not self.closed, "a store that was closed is not used any more"
        return self._busy
