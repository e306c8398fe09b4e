"""What every Kafka client here has in common: its options, its log, and what its errors mean."""

import logging
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException

from common.errors import ConfigError, HeartbeatError, OutageError
from common.settings import Kafka, Options

# Waiting does not heal these; anything unlisted is an outage.
MISTAKES: Final = {
    KafkaError._INVALID_ARG,  # noqa: SLF001 - the library's public names for its own codes begin so
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
    KafkaError.UNSUPPORTED_VERSION,
}
# A consumer's client carries on by itself; its loop sees that nothing arrives.
TRANSIENT: Final = {
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._FATAL,  # noqa: SLF001 - told apart by is_fatal
}
# The offset to read is not, or no more, in the log.
LOST_PLACE: Final = {
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.OFFSET_NOT_AVAILABLE,
}


class _ToStructlog(logging.Handler):
    """librdkafka's own log, at debug level: what matters of it reaches us as errors."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().debug("librdkafka", text=record.getMessage())


def client_options(kafka: Kafka, own: Options, given: Options) -> Options:
    """
    Put a client's options together.

    Args:
        kafka: The section; its `librdkafka` options hold for every client.
        own: What the service sets.
        given: The service's own `librdkafka` section, which goes over everything.
    """
    return {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": "heartbeat",
        "reconnect.backoff.max.ms": 2000,  # 10 s by default: a broker that is back should be found at once
        # 5 min by default. New partitions are seen within seconds, and so is the loss of the broker that a client takes
        # for the controller: until then, it could not ask for the topic's id.
        "topic.metadata.refresh.interval.ms": 10_000,
        **own,
        **kafka.librdkafka,
        **given,
    }


def client_log() -> logging.Logger:
    """Give the logger that every client gets, so that nothing is written to stderr behind our back."""
    log = logging.getLogger("librdkafka")
    if not log.handlers:
        log.addHandler(_ToStructlog())
        log.propagate = False
        log.setLevel(logging.DEBUG)
    return log


def explain(error: KafkaError | KafkaException, kafka: Kafka, tried: str) -> HeartbeatError:
    """
    Say what a Kafka error means for a person.

    Args:
        error: As the client gave it.
        kafka: Where we tried.
        tried: What we tried, as in `cannot <tried>`.
    Returns:
        A `ConfigError` where waiting is no use, otherwise an `OutageError`.
    """
    cause = error.args[0] if isinstance(error, KafkaException) else error
    code = cause.code() if isinstance(cause, KafkaError) else None
    text = " ".join((cause.str() if isinstance(cause, KafkaError) else str(cause)).split())
    if code in MISTAKES:
        return ConfigError(
            f"cannot {tried}: {text}",
            hint="Correct the kafka section of the settings (addresses, librdkafka options, rights of the user).",
        )
    return OutageError(
        f"cannot {tried} at {kafka.bootstrap_servers}: {text}",
        hint="Check that the broker runs and that HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS is an address it advertises.",
    )


def is_fatal(error: KafkaError) -> bool:
    """Tell whether the client that met this error can go on no more."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001
