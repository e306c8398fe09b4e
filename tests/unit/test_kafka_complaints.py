"""Why a request failed is known from what the client says of its connections, and in no other way."""

from confluent_kafka import KafkaError

from common.errors import OutageError, RefusedError
from common.kafka_client import Complaints, explain
from common.settings import Kafka


def refusal(attempt: int, broker: str = "sasl_ssl://b1:9093/1", why: str = "Authentication failed") -> KafkaError:
    """Make what the client says when a broker refuses it."""
    text = f"{broker}: SASL authentication error: {why} (after {attempt}ms in state AUTH_REQ)"
    return KafkaError(KafkaError._AUTHENTICATION, text)  # noqa: SLF001


def test_request_that_timed_out_is_told_by_what_the_client_said() -> None:
    """A request never says why; and the same cause is told in the same words, so that it is logged once."""
    kafka = Kafka(bootstrap_servers="b1:9093")
    timed_out = KafkaError(KafkaError._TIMED_OUT, "Failed while waiting for controller: Local: Timed out")  # noqa: SLF001
    complaints = Complaints()
    told = []
    for attempt in range(3):
        complaints.note(refusal(attempt))
        complaints.note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))  # noqa: SLF001
        told.append(explain(timed_out, kafka, "look up topic t", complaints))

    assert [type(one) for one in told] == [OutageError, OutageError, RefusedError]
    assert {one.message for one in told} == {
        "cannot look up topic t at b1:9093: sasl_ssl://b1:9093/1: SASL authentication error: Authentication failed"
    }

    complaints.clear()
    assert "Timed out" in explain(timed_out, kafka, "look up topic t", complaints).message


def test_broker_that_is_starting_or_stopping_does_not_refuse() -> None:
    """It breaks connections off, in the middle of a handshake, too, or refuses one before it knows its users."""
    complaints = Complaints()
    for attempt in range(5):
        complaints.note(refusal(attempt))
        complaints.note(refusal(attempt, why="Local: Broker transport failure"))
        complaints.note(refusal(attempt, broker=f"sasl_ssl://b2:9093/{attempt}"))

    assert not complaints.is_refused


def test_connection_that_ends_without_an_error_is_told_by_the_log() -> None:
    """A client without TLS at a port with TLS: all that is left of it is a line of the client's log."""
    complaints = Complaints()
    complaints.log(
        6,
        "%s [%s] %s",
        "FAIL",
        "rdkafka#producer-1",
        "[thrd:b1:9093/1]: b1:9093/1: Disconnected (after 2ms in state UP)",
    )
    timed_out = KafkaError(KafkaError._TIMED_OUT, "Timed out")  # noqa: SLF001
    found = explain(timed_out, Kafka(bootstrap_servers="b1:9093"), "look up topic t", complaints)

    assert found.message == "cannot look up topic t at b1:9093: b1:9093/1: Disconnected"
    assert "security.protocol" in found.hint
