"""What the tests of `python -m consumer reread` share."""

from datetime import UTC, datetime, timedelta

from local.service import Service
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic

SMALL = {"HEARTBEAT_CONSUMER__MAX_BATCH": "100"}
TOTALS = "SELECT sum(stored), sum(rejected), sum(reread), sum(stored_dropped), sum(rejected_dropped) FROM kafka_ledger"


def consume(start: StartService, topic: Topic, database: Database, **settings: str) -> None:
    """Store what the topic holds, and stop."""
    consumer = start("consumer", **settings)
    wait_until(lambda: (passed := database.passed()) and passed == topic.ends(len(passed)), what="everything read")
    assert consumer.stop() == 0


def run(start: StartService, *arguments: str, **settings: str) -> Service:
    command = start("consumer", "reread", *arguments, **settings)
    assert command.wait() == 0, command.text()
    return command


def balances(start: StartService, **settings: str) -> bool:
    return start("consumer", "verify", "--full", **settings).wait() == 0


def long_ago() -> str:
    return (datetime.now(UTC) - timedelta(hours=1)).isoformat()
