"""
The commands against a model: storing, reread with other rules, replay, retention, forget, and repair, in every order.

Kafka is a list here; stores, functions and the check of `verify --full` are the real ones, on a real PostgreSQL.
"""

from collections import Counter
from datetime import timedelta
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from common.settings import Consumer
from common.topic_identity import TopicIdentity
from contracts.heartbeats import HEARTBEATS
from store import forget
from store.batch import Batch, Slice
from store.errors import NotHeldError
from store.figures import Figures, find_faults
from store.postgres import PostgresStore
from store.replay import replay
from store.rewrite import Rewriter
from store.row_id import unpack
from store.validation import Decode
from store.verify import read
from tests.corpus.case import event
from tests.memory import MemoryCheck
from tests.pipeline import Database
from tests.records import GOOD, MemoryRecord
from tests.store import credentials_for, open_store, settings_on

pytestmark = [pytest.mark.integration, pytest.mark.fault]

TOPIC: Final = TopicIdentity("model", "model-id")
BROKEN: Final = b"broken"
OLD: Final = event(timestamp='"2010-01-01T00:00:00Z"')  # retention drops it
AHEAD: Final = event(timestamp='"2025-01-03T00:00:00Z"')  # the narrow rule rejects it
HOLE: Final = None
WHO: Final = "CUST-000002"  # all others are of CUST-000001
HERS: Final = event(customer_id=f'"{WHO}"')
HERS_AHEAD: Final = event(customer_id=f'"{WHO}"', timestamp='"2025-01-03T00:00:00Z"')
HERS_BROKEN: Final = f"broken {WHO}".encode()
PATTERN: Final = (GOOD, OLD, HERS, AHEAD, BROKEN, HOLE, GOOD, HERS_AHEAD, AHEAD, OLD, HERS_BROKEN, GOOD)
LOG: Final = (PATTERN * 25)[:300]
NARROW: Final = Decode(HEARTBEATS, timedelta(minutes=5))
WIDE: Final = Decode(HEARTBEATS, timedelta(days=10))
EMPTY: Final = "TRUNCATE heartbeats, rejected_heartbeats, kafka_ledger, kafka_topics, forgotten"
HELD: Final = "SELECT id, false FROM heartbeats UNION ALL SELECT id, true FROM rejected_heartbeats"
OFFSETS: Final = st.integers(0, len(LOG))
RULES: Final = st.sampled_from([NARROW, WIDE])


def part_of(start: int, end: int) -> Slice:
    records = [MemoryRecord(0, offset, LOG[offset]) for offset in range(start, end) if LOG[offset] is not HOLE]
    return Slice(0, start, end, records, end - start - len(records))


class Commands(RuleBasedStateMachine):
    """The model: which offsets have a row, and which a quarantined message."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.database.query(EMPTY)
        self.settings = settings_on(self.database, Consumer(retention_days=0, max_future_s=864_000))
        self.credentials = credentials_for(self.database)
        self.store = open_store(PostgresStore, self.database, self.settings.consumer)
        self.rewriter = Rewriter(self.settings, self.credentials, dry_run=False)
        self.dry = Rewriter(self.settings, self.credentials, dry_run=True)
        self.generation, _ = self.store.positions(TOPIC, {0: (0, len(LOG))})
        self.passed = 0
        self.rows: set[int] = set()
        self.messages: set[int] = set()
        self.forgotten_before = 0

    def _put(self, start: int, end: int, decode: Decode) -> None:
        span = range(start, end)
        self.rows -= set(span)
        self.messages -= set(span)
        accepted = {GOOD, OLD, HERS} | ({AHEAD, HERS_AHEAD} if decode is WIDE else set())
        taken = {offset for offset in span if LOG[offset] is not HOLE} - self._erased()
        self.rows |= {offset for offset in taken if LOG[offset] in accepted}
        self.messages |= {offset for offset in taken if LOG[offset] not in accepted}

    def _erased(self) -> set[int]:
        hers = (HERS, HERS_AHEAD, HERS_BROKEN)
        return {offset for offset in range(self.forgotten_before) if LOG[offset] in hers}

    @rule(count=st.integers(1, 30), decode=RULES)
    def store_more(self, count: int, decode: Decode) -> None:
        start, end = self.passed, min(self.passed + count, len(LOG))
        if start < end:
            self.store.write(Batch.of([part_of(start, end)], self.generation, decode), TOPIC, MemoryCheck())
            self.passed = end
            self._put(start, end, decode)

    @rule(places=st.tuples(OFFSETS, OFFSETS), decode=RULES, dry_run=st.booleans(), size=st.integers(1, 30))
    def reread(self, places: tuple[int, int], decode: Decode, size: int, *, dry_run: bool) -> None:
        start, end = min(places), min(max(places), self.passed)
        if start >= end:
            return
        store = self.dry if dry_run else self.rewriter
        store.begin(self.generation, 0, start, end)
        for first in range(start, end, size):
            part = part_of(first, min(first + size, end))
            tally = store.rewrite(Batch.of([part], self.generation, decode), TOPIC, MemoryCheck())
            assert (tally.rows_missed, tally.messages_missed) == (0, 0)
        if not dry_run:
            self._put(start, end, decode)

    @rule(places=st.tuples(OFFSETS, OFFSETS))
    def reread_where_kafka_has_lost_a_record(self, places: tuple[int, int]) -> None:
        """Its row must stay, as all others of the batch."""
        start, end = min(places), min(max(places), self.passed)
        there = sorted((self.rows | self.messages) & set(range(start, end)))
        if there:
            part = part_of(start, end)
            part.records = [record for record in part.records if record.offset() != there[0]]
            part.skipped += 1
            with pytest.raises(NotHeldError, match=f"the first is {there[0]}"):
                self.rewriter.rewrite(Batch.of([part], self.generation, WIDE), TOPIC, MemoryCheck())

    @rule()
    def replay(self) -> None:
        replay(self.settings, self.credentials, reason=None, dry_run=False, say=lambda _: None)
        moved = {offset for offset in self.messages if LOG[offset] in {AHEAD, HERS_AHEAD}}
        self.messages -= moved
        self.rows |= moved

    @rule(ahead=st.integers(0, 30))
    def forget(self, ahead: int) -> None:
        """Kafka may hold more of her than was read."""
        end = min(self.passed + ahead, len(LOG))
        log = forget.Log(TOPIC, {0: (0, end)}, None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forget, "look_up", lambda _, topic: log if topic == TOPIC.name else None)
            forget.forget(self.settings, self.credentials, [WHO], dry_run=False, as_json=False, say=lambda _: None)
        self.forgotten_before = max(self.forgotten_before, end)
        self.rows -= self._erased()
        self.messages -= self._erased()

    @rule(most=st.integers(1, 50))
    def drop_old_rows(self, most: int) -> None:
        self.database.query("SELECT drop_strays('heartbeats', 3650, %s)", most)
        self.rows = {unpack(row_id)[2] for row_id, is_message in self.database.query(HELD) if not is_message}

    @rule(most=st.integers(1, 50))
    def drop_old_messages(self, most: int) -> None:
        self.database.query("UPDATE rejected_heartbeats SET rejected_at = now() - interval '90 days'")
        self.database.query("SELECT drop_rejected(30, %s)", most)
        self.messages = {unpack(row_id)[2] for row_id, is_message in self.database.query(HELD) if is_message}

    @rule(part=st.integers(2, 5), decode=RULES)
    def delete_by_hand_and_repair(self, part: int, decode: Decode) -> None:
        """Whatever retention has dropped as well, the ledger balances again after all was read again."""
        self.database.query("DELETE FROM heartbeats WHERE id %% %s = 0", part)
        self.database.query("DELETE FROM rejected_heartbeats WHERE id %% %s = 1", part)
        if self.passed:
            self.rewriter.begin(self.generation, 0, 0, self.passed)
            self.rewriter.rewrite(Batch.of([part_of(0, self.passed)], self.generation, decode), TOPIC, MemoryCheck())
            self._put(0, self.passed, decode)

    @invariant()
    def rows_are_the_models_and_the_ledger_balances(self) -> None:
        with self.database.connect() as connection:
            ledger, counted = read(connection, "heartbeats", full=True)
        held = Counter((unpack(row_id)[2], is_message) for row_id, is_message in self.database.query(HELD))

        assert find_faults(Figures(ledger, counted, None, {}, {}), "heartbeats") == []
        assert held == Counter([(offset, False) for offset in self.rows] + [(offset, True) for offset in self.messages])

    def teardown(self) -> None:
        for store in (self.store, self.rewriter, self.dry):
            store.close()


def run_model(database: Database, *, examples: int, steps: int) -> None:
    class Here(Commands):
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
            phases=[Phase.generate],
        ),
    )


def test_commands_in_any_order_leave_a_ledger_that_balances_with_the_rows(database: Database) -> None:
    """A lawful command must never make `verify --full` fail, nor hide a row that is missing."""
    run_model(database, examples=12, steps=20)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_long_form_of_the_model(database: Database) -> None:
    run_model(database, examples=500, steps=50)
