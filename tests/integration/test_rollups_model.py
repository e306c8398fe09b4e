"""
Rollups against the rows: batches that are late, repeated, crashed or still open, while notes are worked off.

Whatever the order, a minute without a note is exact in every rollup. The store and the SQL are the real ones.
"""

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from common.topic_identity import TopicIdentity
from contracts.heartbeats import HEARTBEATS
from local.waiting import wait_until
from store.batch import Batch, Slice
from store.errors import StaleOwnerError
from store.validation import Decode
from tests.fault.crashing_store import CrashError
from tests.integration.pausing_store import PausingStore
from tests.memory import MemoryCheck
from tests.pipeline import Database
from tests.records import MemoryRecord
from tests.store import open_store

pytestmark = pytest.mark.integration

TOPIC: Final = TopicIdentity("model", "model-id")
OWNERS: Final = 2  # each of a partition of its own
DECODE: Final = Decode(HEARTBEATS, timedelta(minutes=5))
LAST_MS: Final = 253_402_300_799_999  # the broker's clock: nothing is too far in the future
EMPTY: Final = """
TRUNCATE heartbeats, kafka_ledger, kafka_topics, heartbeats_touched, heartbeats_outdated, heartbeats_per_minute,
         heartbeats_per_customer, heartbeats_fleet
"""
AGE_NOTES: Final = """
UPDATE heartbeats_touched SET noted_at = noted_at - interval '1 h';
UPDATE heartbeats_outdated SET last_noted_at = last_noted_at - interval '1 h';
"""
# Where a refresh can be held up: it has taken the notes, and summed up nothing, the customers' minutes, or more.
HOLD_UP: Final = {
    table: f"LOCK TABLE {table} IN SHARE MODE"
    for table in ("heartbeats_per_minute", "heartbeats_fleet", "heartbeats_per_customer")
}
HELD_UP: Final = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
DIFFERENCES: Final = """
WITH noted AS (
    SELECT DISTINCT width, date_bin(make_interval(secs => width), minute, '0001-01-01Z') AS bucket
    FROM noted_minutes('-infinity', 'infinity') AS minute, unnest(ARRAY[60, 600, 3600]) AS width
), of_fleet AS (
    SELECT width, date_bin(make_interval(secs => width), "timestamp", '0001-01-01Z') AS bucket, count(*),
           sum(heart_rate), min(heart_rate), max(heart_rate), count(*) FILTER (WHERE heart_rate < 60),
           count(*) FILTER (WHERE heart_rate > 100), percentile_disc(0.05) WITHIN GROUP (ORDER BY heart_rate),
           percentile_disc(0.5) WITHIN GROUP (ORDER BY heart_rate),
           percentile_disc(0.95) WITHIN GROUP (ORDER BY heart_rate), (
               SELECT array_agg(rate ORDER BY rate) FROM unnest(array_agg(DISTINCT heart_rate)) AS rate)
    FROM heartbeats, unnest(ARRAY[10, 60, 600, 3600]) AS width GROUP BY 1, 2
), in_fleet AS (
    SELECT width_s, bucket, readings, sum_bpm, min_bpm, max_bpm, low, high, p05, p50, p95, bpm::integer[]
    FROM heartbeats_fleet
), of_customers AS (
    SELECT width, customer_id, date_bin(make_interval(secs => width), "timestamp", '0001-01-01Z') AS bucket, count(*),
           sum(heart_rate), min(heart_rate), max(heart_rate), count(*) FILTER (WHERE heart_rate < 60),
           count(*) FILTER (WHERE heart_rate > 100)
    FROM heartbeats, unnest(ARRAY[60, 600, 3600]) AS width GROUP BY 1, 2, 3
), in_customers AS (
    SELECT 60, * FROM heartbeats_per_minute UNION ALL SELECT * FROM heartbeats_per_customer
), differences AS (
    SELECT greatest(width, 60) AS width, bucket, fleet::text AS row
    FROM ((TABLE of_fleet EXCEPT TABLE in_fleet) UNION ALL (TABLE in_fleet EXCEPT TABLE of_fleet)) AS fleet
    UNION ALL
    SELECT width, bucket, customers::text
    FROM ((TABLE of_customers EXCEPT TABLE in_customers) UNION ALL (TABLE in_customers EXCEPT TABLE of_customers))
        AS customers
)
SELECT row FROM differences
WHERE (width, date_bin(make_interval(secs => width), bucket, '0001-01-01Z')) NOT IN (SELECT width, bucket FROM noted)
"""
# Around the ends of buckets, over half a day, and as far off as a timestamp may be.
SECONDS: Final = (0, 9.999999, 10, 59.999999, 60, 119, 599.999999, 600, 3599.999999, 3600, 7000, 40000)
MOMENTS: Final = st.one_of(
    st.sampled_from(SECONDS).map(lambda s: f"2026-05-05T{int(s) // 3600:02}:{int(s) // 60 % 60:02}:{s % 60:09.6f}Z"),
    st.sampled_from(("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1999-12-31T23:50:00Z")),
)
READINGS: Final = st.lists(
    st.tuples(st.integers(1, 3), MOMENTS, st.sampled_from((1, 59, 60, 100, 101, 300))), min_size=1, max_size=6
)
NUMBERS: Final = st.integers(0, OWNERS - 1)
Reading = tuple[int, str, int]  # customer, time, beats per minute

POINTS: Final = st.sampled_from(("before-notes", "before-commit"))


@dataclass
class Owner:
    """A consumer of one partition: what it has written so far, and the batch it has open."""

    number: int
    store: PausingStore
    generation: int = 0
    position: int = 0
    written: list[Batch] = field(default_factory=list)
    writing: threading.Thread | None = None


class Rollups(RuleBasedStateMachine):
    """The steps; what they lead to is held against the rows after each one."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.look = self.database.connect()
        self.look.execute(EMPTY)
        self.owners = [Owner(number, open_store(PausingStore, self.database)) for number in range(OWNERS)]
        for owner in self.owners:
            owner.generation, _ = owner.store.positions(TOPIC, {owner.number: (0, 1000)})

    def _read(self, owner: Owner, readings: list[Reading]) -> Batch:
        records = [
            MemoryRecord(
                owner.number,
                owner.position + n,
                f'{{"customer_id": "C{customer}", "timestamp": "{moment}", "heart_rate": {rate}}}'.encode(),
                LAST_MS,
            )
            for n, (customer, moment, rate) in enumerate(readings)
        ]
        end = owner.position + len(records)
        batch = Batch.of([Slice(owner.number, owner.position, end, records)], owner.generation, DECODE)
        assert len(batch.records) == len(readings)
        return batch

    @staticmethod
    def _write(owner: Owner, batch: Batch) -> None:
        owner.store.write(batch, TOPIC, MemoryCheck())
        owner.position = batch.slices[0].to_offset
        owner.written.append(batch)

    @rule(number=NUMBERS, readings=READINGS)
    def write(self, number: int, readings: list[Reading]) -> None:
        self.finish(number)
        self._write(self.owners[number], self._read(self.owners[number], readings))

    @rule(number=NUMBERS, back=st.integers(0, 3))
    def repeat(self, number: int, back: int) -> None:
        """A batch comes a second time, as after a lost answer."""
        self.finish(number)
        owner = self.owners[number]
        for batch in owner.written[-1 - back :][:1]:
            with pytest.raises(StaleOwnerError):
                owner.store.write(batch, TOPIC, MemoryCheck())

    @rule(number=NUMBERS, readings=READINGS, point=POINTS)
    def crash(self, number: int, readings: list[Reading], point: str) -> None:
        """Neither its rows nor its notes stay."""
        self.finish(number)
        owner = self.owners[number]
        owner.store.crash_at = point
        with pytest.raises(CrashError):
            owner.store.write(self._read(owner, readings), TOPIC, MemoryCheck())
        owner.store.crash_at = None
        owner.store.close()

    @rule(number=NUMBERS, readings=READINGS, point=POINTS)
    def begin(self, number: int, readings: list[Reading], point: str) -> None:
        """Its transaction stays open while other things happen."""
        self.finish(number)
        owner = self.owners[number]
        owner.store.pause_at = point
        owner.writing = threading.Thread(target=self._write, args=(owner, self._read(owner, readings)))
        owner.writing.start()
        assert owner.store.paused.wait(10)

    @rule(number=NUMBERS)
    def finish(self, number: int) -> None:
        owner = self.owners[number]
        if owner.writing is not None:
            owner.store.go_on.set()
            owner.writing.join(10)
            owner.writing = owner.store.pause_at = None
            owner.store.go_on.clear()
            owner.store.paused.clear()

    @rule(most=st.integers(1, 3))
    def refresh(self, most: int) -> None:
        self.look.execute(AGE_NOTES)
        self.look.execute("SELECT refresh_rollups(%s)", [most])

    @rule(number=NUMBERS, readings=READINGS, table=st.sampled_from(sorted(HOLD_UP)))
    def write_during_a_refresh(self, number: int, readings: list[Reading], table: str) -> None:
        """What is stored after a refresh has taken the notes, and before it has summed up everything, is not lost."""
        self.finish(number)
        self.look.execute(AGE_NOTES)
        refreshing = threading.Thread(target=self.database.query, args=("SELECT refresh_rollups(3)",))
        with self.database.connect() as gate, gate.transaction():
            gate.execute(HOLD_UP[table].encode())
            refreshing.start()
            wait_until(lambda: not refreshing.is_alive() or gate.execute(HELD_UP, [table]).fetchone() == (1,), 10)
            self._write(self.owners[number], self._read(self.owners[number], readings))
        refreshing.join(10)

    @invariant()
    def minutes_without_a_note_are_exact(self) -> None:
        assert self.look.execute(DIFFERENCES.encode()).fetchall() == []

    def teardown(self) -> None:
        for owner in self.owners:
            self.finish(owner.number)
            owner.store.close()
        self.look.execute(AGE_NOTES)
        with self.look:
            while self.look.execute("SELECT refresh_rollups()").fetchone() != (0,):
                pass
            assert self.look.execute("SELECT noted_minutes('-infinity', 'infinity')").fetchall() == []
            self.minutes_without_a_note_are_exact()


def test_rollups_equal_the_rows_under_any_interleaving(database: Database) -> None:
    """What a dashboard shows over months is what the rows were."""

    class Here(Rollups):
        pass

    Here.database = database
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=10,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
            report_multiple_bugs=False,
        ),
    )
