"""What all Kafka clients share: options, log, and the meaning of errors."""

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

# Retrying does not help with these. Any other error is an outage.
MISTAKES: Final = {
    KafkaError._INVALID_ARG,  # noqa: SLF001 - the library's public names for its own codes begin so
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
    KafkaError.UNSUPPORTED_VERSION,
}
# The broker rejects us, or we do not trust its certificate.
REFUSALS: Final = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
REFUSED_IN_A_ROW: Final = 3  # a broker that is starting or stopping may reject a connection once
# A consumer's client retries these by itself; the loop sees that no record arrives.
TRANSIENT: Final = {
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._FATAL,  # noqa: SLF001 - is_fatal recognizes it
}
# The log does not hold the offset to read, or no longer.
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
    """Writes librdkafka's log at debug level: its errors reach us in other ways."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().debug("librdkafka", text=without_secrets(record.getMessage()))


class Complaints:
    """
    Keeps what a client reports about its connections: a failed request says only that it timed out.

    A client reports only while it is polled, and keeps unreported events in memory. So every client must be polled all
    the time. This object is the client's logger, and its `note` is the client's `error_cb`.
    """

    def __init__(self) -> None:
        self.last = ""  # why a connection failed; empty after a success
        self._all_down = False  # reported once, when an outage starts
        self._is_new = False
        self._refused: Counter[str] = Counter()

    @property
    def is_refused(self) -> bool:
        """Return whether a broker has rejected us several times in a row."""
        return max(self._refused.values(), default=0) >= REFUSED_IN_A_ROW

    def fails_again(self) -> bool:
        """Return whether no broker can be reached and a connection has failed since the last call."""
        is_new, self._is_new = self._is_new, False
        return self._all_down and is_new

    def clear(self) -> None:
        """Forget everything, after a success."""
        self.last, self._all_down = "", False
        self._refused.clear()

    def note(self, error: KafkaError) -> None:
        """Note an error that belongs to no request."""
        self._is_new = True
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._all_down = True
            return  # the log has the cause
        self.last = _plain(error.str())
        broker = self.last.partition(": ")[0]
        if error.code() in REFUSALS and "Local: " not in self.last:  # "Local": the connection was lost
            self._refused[broker] += 1
        else:
            self._refused.pop(broker, None)

    def log(self, level: int, form: str, facility: str, client: str, text: str) -> None:
        """Write a line of the client's log, and note it: some lost connections are reported nowhere else."""
        client_log().log(level, form, facility, client, text)
        if facility == "FAIL":
            self.last = _plain(text)


def _plain(text: str) -> str:
    """Return the text without what differs between attempts, so that the same cause has the same words."""
    return re.sub(r"^\[thrd:\S*\]: | \(after \d+ms in state \w+\)", "", " ".join(without_secrets(text).split()))


def client_options(kafka: Kafka, own: Options, given: Options) -> Options:
    """
    Return a client's options.

    Args:
        kafka: The section; its `librdkafka` options apply to every client.
        own: The options of the service.
        given: The service's `librdkafka` section, which overrides all others.
    """
    return {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": f"heartbeat-{socket.gethostname()}",  # in compose, the container's id
        "reconnect.backoff.max.ms": 2000,  # 10 s by default; a broker that is back should be found at once
        # 5 min by default. The client sees new partitions within seconds, and a lost controller, too: without a
        # controller, it cannot ask for the topic's id.
        "topic.metadata.refresh.interval.ms": 10_000,
        **own,
        **kafka.librdkafka,
        **given,
    }


def client_log() -> logging.Logger:
    """Return the logger of every client. Without it, librdkafka writes to stderr."""
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
    Return our error for one of Kafka's.

    Args:
        error: The client's error.
        kafka: The address.
        tried: What was tried, as in `cannot <tried>`.
        complaints: What the client reported about its connections.
    Returns:
        A `ConfigError` if retrying is no use, a `RefusedError` if the broker rejects us, otherwise an `OutageError`.
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
    """Return whether the client cannot continue after this error."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001
