"""What Kafka's client reports between the records is told apart from them, and takes none of them away."""

from confluent_kafka import KafkaError, Message
from structlog.testing import capture_logs

from common.errors import RefusedError
from common.settings import Kafka
from consumer.client_events import ClientEvents


def report(code: int, topic: str | None = "heartbeats", partition: int = 0) -> Message:
    """Return what `consume` returns for an error; a group's error has no topic, and 0 as its partition."""
    return Message(topic=topic, partition=partition, offset=7, error=KafkaError(code))


RECORD = Message(topic="heartbeats", partition=3, offset=7, value=b"")


def test_refusal_of_the_group_takes_no_record_away_and_is_of_no_partition() -> None:
    """It was raised in the middle of a call, and the records of that call were gone for the client."""
    events = ClientEvents(Kafka())

    assert events.records_of([RECORD, report(KafkaError.GROUP_AUTHORIZATION_FAILED, None), RECORD]) == [RECORD, RECORD]
    assert isinstance(events.refusal, RefusedError)
    assert events.failed == set()


def test_another_error_of_the_group_is_told() -> None:
    """It was taken for one of partition 0, and forgotten where that is somebody else's."""
    events = ClientEvents(Kafka())
    with capture_logs() as logs:
        events.records_of([report(KafkaError.GROUP_MAX_SIZE_REACHED, None)])

    assert (events.failed, events.refusal) == (set(), None)
    assert [line["log_level"] for line in logs] == ["warning"]


def test_refused_partition_is_one_that_failed() -> None:
    """So the search at its position tells it again and again, and it is no progress."""
    events = ClientEvents(Kafka())

    assert events.records_of([RECORD, report(KafkaError.TOPIC_AUTHORIZATION_FAILED, partition=3)]) == [RECORD]
    assert events.failed == {3}
