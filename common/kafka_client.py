"""What every Kafka client here has in common: its options, its log, and what its errors mean."""

import logging
import re
import socket
from collections import Counter
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException

from common.errors import ConfigError, HeartbeatError, OutageError, RefusedError
from common.secrets import without_secrets
from common.settings import Kafka, Options

# Waiting does not heal these; anything unlisted is an outage.
MISTAKES: Final = {
    KafkaError._INVALID_ARG,  # noqa: SLF001 - the library's public names for its own codes begin so
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
    KafkaError.UNSUPPORTED_VERSION,
}
# The broker refuses us, or we do not trust it.
REFUSALS: Final = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
REFUSED_IN_A_ROW: Final = 3  # a broker that is just starting or stopping may refuse a connection once
# A consumer's client carries on by itself; its loop sees that nothing arrives.
TRANSIENT: Final = {
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._FATAL,  # noqa: SLF001 - told apart by is_fatal
}
# The offset to read is not, or no more, in the log.
OFFSET_LOST: Final = {
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.OFFSET_NOT_AVAILABLE,
}


REPEAT_S: Final = 10.0  # an outage is logged when its cause changes, and this often
CORRECT: Final = (
    "Correct the kafka section of the settings: the addresses must be those in the broker's certificate, the librdkafka"
    " options must fit the broker, and the user needs rights."
)


class _ToStructlog(logging.Handler):
    """librdkafka's own log, at debug level: what matters of it reaches us as errors."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().debug("librdkafka", text=without_secrets(record.getMessage()))


class Complaints:
    """
    Keep what a client says of its connections: a request that fails only says that it timed out.

    A client reports only while it is polled, and keeps what it has not reported in memory. So each client is polled all
    the time, used or not. This object is the client's logger, and its `note` is the client's `error_cb`.
    """

    def __init__(self) -> None:
        self.last = ""  # why a connection failed; empty since something worked
        self._all_down = False  # said once, at the beginning of an outage
        self._is_new = False
        self._refused: Counter[str] = Counter()

    @property
    def is_refused(self) -> bool:
        """Return whether a broker keeps rejecting us."""
        return max(self._refused.values(), default=0) >= REFUSED_IN_A_ROW

    def fails_again(self) -> bool:
        """Return whether no broker can be reached, and a connection has failed since the last call."""
        is_new, self._is_new = self._is_new, False
        return self._all_down and is_new

    def clear(self) -> None:
        """Forget everything: something has worked."""
        self.last, self._all_down = "", False
        self._refused.clear()

    def note(self, error: KafkaError) -> None:
        """Take an error that belongs to no request."""
        self._is_new = True
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._all_down = True
            return  # the log has said why
        self.last = _plain(error.str())
        broker = self.last.partition(": ")[0]
        if error.code() in REFUSALS and "Local: " not in self.last:  # that is a lost connection's
            self._refused[broker] += 1
        else:
            self._refused.pop(broker, None)

    def log(self, level: int, form: str, facility: str, client: str, text: str) -> None:
        """Take a line of the client's log: some connections end with nothing else."""
        client_log().log(level, form, facility, client, text)
        if facility == "FAIL":
            self.last = _plain(text)


def _plain(text: str) -> str:
    """Leave out what differs from one attempt to the next, so that the same cause gives the same text."""
    return re.sub(r"^\[thrd:\S*\]: | \(after \d+ms in state \w+\)", "", " ".join(without_secrets(text).split()))


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
        "client.id": f"heartbeat-{socket.gethostname()}",  # in compose, the container's id
        "reconnect.backoff.max.ms": 2000,  # 10 s by default: a broker that is back should be found at once
        # 5 min by default. New partitions are seen within seconds, and so is the loss of the broker that a client takes
        # for the controller: until then, it could not ask for the topic's id.
        "topic.metadata.refresh.interval.ms": 10_000,
        **own,
        **kafka.librdkafka,
        **given,
    }


def client_log() -> logging.Logger:
    """Return the logger that every client gets, so that it writes nothing to stderr."""
    log = logging.getLogger("librdkafka")
    if not log.handlers:
        log.addHandler(_ToStructlog())
        log.propagate = False
        log.setLevel(logging.DEBUG)
    return log


def explain(
    error: KafkaError | KafkaException, kafka: Kafka, tried: str, complaints: Complaints | None = None
) -> HeartbeatError:
    """
    Turn a Kafka error into one for people.

    Args:
        error: As the client gave it.
        kafka: Where we tried.
        tried: What we tried, as in `cannot <tried>`.
        complaints: What the client said of its connections.
    Returns:
        A `ConfigError` where waiting is no use, a `RefusedError` where the broker refuses us, else an `OutageError`.
    """
    cause = error.args[0] if isinstance(error, KafkaException) else error
    code = cause.code() if isinstance(cause, KafkaError) else 0
    text = " ".join(without_secrets(cause.str() if isinstance(cause, KafkaError) else str(cause)).split())
    if code in MISTAKES:
        return ConfigError(f"cannot {tried}: {text}", hint=CORRECT)
    if code < 0 and complaints is not None and complaints.last:  # the client's own words, not the broker's
        text = complaints.last
    message = f"cannot {tried} at {kafka.bootstrap_servers}: {text}"
    if code in REFUSALS or (code < 0 and complaints is not None and complaints.is_refused):
        return RefusedError(message, hint=CORRECT)
    return OutageError(
        message,
        hint="Check that the broker runs, that HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS is an address it advertises, and that"
        " security.protocol in kafka.librdkafka is what it expects there.",
    )


def is_fatal(error: KafkaError) -> bool:
    """Return whether this error ends the client for good."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001
