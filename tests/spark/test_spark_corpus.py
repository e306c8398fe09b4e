"""Both engines read the same topic into a database each: the tables are the same, row by row."""

import pytest

from local.waiting import wait_until
from tests.conftest import StartService
from tests.corpus.hostile import CASES
from tests.integration.test_record_times import RECORD_TIMES_MS, SENDERS_CLOCKS, send_with_times
from tests.pipeline import Database, Topic, encode, heartbeats
from tests.spark.conftest import StartSpark

pytestmark = [pytest.mark.integration, pytest.mark.spark, pytest.mark.timeout(300)]

GOOD = 20_000
TABLES = (
    "SELECT * FROM heartbeats ORDER BY id",
    "SELECT id, topic, key, payload, payload_length, reason, detail, appended_at FROM rejected_heartbeats ORDER BY id",
    "SELECT generation, partition, start_offset, next_offset, stored, rejected, skipped FROM kafka_ledger ORDER BY 2",
    'SELECT patient_id, "timestamp", heart_rate, status FROM patient_heartbeats ORDER BY 1, 2, 3',
)


def test_hostile_corpus_becomes_the_same_rows_in_both_engines(
    start: StartService, start_spark: StartSpark, topic: Topic, database: Database, other_database: Database
) -> None:
    """A change of the engine must not change the result; aborted transactions leave holes in the offsets, too."""
    topic.create()
    cases = [case for case in CASES if case.holds_on_any_broker]
    good = heartbeats(GOOD, customers=1000)
    messages: list[tuple[bytes | None, bytes | None]] = [(row[0].encode(), encode(row)) for row in good]
    for number, case in enumerate(cases):
        messages.insert((number + 1) * GOOD // (len(cases) + 1), (f"case-{number}".encode(), case.payload))
    topic.send(messages[: GOOD // 2])
    doubtful = topic.producer(**{"transactional.id": topic.name})
    doubtful.init_transactions(30)
    doubtful.begin_transaction()
    for row in heartbeats(600):
        doubtful.produce(topic.name, encode(row), row[0])
    doubtful.flush(30)
    doubtful.abort_transaction(30)
    topic.send(messages[GOOD // 2 :])
    start("consumer")
    start_spark(POSTGRESQL_DATABASE=other_database.name, HEARTBEAT_CONSUMER__MAX_BATCH="1000")
    for one in (database, other_database):
        wait_until(lambda: one.passed() == topic.ends(), within_s=120)  # noqa: B023

    for table in TABLES:
        assert database.query(table) == other_database.query(table)
    assert database.query("SELECT sum(skipped) > 600 FROM kafka_ledger") == [(True,)]
    assert start("consumer", "verify", "--full", POSTGRESQL_DATABASE=other_database.name).wait() == 0


def test_senders_record_times_condemn_no_event_in_spark_either(
    start_spark: StartSpark, topic: Topic, database: Database
) -> None:
    """Spark tells the kinds of a record's time apart by other numbers than the consumer's client."""
    topic.create(6, **SENDERS_CLOCKS)
    sent = heartbeats(100)
    send_with_times(topic, sent, RECORD_TIMES_MS)
    start_spark()
    wait_until(lambda: database.passed() == topic.ends(), within_s=200)

    assert database.lost_and_surplus(sent) == ([], [])
