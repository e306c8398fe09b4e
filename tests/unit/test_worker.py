"""The loop stores each message once, and stays a member of the group whatever holds it up."""

from typing import Final

import pytest
from structlog.testing import capture_logs

from common.errors import HeartbeatError
from store.errors import StaleOwnerError
from store.metrics import FENCED
from tests.corpus.hostile import CASES
from tests.memory import MemorySource, MemoryStore, MemoryTables, MemoryTopic
from tests.records import MemoryRecord
from tests.unit.running import Gate, Running, away, raising, replaced

TOPIC: Final = MemoryTopic.holding(50)
WRITES: Final = ["before", "after", "overtaken", "fine"]
TURNS: Final = ["revoke", "lose", "nothing"]


pytestmark = pytest.mark.usefixtures("quick_worker")


def test_each_message_is_stored_once_and_in_the_ledger() -> None:
    """The job."""
    topic = MemoryTopic.holding(200, partitions=3)
    with Running(topic) as running:
        running.wait_until_stored(600)

    assert running.store.tables.record_ids() == topic.record_ids()
    assert running.store.tables.next_offsets == {(1, 0): 200, (1, 1): 200, (1, 2): 200}
    assert running.source.mirrored == {0: 200, 1: 200, 2: 200}
    assert running.source.closed
    assert running.store.closed


def test_hostile_messages_are_quarantined_among_good_ones() -> None:
    """A bad message neither stops the loop nor takes a neighbour with it, and is counted."""
    cases = [case for case in CASES if len(case.payload or b"") < 1000]
    topic = MemoryTopic("id", {0: [MemoryRecord(0, n, case.payload, case.appended_ms) for n, case in enumerate(cases)]})
    good = [(1, 0, n) for n, case in enumerate(cases) if isinstance(case.expected, tuple)]
    with capture_logs() as logs, Running(topic) as running:
        running.wait_until(lambda: running.store.tables.next_offsets.get((1, 0)) == len(cases))

    stored = [line for line in logs if line["event"] == "Stored"]
    assert running.store.tables.record_ids() == good
    assert len(running.store.tables.rejected) == len(cases) - len(good)
    assert sum(line["count"] for line in stored) == stored[-1]["total"] == len(good)
    assert sum(line["rejected"] for line in stored) == len(cases) - len(good)


def test_next_batch_is_read_while_one_is_written_and_no_more_than_one() -> None:
    """Overlap is what makes it fast; that only one batch waits bounds the memory."""
    gate = Gate()
    store = MemoryStore()
    store.before_commit.append(gate)
    with Running(TOPIC, store=store) as running:
        gate.wait_for_somebody()
        running.wait_until(lambda: running.source.rests > 3)
        unread = running.source.unread()
        gate.open()
        running.wait_until_stored(100)

    assert unread == 100 - 2 * 10
    assert running.store.tables.record_ids() == TOPIC.record_ids()


def test_slow_write_keeps_its_member_in_the_group_and_ends_what_blocks_it() -> None:
    """The group expels a consumer that does not poll. A consumer that a stalled owner blocks terminates it."""
    gate = Gate()
    store = MemoryStore()
    store.before_commit.append(gate)
    with Running(TOPIC, store=store) as running:
        gate.wait_for_somebody()
        running.wait_until(lambda: store.terminate_blockers_calls >= 2)
        rests = running.source.rests
        running.wait_until(lambda: running.source.rests > rests + 3)
        gate.open()
        running.wait_until_stored(100)

    assert running.store.tables.record_ids() == TOPIC.record_ids()


@pytest.mark.parametrize("when", ["before_commit", "after_commit"])
def test_failed_write_drops_the_batch_read_meanwhile(when: str) -> None:
    """The ledger decides where to continue, also if a connection lost at COMMIT leaves the outcome unknown."""
    gate = Gate(then=raising(away()))
    store = MemoryStore()
    getattr(store, when).append(gate)
    with Running(TOPIC, store=store) as running:
        gate.wait_for_somebody()
        running.wait_until(lambda: running.source.rests > 0)  # the next batch waits behind it
        gate.open()
        running.wait_until_stored(100)

    begins = [[part.from_offset for part in batch.slices] for batch in store.written]
    assert running.store.tables.record_ids() == TOPIC.record_ids()
    assert begins[:2] == ([[0], [0]] if when == "before_commit" else [[0], [10]])
    assert store.stale == 0
    assert running.source.forgotten == 1


@pytest.mark.parametrize("error", [None, away(), StaleOwnerError("it was overtaken", hint="Reload.")])
def test_second_writer_copies_meanwhile_and_commits_only_after_the_first(error: HeartbeatError | None) -> None:
    """Two connections are faster than one, and whatever becomes of the first, no offset is passed over."""
    gate = Gate(then=raising(error)) if error else Gate()
    store = MemoryStore()
    second = MemoryStore(store.tables)
    store.before_commit.append(gate)
    with Running(TOPIC, store=store, second=second) as running:
        gate.wait_for_somebody()
        running.wait_until(lambda: len(second.written) == 1 and running.source.rests > 3)
        stored = list(store.tables.rows)
        gate.open()
        running.wait_until_stored(100)

    assert stored == []
    assert running.store.tables.record_ids() == TOPIC.record_ids()
    assert store.stale + second.stale == 0  # it was not the ledger that had to stop the second
    assert running.source.forgotten == bool(error)
    assert second.closed


def test_overtaken_owner_reads_the_ledger_again() -> None:
    """A batch that somebody else stored is dropped, not stored twice; the loop goes on behind it."""
    store = MemoryStore()
    store.before_commit.append(store.tables.commit)
    fenced = FENCED._value.get()  # noqa: SLF001 - the client has no other way to read a counter without labels
    with capture_logs() as logs, Running(TOPIC, store=store) as running:
        running.wait_until_stored(100)

    assert running.store.tables.record_ids() == TOPIC.record_ids()
    assert running.source.forgotten == 1
    assert FENCED._value.get() == fenced + 1  # noqa: SLF001
    assert [line["log_level"] for line in logs if line["event"] == "stale batch dropped"] == ["info"]


def test_two_owners_of_one_partition_store_each_message_once() -> None:
    """A stalled owner that wakes up beside its successor does no harm."""
    tables = MemoryTables()
    with Running(TOPIC, store=MemoryStore(tables)) as one, Running(TOPIC, store=MemoryStore(tables)) as other:
        one.wait_until_stored(100)
        other.wait_until_stored(100)

    assert tables.record_ids() == TOPIC.record_ids()


def test_topic_made_again_is_read_from_its_beginning_by_a_new_member() -> None:
    """The old topic's offsets mean nothing in the new one, nor does what was read of it and not yet stored."""
    new = MemoryTopic.holding(30, topic_id="second")
    store = MemoryStore()
    running = Running(TOPIC, new, store=store)
    store.after_commit.append(lambda _batch: setattr(running.source, "gone", replaced()))
    with running:
        running.wait_until(lambda: new.record_ids(generation=2)[-1] in store.tables.record_ids())

    assert store.tables.record_ids() == [(1, 0, offset) for offset in range(10)] + new.record_ids(generation=2)
    assert [source.closed for source in running.sources] == [True, True]


def test_topic_made_again_is_not_shown_the_offsets_of_the_old_one() -> None:
    """The old topic's offsets mean nothing in the new one."""
    new = MemoryTopic("second", {0: [], 1: MemoryTopic.holding(5).partitions[1]})
    store = MemoryStore()
    running = Running(TOPIC, new, store=store)
    store.after_commit.append(lambda _batch: setattr(running.source, "gone", replaced()))
    with running:
        running.wait_until_stored(10 + 5)

    assert running.source.mirrored == {0: 0, 1: 5}


def test_topic_made_again_before_the_ledger_was_read_is_not_taken_for_the_old_one() -> None:
    """The old topic's ledger, with the new one's offsets beside it, would look like lost messages."""
    new = MemoryTopic.holding(30, topic_id="second")
    running = Running(TOPIC, new)

    def prepare(source: MemorySource) -> None:
        source.gone = None if running.sources else replaced()

    running.prepare = prepare
    with running:
        running.wait_until_stored(60)

    assert running.store.tables.topics == ["second"]
    assert running.store.tables.record_ids() == new.record_ids(generation=1)
