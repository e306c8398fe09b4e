"""Outages are waited out with ever longer pauses; what waiting does not mend ends the loop; a stop ends it soon."""

import gc
import time
from collections.abc import MutableMapping
from itertools import pairwise
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from common.errors import ConfigError, HeartbeatError, LedgerError, RefusedError
from store.batch import Batch
from tests.memory import MemorySource, MemoryStore, MemoryTopic
from tests.unit.running import TIMES_S, Gate, Running, away, raising

TOPIC: Final = MemoryTopic.holding(50)
OUTAGES: Final = 7
STORE_CALLS: Final = ["before_positions", "before_commit"]


pytestmark = pytest.mark.usefixtures("quick_worker")


class Outage:
    """Happens to so many calls in a row, and keeps when."""

    def __init__(self, times: int = OUTAGES) -> None:
        self.left = times
        self.at_s: list[float] = []

    def __call__(self, *_: object) -> None:
        """Raise, and note the time."""
        self.at_s.append(time.monotonic())
        raise away()

    @property
    def pauses_s(self) -> list[float]:
        """The times between the tries."""
        return [later - earlier for earlier, later in pairwise(self.at_s)]


def outages(logs: list[MutableMapping[str, Any]]) -> list[str]:
    """Return the errors of servers that are unavailable, and where they recovered."""
    return [line.get("error", line["event"]) for line in logs if line["event"] in {"server unavailable", "recovered"}]


@pytest.mark.parametrize("call", STORE_CALLS)
def test_database_outage_is_waited_out_with_growing_pauses(call: str) -> None:
    """A database that is full or starting is not helped by a thousand tries a minute."""
    outage = Outage()
    store = MemoryStore()
    getattr(store, call).extend([outage] * OUTAGES)
    with Running(TOPIC, store=store) as running:
        running.wait_until_stored(100)

    assert store.tables.record_ids() == TOPIC.record_ids()
    assert max(outage.pauses_s) < 2
    # The last of them has grown to LAST_RETRY_S, give or take a half.
    assert outage.pauses_s[-1] >= TIMES_S["store.outage.LAST_RETRY_S"] / 2


@pytest.mark.parametrize("call", STORE_CALLS)
def test_outage_is_told_once_and_its_end_once(call: str) -> None:
    """A log that says the same ten times a second hides everything else; recovered means that rows are stored again."""
    store = MemoryStore()
    getattr(store, call).extend([raising(away())] * 4)
    with capture_logs() as logs, Running(TOPIC, store=store) as running:
        running.wait_until_stored(100)

    assert outages(logs) == ["it is away", "recovered"]


@pytest.mark.parametrize("call", STORE_CALLS)
def test_outage_keeps_the_member_polling_and_is_no_progress(call: str) -> None:
    """The group must not expel this consumer, and /healthz must not report it as healthy."""
    polls: list[int] = []
    noted: list[int] = []
    running = Running(TOPIC)

    def fail(*_: object) -> None:
        polls.append(running.source.reads + running.source.rests)
        noted.append(running.health.noted)
        raise away()

    getattr(running.store, call).extend([fail] * OUTAGES)
    with running:
        running.wait_until_stored(100)
        running.wait_until(lambda: running.health.noted > noted[-1])

    assert all(later > earlier for earlier, later in pairwise(polls))
    assert noted[-1] == noted[0]


def test_idle_loop_is_healthy() -> None:
    """Nothing to do is no illness."""
    with Running(MemoryTopic.holding(0)) as running:
        running.wait_until(lambda: running.health.noted > 3)

    assert running.store.written == []


def test_loop_that_is_never_idle_is_healthy_as_long_as_it_stores() -> None:
    """Working off a backlog for hours is progress."""
    noted: list[int] = []
    running = Running(TOPIC)
    running.store.before_commit.extend([lambda _batch: noted.append(running.health.noted)] * 10)
    with running:
        running.wait_until_stored(100)

    assert noted == [*range(noted[0], noted[0] + 10)]


def test_kafka_outage_at_the_start_and_at_an_assignment_is_waited_out() -> None:
    """The broker may come up after us, and go away between two of its answers."""

    def prepare(source: MemorySource) -> None:
        source.outages.extend([away()] * 3)
        source.turns.appendleft(lambda: source.outages.extend([away()] * 3))

    running = Running(TOPIC)
    running.prepare = prepare
    with capture_logs() as logs, running:
        running.wait_until_stored(100)

    assert running.store.tables.record_ids() == TOPIC.record_ids()
    assert outages(logs) == ["it is away", "recovered"] * 2


MISTAKE: Final = ConfigError("wrong password", hint="Mend it.")
REFUSAL: Final = RefusedError("group is refused", hint="Mend it.")


@pytest.mark.parametrize("call", STORE_CALLS)
def test_mistake_of_a_consumer_that_has_worked_is_waited_out(call: str) -> None:
    """A restored database or a rotated password heals; to end would turn one clear line into a restart loop."""
    store = MemoryStore()
    running = Running(TOPIC, store=store)
    if call == "before_positions":  # the first answer is good; then the partition is placed anew
        store.before_positions.extend([lambda: None, *[raising(MISTAKE)] * OUTAGES])
        store.before_commit.append(raising(away()))
    else:
        store.before_commit.extend([raising(MISTAKE)] * OUTAGES)
    with capture_logs() as logs, running:
        running.wait_until_stored(100)

    assert store.tables.record_ids() == TOPIC.record_ids()
    assert outages(logs).count(MISTAKE.message) == 1


def test_mistake_of_a_broker_while_a_write_hangs_is_waited_out() -> None:
    """The client is served then as well, and may say that the group is refused."""
    gate = Gate()
    running = Running(TOPIC)
    running.store.before_commit.append(gate)
    with capture_logs() as logs, running:
        gate.wait_for_somebody()
        running.wait_until(lambda: running.source.rests > 0)
        running.source.turns.extend([raising(MISTAKE), raising(REFUSAL)])
        running.wait_until(lambda: not running.source.turns)
        gate.open()
        running.wait_until_stored(100)

    assert running.store.tables.record_ids() == TOPIC.record_ids()
    assert {MISTAKE.message, REFUSAL.message} <= {*outages(logs)}


def test_mistake_is_no_progress() -> None:
    """/healthz must not report a consumer as healthy while its password is refused."""
    running = Running(TOPIC)
    noted: list[int] = []

    def refuse(*_: object) -> None:
        noted.append(running.health.noted)
        raise MISTAKE

    running.store.before_commit.extend([refuse] * OUTAGES)
    with running:
        running.wait_until_stored(100)

    assert noted == [noted[0]] * OUTAGES


def test_partition_without_a_leader_does_not_keep_the_others_from_being_read() -> None:
    """Its messages wait for its broker, and /healthz reports 503; nothing else waits."""
    running = Running(TOPIC)
    running.prepare = lambda source: source.leaderless.add(0)
    with capture_logs() as logs, running:
        running.wait_until_stored(50)
        running.wait_for_polls()
        noted, stored = running.health.noted, running.store.tables.record_ids()
        running.wait_for_polls()
        unwell = running.health.noted == noted
        running.source.leaderless.clear()
        running.wait_until_stored(100)

    assert stored == [(1, 1, offset) for offset in range(50)]
    assert unwell
    assert running.store.tables.record_ids() == TOPIC.record_ids()
    assert [line["error"] for line in logs if line["log_level"] == "warning"] == [
        "cannot read heartbeats[0]: no leader answers for it"
    ]


def test_failed_batches_are_freed_at_once() -> None:
    """Those of a long outage must not pile up until the garbage collector runs, which it seldom does here."""
    store = MemoryStore()
    store.before_commit.extend(raising(away()) for _ in range(OUTAGES))
    alive: list[int] = []

    def count(*_: object) -> None:
        store.written.clear()  # the double keeps them on purpose
        alive.append(sum(isinstance(one, Batch) for one in gc.get_objects()))

    store.before_commit.append(count)
    gc.collect()
    count()  # what earlier tests left
    gc.disable()
    try:
        with Running(TOPIC, store=store) as running:
            running.wait_until_stored(100)
    finally:
        gc.enable()

    assert alive[1] - alive[0] <= 3  # being written, in hand, just finished


@pytest.mark.parametrize(
    ("call", "error"),
    [*((call, LedgerError("they differ", hint="Look.")) for call in [*STORE_CALLS, "after_commit"]),
     ("before_positions", MISTAKE)],
)  # fmt: skip
def test_error_that_waiting_does_not_mend_ends_the_loop(call: str, error: HeartbeatError) -> None:
    """Going on could lose or repeat messages, or would never do any good; what is stored stays."""
    store = MemoryStore()
    getattr(store, call).append(raising(error))

    with pytest.raises(type(error)) as raised, Running(TOPIC, store=store) as running:
        running.wait_until(lambda: False)

    assert raised.value is error
    assert running.source.closed
    assert store.closed
