"""The lag holds in any state of the loop."""

import math

import pytest

from store.metrics import LAG
from tests.memory import MemoryTopic
from tests.unit.running import Running, away, raising

pytestmark = pytest.mark.usefixtures("quick_worker")


def test_lag_counts_a_partition_whose_end_becomes_known_late() -> None:
    """Early in an outage Kafka's answer is still on its way; what the ledger said must not be forgotten meanwhile."""
    topic = MemoryTopic.holding(10)
    running = Running(topic)
    running.prepare = lambda source: source.unknown_ends.update({0, 1})
    running.store.before_commit.extend([raising(away())] * 200)
    with running:
        running.wait_until(lambda: math.isnan(LAG._value.get()))  # noqa: SLF001 - no other way to read it
        running.source.unknown_ends.clear()
        running.wait_until(lambda: LAG._value.get() == 20)  # noqa: SLF001
        running.store.before_commit.clear()
        running.wait_until_stored(20)
