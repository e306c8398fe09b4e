"""
Two consumers on one topic, one group and one database: what may happen to them, and what must hold.

More than 250 lines: Kafka's group, the database and the consumers share what may happen to them.

The loop, the writers, the batches and their validation, and the ledger's steps are the project's own. Kafka and
PostgreSQL are the ends in memory. A row of another open transaction blocks a COPY here as it does in PostgreSQL.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from common.errors import LedgerError, OutageError, TopicReplacedError
from common.event import MAX_FUTURE
from common.telemetry import Health
from common.topic_identity import Check, TopicIdentity
from consumer.worker import Worker
from contracts.heartbeats import HEARTBEATS
from store.batch import Batch, Slice
from store.errors import StaleOwnerError
from store.events import Events
from store.lag import Lag
from store.ledger import steps
from store.position import Position
from store.record import Record, Rejected
from store.row_id import pack
from store.validation import Decode
from tests.explore.scheduler import PLAIN, Process, always, pause
from tests.memory import MemorySource, MemoryStore, MemoryTables, MemoryTopic
from tests.records import GOOD, MemoryRecord

DECODE: Final = Decode(HEARTBEATS, MAX_FUTURE)
READS_OF_A_TOPIC_THAT_IS_GONE: Final = 2  # a client notices it late
BROKEN: Final = b"broken"


class WrongError(Exception):
    """What must never happen has happened."""


@dataclass(frozen=True)
class Bounds:
    """
    What a schedule is made of, and how often it may happen.

    `records` are those of each partition. The first offset of each odd partition holds an invalid record.
    """

    records: tuple[int, ...] = (3, 1)
    writers: int = 2
    consumers: int = 2
    faults: int = 0  # a write fails, its answer is lost or late, the ledger or Kafka does not answer
    moves: int = 0  # a partition is revoked, and assigned to the other consumer
    losses: int = 0  # it is assigned to the other one, and the first one learns it later
    remakes: int = 0  # the topic is deleted and made again
    stops: int = 0
    kills: int = 0  # a consumer is killed, and starts again

    def topic(self, topic_id: str, records: Sequence[int]) -> MemoryTopic:
        """Make the topic."""
        return MemoryTopic(
            topic_id,
            {
                partition: [
                    MemoryRecord(partition, place, BROKEN if partition % 2 and not place else GOOD)
                    for place in range(count)
                ]
                for partition, count in enumerate(records)
            },
        )


@dataclass
class Tables(MemoryTables):
    """Committed rows; each commit is compared with Kafka."""

    topics_by_id: dict[str, MemoryTopic] = field(default_factory=dict)
    taken: dict[int, Record] = field(default_factory=dict)  # by row id, of both tables

    def commit(self, batch: Batch) -> None:
        """Store a batch and advance the ledger, or neither."""
        self.fence(batch)
        self.add_rows(batch)
        self.move(batch)
        self.check(batch)

    def fence(self, batch: Batch) -> None:
        """Raise if the ledger is not where the batch begins."""
        step = steps(batch, batch.rejected)
        for partition, start in zip(step["partitions"], step["froms"], strict=True):
            if (found := self.next_offsets[batch.generation, partition]) != start:
                raise StaleOwnerError(f"cannot advance: expected {start}, found {found}", hint="Reload.")

    def add_rows(self, batch: Batch) -> None:
        """Store both kinds of rows."""
        found = list(zip(batch.row_ids, batch.records, strict=True))
        found += [(row_of(batch.generation, one), one.record) for one in batch.rejected]
        for row_id, record in found:
            if row_id in self.taken:
                raise WrongError(f"row {row_id:#x} is stored twice")
            self.taken[row_id] = record
        self.rows += batch.row_ids
        self.rejected += batch.rejected

    def move(self, batch: Batch) -> None:
        """Advance the ledger by the steps that PostgreSQL would be given."""
        step = steps(batch, batch.rejected)
        counts = (step[name] for name in ("partitions", "froms", "tos", "stored", "rejected", "skipped"))
        for partition, start, end, stored, rejected, skipped in zip(*counts, strict=True):
            if end - start != stored + rejected + skipped:
                raise WrongError(f"{start}..{end} is not {stored} + {rejected} + {skipped}")
            self.next_offsets[batch.generation, partition] = end
        for part in batch.slices:
            if part.last is not None:
                self.last[batch.generation, part.partition] = part.last

    def check(self, batch: Batch) -> None:
        """Raise if the batch's partitions do not hold the offsets before the ledger's, each once, and no others."""
        if topic := self.topics_by_id.get(self.topics[batch.generation - 1]):  # tests/store_claims.py has its own
            for part in batch.slices:
                self.check_partition(topic, batch.generation, part.partition)

    def check_partition(self, topic: MemoryTopic, generation: int, partition: int) -> None:
        """Raise if one partition's rows are not those of its offsets before the ledger's."""
        end = self.next_offsets.get((generation, partition), 0)
        first = pack(generation, partition, 0)
        where = f"{topic.topic_id}[{partition}]: the ledger is at {end}"
        for offset, record in enumerate(topic.partitions[partition][:end]):
            if self.taken.get(first | offset) is not record:
                raise WrongError(f"{where}, but offset {offset} has no row, or that of another record")
        if first | end in self.taken:
            raise WrongError(f"{where}, but offset {end} has a row")


def row_of(generation: int, one: Rejected) -> int:
    """Return the row id of a quarantined record."""
    return pack(generation, one.record.partition(), one.record.offset())


class Store(MemoryStore):
    """A session: its open transaction holds its row ids, and whoever copies the same ones waits."""

    def __init__(self, world: "World") -> None:
        super().__init__(world.tables)
        self.world, self.taken, self.fence = world, world.tables.taken, world.tables.fence
        self.copied: frozenset[int] = frozenset()  # by the open transaction
        self.wanted: frozenset[int] = frozenset()  # what the COPY waits for
        self.is_terminated = False

    def positions(
        self, topic: TopicIdentity, log_ranges: Mapping[int, tuple[int, int]]
    ) -> tuple[int, dict[int, Position]]:
        """Read the ledger."""
        if self.world.fault("reads the ledger", "fails"):
            raise away()
        return super().positions(topic, log_ranges)

    def write(self, batch: Batch, topic: TopicIdentity, check: Check) -> list[Rejected]:
        """Store a batch, or nothing."""
        tables, world = self.tables, self.world
        assert tables.topics.index(topic.topic_id) + 1 == batch.generation, "a batch of another topic"
        check.start()
        try:
            self._copy(batch)
            check.wait()
            outcome = pause("commits", always, world.outcomes("fails", "without an answer", "answers late"))
            world.spend("faults", outcome)
            if outcome == "fails" or self.is_terminated:
                raise away()
            tables.commit(batch)
        finally:
            self.copied = frozenset()
        if outcome == "without an answer":
            raise away()
        if outcome == "answers late":
            pause("answers")
        return batch.rejected

    def _copy(self, batch: Batch) -> None:
        """Copy the rows. Wait for the transactions that hold one of them."""
        self.is_terminated = False
        wanted = frozenset([*batch.row_ids, *(row_of(batch.generation, one) for one in batch.rejected)])

        def is_free() -> bool:
            return self.is_terminated or not self._holders(wanted)

        if not is_free():
            self.wanted = wanted
            pause("waits for a row of another session", is_free)
            self.wanted = frozenset()
        if self.is_terminated:
            raise away()
        if wanted & self.taken.keys():
            self.fence(batch)
            raise LedgerError("a row is there that the ledger has not counted", hint="Look.")
        self.copied = wanted

    def _holders(self, wanted: frozenset[int]) -> list["Store"]:
        return [store for store in self.world.stores() if store is not self and store.copied & wanted]

    def terminate_blockers(self) -> int:
        """End the transactions that hold a row that this one waits for."""
        holders = self._holders(self.wanted)
        for store in holders:
            store.is_terminated, store.copied = True, frozenset()
        return len(holders)

    def close(self) -> None:
        """Roll back."""
        self.copied = frozenset()
        super().close()


class Source(MemorySource):
    """A session in the group."""

    def __init__(self, world: "World", consumer: "Consumer", before_revoke: Callable[[], object]) -> None:
        super().__init__(world.topic, before_revoke, max_batch=len(world.bounds.records))
        self.max_slice, self.idle_s = 1, 0.0
        self.world, self.consumer = world, consumer
        self.turns.clear()
        self.reads_left = -1  # until it notices that the topic is gone; negative: it is not

    def subscribe(self) -> None:
        """Join the group."""
        if self.world.fault("joins", "fails"):
            raise away()
        self._log = self.world.topic
        self.topic = TopicIdentity(self.topic.name, self._log.topic_id)
        self.world.join(self)

    def read(self) -> list[Slice]:
        """Read, when there is something to do."""
        outcome = pause("polls", self.has_work, self.world.outcomes("fails") if self._positions else PLAIN)
        self.world.spend("faults", outcome)
        self.consumer.now_s += 1
        if outcome:
            raise away()
        self._notice()
        found = super().read()
        if found:
            self.world.tell(f"{self.consumer.name} reads {describe(found)}")
        return found

    def rest(self) -> None:
        """Poll without reading."""
        self._notice()
        super().rest()

    def has_work(self) -> bool:
        """Return whether a poll would find anything; all others change nothing."""
        worker = self.consumer.worker
        return bool(
            self.turns
            or self.unstarted
            or self.reads_left >= 0
            or self.consumer.stop
            or (worker is not None and worker._writers)  # noqa: SLF001 - what the loop waits for
            or any(at < len(self._log.partitions[partition]) for partition, at in self._positions.items())
        )

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Show Kafka's tools the ledger's offsets; those of a topic that is gone, until it notices that."""
        if self.gone is None:
            super().mirror(offsets)

    def close(self) -> None:
        """Leave the group."""
        if not self.consumer.is_dead:
            super().close()
            self.world.leave(self)

    def remake(self, topic: MemoryTopic) -> None:
        """Read the topic that has the same name from now on, and notice it later."""
        self._log = topic
        self.gone = TopicReplacedError("it is another one", hint="Start anew.")
        self.reads_left = READS_OF_A_TOPIC_THAT_IS_GONE

    def _notice(self) -> None:
        if self.reads_left == 0 and self.gone is not None:
            raise self.gone
        self.reads_left -= self.reads_left > 0


class Consumer(Process):
    """A process with a worker in it."""

    def __init__(self, world: "World", name: str) -> None:
        super().__init__(name)
        self.world = world
        self.stop = self.has_ended = False
        self.sources: list[Source] = []
        self.stores = [Store(world) for _ in range(world.bounds.writers)]
        self.lag = Lag()
        self.worker: Worker | None = None
        self.start("loop", self._run)

    def is_set(self) -> bool:
        """Return whether a stop is requested: this is its own `Stop`."""
        return self.stop

    def ends(self) -> dict[int, int]:
        """Return the ends of the logs that it reads."""
        owned = [partition for partition, owner in self.world.owners.items() if owner in self.sources]
        return {partition: len(self.world.topic.partitions[partition]) for partition in owned}

    def _open(self, before_revoke: Callable[[], object]) -> Source:
        self.sources.append(Source(self.world, self, before_revoke))
        return self.sources[-1]

    def _run(self) -> None:
        events = Events("consumer")
        self.worker = Worker(self._open, self.stores, DECODE, health=Health(), lag=self.lag, events=events)
        self.worker.run(self)
        self.has_ended = True


class World:
    """Everything, and what may still happen to it."""

    def __init__(self, bounds: Bounds, *, is_recording: bool = False) -> None:
        self.bounds = bounds
        self.left = Counter(
            {name: getattr(bounds, name) for name in ("faults", "moves", "losses", "remakes", "stops", "kills")}
        )
        self.story: list[str] = []
        self.is_recording = is_recording
        self.topic = bounds.topic("first", bounds.records)
        self.tables = Tables(topics_by_id={"first": self.topic})
        self.members: list[Source] = []
        self.owners: dict[int, Source | None] = dict.fromkeys(self.topic.partitions)
        self.revoking: set[int] = set()
        self.consumers = [Consumer(self, name) for name in "ABC"[: bounds.consumers]]

    def tell(self, line: str) -> None:
        """Note a line of the story."""
        if self.is_recording:
            self.story.append(line)

    def stores(self) -> Iterator[Store]:
        """Return all sessions."""
        for consumer in self.consumers:
            yield from consumer.stores

    def outcomes(self, *faults: str) -> tuple[str, ...]:
        """Return the ways in which a call may end."""
        return ("", *faults) if self.left["faults"] else PLAIN

    def spend(self, what: str, outcome: str) -> None:
        """Count a fault."""
        if outcome:
            self.left[what] -= 1

    def fault(self, where: str, fault: str) -> bool:
        """Return whether a call fails; it is no step of its own where none may."""
        if not self.left["faults"]:
            return False
        outcome = pause(where, always, ("", fault))
        self.spend("faults", outcome)
        return bool(outcome)

    def join(self, source: Source) -> None:
        """Give a new member the partitions that nobody owns."""
        self.members.append(source)
        for partition, owner in self.owners.items():
            if owner is None:
                self._assign(partition, source)

    def leave(self, source: Source) -> None:
        """Give a member's partitions to another one."""
        if source in self.members:
            self.members.remove(source)
        for partition, owner in self.owners.items():
            if owner is source:
                self._assign(partition, self.members[0] if self.members else None)

    def _assign(self, partition: int, to: Source | None) -> None:
        self.owners[partition] = to
        self.revoking.discard(partition)
        if to is not None:
            to.turns.append(partial(to.assign, [partition]))

    def _move(self, partition: int, to: Source) -> None:
        owner = self.owners[partition]
        assert owner is not None
        self.revoking.add(partition)
        owner.turns.append(partial(self._hand_on, owner, partition, to))

    def _hand_on(self, owner: Source, partition: int, to: Source) -> None:
        owner.revoke([partition])
        if self.owners[partition] is owner:
            self._assign(partition, to if to in self.members else self.members[0])

    def _lose(self, partition: int, to: Source) -> None:
        owner = self.owners[partition]
        assert owner is not None
        owner.turns.append(partial(owner.lose, [partition]))
        self._assign(partition, to)

    def _remake(self) -> None:
        self.topic = self.bounds.topic("second", [max(1, count - 1) for count in self.bounds.records])  # shorter
        self.tables.topics_by_id["second"] = self.topic
        for source in self.members:
            source.remake(self.topic)

    def _stop(self, consumer: Consumer) -> None:
        consumer.stop = True

    def _kill(self, consumer: Consumer) -> None:
        consumer.kill()
        for source in consumer.sources:
            self.leave(source)
        self.consumers[self.consumers.index(consumer)] = Consumer(self, consumer.name)

    def actions(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        """Return what may happen from outside: what it spends, what it is called, and how it is done."""
        left = self.left
        if left["moves"] or left["losses"]:
            yield from self._rebalances()
        if left["remakes"]:
            yield "remakes", "the topic is made again", self._remake
        running = [one for one in self.consumers if not one.stop]
        for one in running:
            if left["stops"] and len(running) > 1:
                yield "stops", f"{one.name} is asked to stop", partial(self._stop, one)
            if left["kills"] and one.sources:
                yield "kills", f"{one.name} is killed and starts again", partial(self._kill, one)

    def _rebalances(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        for partition, owner in self.owners.items():
            if owner is None or partition in self.revoking:
                continue
            for to in self.members:
                whose = f"partition {partition} from {owner.consumer.name} to {to.consumer.name}"
                if to is not owner and self.left["moves"]:
                    yield "moves", f"the group moves {whose}", partial(self._move, partition, to)
                if to is not owner and self.left["losses"]:
                    yield "losses", f"the group takes {whose} at once", partial(self._lose, partition, to)

    def poll_idle(self) -> None:
        """Let each loop poll in vain, so that it shows how far it is."""
        for consumer in self.consumers:
            for task in consumer.tasks:
                if not task.dead and task.where == "polls":
                    task.switch("")

    def check_end(self) -> None:
        """Raise if anything is left undone although nothing happens any more."""
        for generation, topic_id in enumerate(self.tables.topics, 1):
            topic = self.tables.topics_by_id[topic_id]
            for partition in topic.partitions:
                self.tables.check_partition(topic, generation, partition)
        topics, topic_id = self.tables.topics, self.topic.topic_id
        generation = topics.index(topic_id) + 1 if topic_id in topics else 0
        for partition, records in self.topic.partitions.items():
            if (at := self.tables.next_offsets.get((generation, partition), 0)) != len(records):
                raise WrongError(f"partition {partition} stays at offset {at} of {len(records)}, and all wait")
            owner = self.owners[partition]
            if owner is not None and owner.mirrored.get(partition) != at:
                raise WrongError(f"Kafka's tools show {owner.mirrored} of partition {partition}, which is at {at}")
        for consumer in self.consumers:
            if (times := len(consumer.sources)) > 1 + self.bounds.remakes:
                raise WrongError(f"{consumer.name} joins {times} times")
            if not consumer.has_ended and (shown := consumer.lag.log_ends.ends) != consumer.ends():
                raise WrongError(f"{consumer.name} notes the log ends {shown}, but they are {consumer.ends()}")

    def close(self) -> None:
        """End all threads."""
        for consumer in self.consumers:
            consumer.kill()


def away() -> OutageError:
    """Return what a server that is away raises."""
    return OutageError("it is away", hint="Wait.")


def describe(slices: list[Slice]) -> str:
    """Name the offsets of slices."""
    return ", ".join(f"{part.partition}[{part.from_offset}..{part.to_offset})" for part in slices)
