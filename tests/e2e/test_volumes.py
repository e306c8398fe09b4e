"""What is in the volumes survives the containers; what a lost volume held is replayed or begun anew."""

import pytest

from local.waiting import wait_until
from tests.e2e.stack import RECOVERY_S, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.fault, pytest.mark.timeout(600)]


def lose_volume(stack: Stack, service: str) -> None:
    """Remove a service's container and volume; the next `up` makes them anew."""
    stack.compose("rm", "--stop", "--force", service)
    stack.remove_volume(f"{service}-data")


def test_down_and_up_keeps_the_rows_and_goes_on(stack: Stack) -> None:
    """`down` is what people type to stop it: it removes the containers, and nothing else."""
    stack.wait_until_rows_flow()
    topics, rows = stack.query("SELECT topic_id FROM kafka_topics"), stack.rows()

    stack.compose("down")
    stack.start()
    stack.wait_until_rows_flow()

    assert stack.rows() > rows
    assert stack.query("SELECT topic_id FROM kafka_topics") == topics
    stack.assert_nothing_is_missing_or_twice()


def test_lost_postgresql_volume_is_filled_again_from_kafka(stack: Stack) -> None:
    """The ledger is gone with the rows: all that Kafka holds is read again, though the group's offsets are ahead."""
    stack.wait_until_rows_flow()

    lose_volume(stack, "postgresql")
    records = stack.kafka_records()
    stack.start()
    wait_until(lambda: stack.rows() >= records, RECOVERY_S, f"{records} rows")

    stack.wait_until_rows_flow()
    stack.assert_nothing_is_missing_or_twice()


def test_lost_kafka_volume_keeps_the_rows_and_goes_on(stack: Stack) -> None:
    """A topic made anew starts at offset 0 again: its rows must neither clash with the old ones nor be skipped."""
    stack.wait_until_rows_flow()
    stack.compose("down")
    stack.remove_volume("kafka-data")
    stack.start()
    stack.wait_until_rows_flow()

    generations = stack.query("SELECT generation, sum(stored) > 0 FROM kafka_ledger GROUP BY 1 ORDER BY 1")

    assert generations[-2:] == [(generations[-1][0] - 1, True), (generations[-1][0], True)]
    stack.assert_nothing_is_missing_or_twice()
