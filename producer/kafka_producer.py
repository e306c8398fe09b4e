"""Kafka's end of the producer: every message is acknowledged, or counted as undelivered."""

from collections import Counter
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from common.errors import HeartbeatError
from common.kafka_client import client_log, client_options, explain
from common.settings import Options, Settings
from common.telemetry import DELIVERED, IN_FLIGHT, UNDELIVERED
from producer.encoding import Messages

OWN_OPTIONS: Final[Options] = {
    "enable.idempotence": True,  # a retry after a lost acknowledgement is not a second message
    "acks": "all",
    "message.timeout.ms": 0,  # a message never expires: an outage fills the queue, and that holds the generator back
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 256 * 1024,
    "linger.ms": 5,  # latency against the size of requests; a row is to be seen within a quarter of a second
    "compression.type": "lz4",  # a third of the bytes, and cheaper than sending them
    # Kafka's own Java clients and tools choose the same partition for a key; librdkafka's default does not.
    "partitioner": "murmur2_random",
}


class KafkaSender:
    """
    Sends messages and counts what becomes of them.

    Args:
        settings: Addresses, topic and options.
    """

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._fatal: KafkaError | None = None
        self.delivered = 0
        self.undelivered: Counter[str] = Counter()
        options = client_options(self._kafka, OWN_OPTIONS, settings.producer.librdkafka)
        try:
            self._producer = Producer(
                {**options, "on_delivery": self._count, "error_cb": self._note_fatal}, logger=client_log()
            )
        except KafkaException as error:
            raise explain(error, self._kafka, "set up a Kafka producer") from error

    @property
    def in_flight(self) -> int:
        """Messages that are neither acknowledged nor given up."""
        return len(self._producer)

    def offer(self, messages: Messages) -> Messages:
        """
        Queue messages, in order.

        Returns:
            Those for which the queue had no room; offer them again, before any others, after some `poll`.
        """
        if self._producer.produce_batch(self._kafka.topic, messages) == len(messages):
            return []
        refused = []
        for message in messages:
            error = message.pop("_error", None)  # put there by produce_batch
            if not isinstance(error, KafkaError):
                continue
            if error.code() == KafkaError._QUEUE_FULL:  # noqa: SLF001 - the library's name
                refused.append(message)
            else:
                self._give_up(error.str(), 1)
        return refused

    def poll(self, timeout_s: float) -> None:
        """
        Serve acknowledgements for at most `timeout_s` seconds.

        Raises:
            HeartbeatError: The client can go on no more without risking the order or a second copy.
        """
        self._producer.poll(timeout_s)
        IN_FLIGHT.set(len(self._producer))
        if self._fatal is not None:
            raise HeartbeatError(
                f"cannot go on sending to {self._kafka.topic}: {self._fatal.str()}",
                hint="Start the producer again; if it happens again, look into the broker's log.",
            )

    def finish(self, timeout_s: float) -> int:
        """
        Wait until everything is acknowledged, at most `timeout_s` seconds.

        Returns:
            How many messages were given up instead.
        """
        left = self._producer.flush(timeout_s)
        if left:
            self._producer.purge()
            self._producer.flush(1)
        return left

    def _count(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.delivered += 1
            DELIVERED.inc()
        else:
            self._give_up(error.str(), 1)

    def _give_up(self, reason: str, count: int) -> None:
        self.undelivered[reason] += count
        UNDELIVERED.labels(reason).inc(count)

    def _note_fatal(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error
