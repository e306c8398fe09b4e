"""
The ledger's protocol against a model of it: two owners, crashes anywhere, retries, in every order that chance finds.

Kafka is a list here; the store is the real one, on a real PostgreSQL. An owner behaves worse than the consumer's loop
ever would: it may write any batch it ever read, in any order, as often as it likes.
"""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from common.errors import OutageError
from common.topic_identity import TopicIdentity
from contracts.heartbeats import HEARTBEATS
from local.waiting import wait_until
from store.batch import Batch, Slice
from store.errors import StaleOwnerError
from store.validation import Decode
from tests.fault.crashing_store import CrashError, CrashingStore
from tests.memory import MemoryCheck
from tests.pipeline import Database
from tests.records import GOOD, MemoryRecord
from tests.store import open_store

pytestmark = [pytest.mark.integration, pytest.mark.fault]

TOPIC: Final = TopicIdentity("model", "model-id")
PARTITIONS: Final = 2
DECODE: Final = Decode(HEARTBEATS, timedelta(minutes=5))
EMPTY: Final = "TRUNCATE heartbeats, rejected_heartbeats, kafka_ledger, kafka_topics"
FOUND: Final = """
SELECT (place).partition, (place)."offset", in_quarantine
FROM (SELECT kafka_place(id), false FROM heartbeats
      UNION ALL SELECT kafka_place(id), true FROM rejected_heartbeats) AS found (place, in_quarantine)
"""
HOLE: Final = None  # an offset that holds no record, such as a transaction's marker
LOGS: Final = [
    random.Random(partition).choices([GOOD, b"broken", HOLE], weights=[6, 2, 1], k=1000)
    for partition in range(PARTITIONS)
]
OWNERS: Final = st.integers(0, 1)
# What an owner reads on before it does something: batches of so many offsets, of some of its partitions.
READS: Final = st.lists(st.tuples(st.integers(1, 5), st.sets(st.integers(0, PARTITIONS - 1), min_size=1)), max_size=2)
BACK: Final = st.integers(0, 4)  # which of all batches it ever read, from the newest on


@dataclass(slots=True)
class Owner:
    """A consumer: where it goes on reading, and all it ever read."""

    store: CrashingStore
    generation: int
    positions: dict[int, int]
    read: list[Batch]


class Ledger(RuleBasedStateMachine):
    """The model: how far each partition must be stored."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.database.query(EMPTY)
        self.look = self.database.connect()
        self.passed = [0] * PARTITIONS
        self.owners = [self._new_owner() for _ in range(2)]

    def _new_owner(self) -> Owner:
        owner = Owner(open_store(CrashingStore, self.database), 0, {}, [])
        self._place(owner)
        return owner

    def _place(self, owner: Owner) -> None:
        ranges = {partition: (0, len(log)) for partition, log in enumerate(LOGS)}
        owner.generation, positions = owner.store.positions(TOPIC, ranges)
        owner.positions = {partition: at.next_offset for partition, at in positions.items()}
        assert owner.positions == dict(enumerate(self.passed))

    def _is_next(self, batch: Batch) -> bool:
        return all(part.from_offset == self.passed[part.partition] for part in batch.slices)

    def _stored(self, batch: Batch) -> None:
        for part in batch.slices:
            self.passed[part.partition] = part.to_offset

    def _read(self, owner: Owner, reads: list[tuple[int, set[int]]], back: int) -> Batch | None:
        """Read on, and pick one of all batches read so far."""
        for limit, partitions in reads:
            slices = []
            for partition in partitions:
                start = owner.positions[partition]
                entries = LOGS[partition][start : start + limit]
                records = [
                    MemoryRecord(partition, start + place, entry)
                    for place, entry in enumerate(entries)
                    if entry is not HOLE
                ]
                owner.positions[partition] = start + limit
                slices.append(Slice(partition, start, start + limit, records, limit - len(records)))
            owner.read.append(Batch.of(slices, owner.generation, DECODE))
        return owner.read[-1 - back % len(owner.read)] if owner.read else None

    @rule(number=OWNERS)
    def read_the_books(self, number: int) -> None:
        self._place(self.owners[number])

    def _write(self, owner: Owner, batch: Batch) -> None:
        """Write; the outcome has to be the model's."""
        if self._is_next(batch):
            owner.store.write(batch, TOPIC, MemoryCheck())
            self._stored(batch)
        else:
            with pytest.raises(StaleOwnerError):
                owner.store.write(batch, TOPIC, MemoryCheck())
            self._place(owner)

    @rule(number=OWNERS, reads=READS, back=BACK)
    def write(self, number: int, reads: list[tuple[int, set[int]]], back: int) -> None:
        if batch := self._read(self.owners[number], reads, back):
            self._write(self.owners[number], batch)

    @rule(number=OWNERS, reads=READS, back=BACK)
    def write_and_lose_the_answer(self, number: int, reads: list[tuple[int, set[int]]], back: int) -> None:
        """The owner takes it for failed, reads the ledger, and may write it again all the same."""
        owner = self.owners[number]
        if batch := self._read(owner, reads, back):
            self._write(owner, batch)
            owner.store.close()
            self._place(owner)

    @rule(number=OWNERS, limit=st.integers(1, 5), point=st.sampled_from(["after-quarantine", "before-commit"]))
    def crash(self, number: int, limit: int, point: str) -> None:
        """A batch that would have been stored is not."""
        owner = self.owners[number]
        self._place(owner)
        batch = self._read(owner, [(limit, set(range(PARTITIONS)))], 0)
        assert batch is not None
        owner.store.crash_at = point
        with pytest.raises(CrashError):
            owner.store.write(batch, TOPIC, MemoryCheck())
        owner.store.close()
        owner.store = open_store(CrashingStore, self.database)

    @rule(number=OWNERS, reads=READS, back=BACK, other_reads=READS, other_back=BACK)
    def stall_while_the_other_writes(
        self,
        number: int,
        reads: list[tuple[int, set[int]]],
        back: int,
        other_reads: list[tuple[int, set[int]]],
        other_back: int,
    ) -> None:
        """One owner stalls after its COPY; the other terminates its session, and only then the first one wakes up."""
        sleeper, other = self.owners[number], self.owners[1 - number]
        first, second = self._read(sleeper, reads, back), self._read(other, other_reads, other_back)
        if first is None or second is None:
            return
        sleeper.store.stalled, sleeper.store.go_on = threading.Event(), threading.Event()
        outcomes: dict[str, BaseException | None] = {}

        def write(name: str, owner: Owner, batch: Batch) -> None:
            try:
                owner.store.write(batch, TOPIC, MemoryCheck())
            except (StaleOwnerError, OutageError) as error:
                outcomes[name] = error
            else:
                outcomes[name] = None

        sleeping = threading.Thread(target=write, args=("first", sleeper, first))
        sleeping.start()
        stalled = sleeper.store.stalled
        wait_until(lambda: stalled.is_set() or not sleeping.is_alive(), 10)
        writing = threading.Thread(target=write, args=("second", other, second))
        writing.start()
        ended = 0
        writing.join(0.05)
        while writing.is_alive():
            ended += other.store.terminate_blockers()
            writing.join(0.05)
        sleeper.store.go_on.set()
        sleeping.join(10)
        sleeper.store.stalled = sleeper.store.go_on = None
        note(f"ended {ended}, {outcomes}")

        for name, batch in (("second", second), ("first", first)):
            if outcomes[name] is None:
                assert self._is_next(batch)
                self._stored(batch)
            else:
                assert isinstance(outcomes[name], StaleOwnerError) or ended
        assert outcomes["second"] is None or not self._is_next(second) or outcomes["first"] is None

    @invariant()
    def every_offset_passed_is_there_exactly_once(self) -> None:
        found = sorted(self.look.execute(FOUND).fetchall())
        ledger = self.look.execute("SELECT partition, next_offset FROM kafka_ledger ORDER BY 1").fetchall()

        assert ledger == list(enumerate(self.passed))
        assert found == [
            (partition, place, entry != GOOD)
            for partition, log in enumerate(LOGS)
            for place, entry in enumerate(log[: self.passed[partition]])
            if entry is not HOLE
        ]

    def teardown(self) -> None:
        for owner in self.owners:
            owner.store.close()
        self.look.close()


def run_model(database: Database, *, examples: int, steps: int, phases: Sequence[Phase]) -> None:
    class Here(Ledger):
        pass

    Here.database = database
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=phases,
            report_multiple_bugs=False,
        ),
    )


def test_two_owners_crashes_and_retries_store_every_offset_exactly_once(database: Database) -> None:
    """What breaks it is printed as steps; the long form shrinks them to the fewest."""
    run_model(database, examples=14, steps=25, phases=[Phase.generate])


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_long_form_of_the_model(database: Database) -> None:
    run_model(database, examples=1000, steps=60, phases=[Phase.generate, Phase.shrink])
