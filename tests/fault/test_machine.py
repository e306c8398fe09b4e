"""What the machine has to give: memory that does not grow with the lag, and one port for one of us."""

from pathlib import Path

import pytest

from local.ports import find_free_port
from local.waiting import wait_until
from tests.conftest import StartService, clone_database
from tests.pipeline import Database, Topic

pytestmark = [pytest.mark.integration, pytest.mark.fault]


def peak_mb(pid: int) -> float:
    """Read the most memory that a process has held so far."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process held")
def test_memory_does_not_grow_with_the_lag(start: StartService, topic: Topic, database: Database) -> None:
    """A consumer that comes back after a day must not be killed for its memory, again and again."""
    topic.create()
    peaks: list[float] = []
    sent = 0
    for behind in (100_000, 500_000):
        fresh = clone_database(database.server)
        try:
            topic.send_heartbeats(behind - sent)
            sent = behind
            consumer = start("consumer", POSTGRESQL_DATABASE=fresh.name)
            wait_until(lambda: fresh.passed() == topic.ends(), within_s=60)  # noqa: B023
            peaks.append(peak_mb(consumer.process.pid))
            assert consumer.stop() == 0
            assert fresh.count() == behind
        finally:
            fresh.drop()
    print(f"peaks: {peaks[0]:.0f} MB with 100,000 messages waiting, {peaks[1]:.0f} MB with 500,000")

    assert peaks[1] < 1.25 * peaks[0]


def test_second_consumer_on_the_same_metrics_port_says_so_and_the_first_goes_on(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Two on one host, as people try: one line, a hint, and no partition is taken from the first."""
    topic.create()
    port = {"HEARTBEAT_CONSUMER__METRICS_PORT": str(find_free_port())}
    first = start("consumer", **port)
    sent = topic.send_heartbeats(100)
    wait_until(lambda: database.count() == 100)
    second = start("consumer", **port)

    assert second.wait() == 2
    assert "HEARTBEAT_CONSUMER__METRICS_PORT" in second.text()
    sent += topic.send_heartbeats(100, seed=8)
    wait_until(lambda: database.passed() == topic.ends())
    assert first.process.poll() is None
    assert database.lost_and_surplus(sent) == ([], [])
