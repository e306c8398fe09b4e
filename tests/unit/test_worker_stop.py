"""A stop ends the loop soon, whatever hangs, and leaves nothing half done."""

import time
from typing import Final

import pytest
from structlog.testing import capture_logs

from common.errors import HeartbeatError, LedgerError
from consumer import worker
from tests.memory import MemoryStore, MemoryTopic
from tests.unit.running import Gate, Running, away, raising, replaced

TOPIC: Final = MemoryTopic.holding(50)
pytestmark = pytest.mark.usefixtures("quick_worker")


def test_stop_waits_for_the_write_under_way() -> None:
    """A clean stop leaves nothing to be read again, and shows Kafka how far it came."""
    gate = Gate()
    store = MemoryStore()
    store.before_commit.append(gate)
    with Running(MemoryTopic.holding(10, partitions=1), store=store) as running:
        gate.wait_for_somebody()
        running.stop.set()
        running.wait_until(running.stop.seen.is_set)
        ended_early = running.has_ended
        gate.open()

    assert not ended_early
    assert store.tables.record_ids() == [(1, 0, offset) for offset in range(10)]
    assert running.source.mirrored == {0: 10}
    assert running.source.closed
    assert store.closed


@pytest.mark.parametrize("messages", [10, 30], ids=["nothing waits", "a batch waits behind it"])
def test_stop_does_not_wait_for_ever_for_a_write(monkeypatch: pytest.MonkeyPatch, messages: int) -> None:
    """A stop that takes too long ends in SIGKILL; a write that hangs is in the ledger, or it is read again."""
    assert stops_in_time(monkeypatch, MemoryTopic.holding(messages, partitions=1), "before_commit")


def test_stop_waits_once_for_all_writes_and_not_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose kills a service that takes longer than its stop_grace_period, however many connections hang."""
    monkeypatch.setattr(worker, "DRAIN_S", 0.5)
    monkeypatch.setattr(worker, "REVOKE_S", 0.01)
    gates = [Gate(), Gate()]
    stores = [MemoryStore(), MemoryStore()]
    stores[1].tables = stores[0].tables
    for store, gate in zip(stores, gates, strict=True):
        store.before_commit.append(gate)
    with Running(TOPIC, store=stores[0], second=stores[1]) as running:
        for gate in gates:
            gate.wait_for_somebody()
        running.stop.set()
        began = time.monotonic()
        running.join(5)
        took_s = time.monotonic() - began
        for gate in gates:
            gate.open()

    assert 0.5 <= took_s < 0.9


def test_stop_does_not_wait_for_ever_for_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that hangs keeps a client's `close` for a minute and more."""
    monkeypatch.setattr(worker, "LEAVE_S", 0.1)
    gate = Gate()
    running = Running(TOPIC)
    running.prepare = lambda source: setattr(source, "close", gate)
    with capture_logs() as logs, running:
        running.wait_until_stored(100)
        running.stop.set()
        running.join(2)
    gate.open()

    assert "did not leave the consumer group in time" in [line["event"] for line in logs]


def test_stop_does_not_wait_for_ever_for_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, while the database does not even say where to begin."""
    assert stops_in_time(monkeypatch, TOPIC, "before_positions")


def stops_in_time(monkeypatch: pytest.MonkeyPatch, topic: MemoryTopic, call: str) -> bool:
    """Return whether a loop ends within a multiple of its time for that, though a call hangs."""
    monkeypatch.setattr(worker, "DRAIN_S", 0.1)
    monkeypatch.setattr(worker, "REVOKE_S", 0.1)
    gate = Gate()
    store = MemoryStore()
    getattr(store, call).append(gate)
    with Running(topic, store=store) as running:
        gate.wait_for_somebody()
        running.wait_for_polls()
        running.stop.set()
        try:
            running.join(2)
        except AssertionError:
            return False
        finally:
            gate.open()
    return True


def stop_in_the_last_write(running: Running, gate: Gate) -> None:
    """Ask for a stop while a write stands at the gate, and let it pass once the loop does nothing but wait for it."""
    gate.wait_for_somebody()
    running.stop.set()
    running.wait_until(running.stop.seen.is_set)
    gate.open()


@pytest.mark.parametrize("error", [replaced(), away()], ids=repr)
def test_stop_is_clean_though_the_last_write_failed(error: HeartbeatError) -> None:
    """What was not stored is read again at the next start: no reason for an exit code that calls somebody."""
    gate = Gate(then=raising(error))
    store = MemoryStore()
    store.before_commit.append(gate)
    with Running(MemoryTopic.holding(10, partitions=1), store=store) as running:
        stop_in_the_last_write(running, gate)

    assert store.tables.rows == []
    assert running.source.closed
    assert store.closed


def test_member_leaves_the_group_though_its_last_write_found_the_ledger_wrong() -> None:
    """The others need not wait for its session to end."""
    gate = Gate(then=raising(LedgerError("they differ", hint="Look.")))
    store = MemoryStore()
    store.before_commit.append(gate)

    topic = MemoryTopic.holding(10, partitions=1)

    with pytest.raises(LedgerError, match="they differ"), Running(topic, store=store) as running:
        stop_in_the_last_write(running, gate)

    assert running.source.closed
    assert store.closed


def test_stop_during_an_outage_is_clean() -> None:
    """A person who gives up waiting for the broker gets their prompt back."""
    running = Running(TOPIC)
    running.prepare = lambda source: source.outages.extend([away()] * 100_000)
    with running:
        running.wait_until(lambda: len(running.source.outages) < 99_998)

    assert running.source.closed
    assert running.store.asked == 0
