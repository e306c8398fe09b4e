"""Both engines store other events than heartbeats, in turn: nothing is lost, nothing is stored twice."""

from itertools import islice

import pytest

from contracts.contract import Contract
from local.waiting import wait_until
from tests.conftest import StartService
from tests.corpus.derived import Values
from tests.events import EXAMPLES, events_of, prepare, rows_by_time
from tests.pipeline import Database, Topic
from tests.spark.conftest import StartSpark
from tests.spark.test_spark_faults import START_S

pytestmark = [pytest.mark.integration, pytest.mark.spark, pytest.mark.timeout(400)]


@pytest.mark.parametrize("contract", EXAMPLES, ids=lambda contract: contract.table)
def test_engines_take_turns_on_another_event(
    contract: Contract, start: StartService, start_spark: StartSpark, topic: Topic, database: Database
) -> None:
    """Consumer, both at once, Spark alone, consumer: the ledger is the only truth, whatever the contract."""
    setting = prepare(database, contract)
    topic.create()
    sent = iter(events_of(contract, 12_000))
    stored: list[Values] = []

    def send_more() -> None:
        part = list(islice(sent, 3000))
        topic.send((f"key-{number % 100}".encode(), payload) for number, (payload, _) in enumerate(part))
        stored.extend(row for _, row in part)

    def all_stored() -> None:
        wait_until(lambda: database.passed() == topic.ends(), within_s=START_S, what="everything read")

    consumer = start("consumer", **setting)
    send_more()
    all_stored()
    spark = start_spark(**setting)
    send_more()
    all_stored()
    assert consumer.stop() == 0
    send_more()
    all_stored()
    wait_until(lambda: any(spark.events("Stored")), what="Spark says what it stored")
    assert spark.stop() == 0
    start("consumer", **setting)
    send_more()
    all_stored()

    assert rows_by_time(database, contract) == stored
    assert start("consumer", "verify", "--full", **setting).wait() == 0
