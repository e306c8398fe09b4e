"""Partitions come and go; what was read of them meanwhile is stored by one owner, once."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from consumer import worker
from tests.memory import MemorySource, MemoryStore, MemoryTopic
from tests.unit.running import Gate, Running, away, raising

TOPIC: Final = MemoryTopic.holding(50)
WRITES: Final = ["before", "after", "overtaken", "fine"]
TURNS: Final = ["revoke", "lose", "nothing"]
pytestmark = pytest.mark.usefixtures("quick_worker")


def nothing(*_: object) -> None:
    """Let nothing happen."""


def test_revoke_waits_for_the_write_under_way() -> None:
    """The next owner finds the ledger as the last one left it."""
    gate = Gate()
    store = MemoryStore()
    store.before_commit.append(gate)
    offsets: list[int] = []
    with Running(MemoryTopic.holding(10, partitions=1), store=store) as running:
        source = running.source
        gate.wait_for_somebody()
        source.turns += [lambda: source.revoke([0]), lambda: offsets.append(store.tables.next_offsets[1, 0])]
        running.wait_until(lambda: len(source.turns) < 2)
        gate.open()
        running.wait_until(lambda: bool(offsets))

    assert offsets == [10]


def test_revoke_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that hangs must not hold up the whole group; if it ends later yet, the fence decides."""
    monkeypatch.setattr(worker, "REVOKE_S", 0.05)
    gate = Gate()
    store = MemoryStore()
    store.before_commit.append(gate)
    took_s: list[float] = []

    def revoke(source: MemorySource) -> None:
        began = time.monotonic()
        source.revoke([0])
        took_s.append(time.monotonic() - began)

    with Running(TOPIC, store=store) as running:
        gate.wait_for_somebody()
        running.source.turns += [lambda: revoke(running.source), lambda: running.source.assign([0])]
        running.wait_until(lambda: bool(took_s))
        gate.open()
        running.wait_until_stored(100)

    assert 0.05 <= took_s[0] < 2
    assert running.store.tables.record_ids() == TOPIC.record_ids()


@pytest.mark.parametrize("how", ["revoke", "lose"])
def test_batch_of_a_partition_given_up_meanwhile_is_not_written(how: str) -> None:
    """Its next owner reads it; two owners writing the same rows only hold each other up."""
    gate = Gate()
    store = MemoryStore()
    store.before_commit.append(gate)
    with Running(MemoryTopic.holding(30, partitions=1), store=store) as running:
        source = running.source
        gate.wait_for_somebody()
        running.wait_until(lambda: source.rests > 0)  # the second batch waits behind the first
        source.turns.append(lambda: getattr(source, how)([0]))
        running.wait_until(lambda: not source.turns)
        gate.open()
        running.wait_for_polls()

    assert [part.from_offset for batch in store.written for part in batch.slices] == [0]


def test_batch_of_a_partition_that_left_and_came_back_is_read_again() -> None:
    """Somebody else may have owned it in between: the ledger says where to go on."""
    gate = Gate()
    store = MemoryStore()
    store.before_commit.append(gate)
    with Running(TOPIC, store=store) as running:
        source = running.source
        gate.wait_for_somebody()
        running.wait_until(lambda: source.rests > 0)
        source.turns += [lambda: source.lose([0]), lambda: source.assign([0])]
        running.wait_until(lambda: not source.turns)
        gate.open()
        running.wait_until_stored(100)

    assert running.store.tables.record_ids() == TOPIC.record_ids()
    assert store.stale == 0


@pytest.mark.parametrize("writers", [1, 2])
@pytest.mark.parametrize("outcome", ["fine", "before", "after"])
@pytest.mark.parametrize("given_up", [[0], [1], [0, 1]])
@pytest.mark.parametrize("how", ["revoke", "lose"])
@pytest.mark.parametrize("comes_back", [True, False])
def test_slow_write_and_rebalance_at_the_end_of_the_input_leave_nothing_unstored(
    how: str, given_up: list[int], outcome: str, writers: int, *, comes_back: bool
) -> None:
    """
    Nothing comes after the last batch that would show that a part of it was dropped.

    It waits in hand behind a slow write while one of its partitions is given up; the other one's records have no owner
    but us. `comes_back`: before the write ends, as when the group changes its mind, or not at all.
    """
    gate = {
        "fine": Gate(),
        "before": Gate(then=raising(away())),
        "after": Gate(then=raising(away())),
    }[outcome]
    store = MemoryStore()
    (store.after_commit if outcome == "after" else store.before_commit).append(gate)
    second = MemoryStore(store.tables) if writers == 2 else None
    topic = MemoryTopic.holding(5 * (writers + 1))  # each batch holds five of both partitions; the last waits in hand
    running = Running(topic, store=store, second=second)
    running.prepare = lambda source: setattr(source, "max_slice", 5)
    with running:
        source = running.source
        gate.wait_for_somebody()
        running.wait_until(lambda: source.rests > 0)
        source.turns.append(lambda: getattr(source, how)(given_up))
        if comes_back:
            source.turns.append(lambda: source.assign(given_up))
        running.wait_until(lambda: not source.turns)
        gate.open()
        kept = {0, 1} if comes_back else {0, 1} - {*given_up}
        running.wait_until(lambda: all(store.tables.next_offsets[1, p] == len(topic.partitions[p]) for p in kept))
        running.wait_for_polls()

    stored = store.tables.record_ids()
    assert len(stored) == len(set(stored))
    assert [row for row in stored if row[1] in kept] == [row for row in topic.record_ids() if row[1] in kept]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(WRITES), max_size=8),
    st.lists(st.booleans(), max_size=5),
    st.lists(st.tuples(st.sampled_from(TURNS), st.sampled_from(TURNS), st.integers(0, 1)), max_size=6),
)
@example(["after", "overtaken", "before"], [True], [("revoke", "nothing", 0), ("lose", "revoke", 1)])
def test_no_mixture_of_faults_and_rebalances_stores_a_message_twice_or_never(
    writes: list[str], outages: list[bool], turns: list[tuple[str, str, int]]
) -> None:
    """Outages, unknown outcomes, other owners and rebalances share one path; nothing finds a way round it."""
    store = MemoryStore()
    before: dict[str, Callable[..., object]] = {"before": raising(away()), "overtaken": store.tables.commit}
    store.before_commit.extend(before.get(write, nothing) for write in writes)
    store.after_commit.extend(raising(away()) for write in writes if write == "after")
    store.before_positions.extend(raising(away()) if outage else nothing for outage in outages)

    def rebalance(source: MemorySource) -> None:
        happenings: dict[str, Callable[..., object]] = {"revoke": source.revoke, "lose": source.lose}
        for first, then, partition in turns:
            source.turns += [partial(happenings.get(how, nothing), [partition]) for how in (first, then)]
            source.turns.append(partial(source.assign, [partition]))

    running = Running(TOPIC, store=store)
    running.prepare = rebalance
    with running:
        running.wait_until(lambda: not running.source.turns)
        running.wait_until_stored(100)

    assert store.tables.record_ids() == TOPIC.record_ids()
    assert store.tables.next_offsets == {(1, 0): 50, (1, 1): 50}
