"""Kafka's end of the producer: every message is acknowledged, or counted as undelivered."""

import time
from collections import Counter
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from common.kafka_client import Complaints, client_options, explain
from common.settings import Options, Settings
from producer.encoding import Messages

OWN_OPTIONS: Final[Options] = {
    "enable.idempotence": True,  # a retry after a lost acknowledgement is not a second message
    "acks": "all",
    "message.timeout.ms": 0,  # a message never expires: an outage fills the queue, and that holds the generator back
    "queue.buffering.max.messages": 200_000,  # 200 s at 1,000/s, 60 MB
    "linger.ms": 5,  # latency against the size of requests; a row is to be seen within a quarter of a second
    "compression.type": "lz4",  # at full speed the broker needs a third less CPU, and we no more
    # Kafka's own Java clients and tools choose the same partition for a key; librdkafka's default does not.
    "partitioner": "murmur2_random",
    # A Python call for each acknowledgement would cost a third of the speed; they are counted by what is left.
    "delivery.report.only.error": True,
}

# The client counts a batch before it is compressed, and the broker after that. What does not shrink grows by less than
# this; above 1 MB, the client's own message.max.bytes is the limit.
COMPRESSION_ROOM_BYTES: Final = 1024

# Why messages are given up at the end, in our words: the client calls both "purged".
AT_THE_END: Final = {
    KafkaError._PURGE_QUEUE: "given up before they could be sent",  # noqa: SLF001 - the library's public names begin so
    KafkaError._PURGE_INFLIGHT: "given up before they were acknowledged, so some may have arrived",  # noqa: SLF001
}


class KafkaSender:
    """
    Sends messages and counts what becomes of them.

    Args:
        settings: Addresses, topic and options.
    """

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._waiting: Messages = []
        self._again: Messages | None = None  # while the client is renewed, what the old one held
        self._accepted = 0
        self._failed = 0  # of those accepted
        self.fatal_error = ""  # the client rejects all messages from now on
        self._complaints = Complaints()
        self.delivered = 0
        self.undelivered: Counter[str] = Counter()
        # A batch that is too large for the topic is given up for good, with everything in it.
        own: Options = {**OWN_OPTIONS, "batch.size": self._kafka.max_message_bytes - COMPRESSION_ROOM_BYTES}
        options = client_options(self._kafka, own, settings.producer.librdkafka)
        self._options = {**options, "on_delivery": self._reported, "error_cb": self._note}
        try:
            self._producer = Producer(self._options, logger=self._complaints)
        except KafkaException as error:
            raise explain(error, self._kafka, "set up a Kafka producer") from error

    @property
    def in_flight(self) -> int:
        """Messages that are neither acknowledged nor counted as undelivered."""
        return self._accepted - self._failed - self.delivered + len(self._waiting)

    @property
    def last_error(self) -> str:
        """What the client complained of since the last acknowledgement."""
        return self._complaints.last

    @property
    def is_full(self) -> bool:
        """Return whether messages wait for room in the queue; call `poll` until none does."""
        return bool(self._waiting)

    def send(self, messages: Messages) -> None:
        """Queue messages, in order, behind those that still wait for room."""
        self._waiting += messages
        self._offer()

    def poll(self, timeout_s: float) -> None:
        """Serve acknowledgements for at most `timeout_s` seconds."""
        try:
            self._producer.poll(timeout_s)
        except KafkaException as error:  # a fatal one comes this way, too
            self._note(error.args[0])
        if self._waiting:
            self._offer()
        # Other events of the client count as left, too, so this may lag behind by a few, but never runs ahead.
        delivered = self._accepted - self._failed - len(self._producer)
        if delivered > self.delivered:
            self.delivered = delivered
            self._complaints.clear()

    def renew(self) -> None:
        """
        Replace the client, since this one waits for a topic that no longer exists.

        What it had not sent yet is sent by the new one; what was on its way may have arrived, and is given up.
        """
        self._again = []
        self._producer.purge()
        self._flush(30)  # only serves the reports, which are all there now
        self._waiting, self._again = self._again + self._waiting, None
        self._producer = Producer(self._options, logger=self._complaints)
        self._offer()

    def finish(self, timeout_s: float) -> int:
        """
        Wait until everything is acknowledged, at most `timeout_s` seconds.

        Returns:
            How many messages were given up instead.
        """
        before = self.undelivered.total()
        deadline = time.monotonic() + timeout_s
        while self._waiting and time.monotonic() < deadline:
            self.poll(0.05)
        if self._flush(max(0.0, deadline - time.monotonic())):
            self._producer.purge()
            self._flush(30)  # only serves the reports, which are all there now
        if self._waiting:
            self.undelivered[AT_THE_END[KafkaError._PURGE_QUEUE]] += len(self._waiting)  # noqa: SLF001
            self._waiting = []
        self.poll(0)
        return self.undelivered.total() - before

    def _flush(self, timeout_s: float) -> int:
        """Wait until no message is left, and return how many still are."""
        try:
            return self._producer.flush(timeout_s)
        except KafkaException as error:
            self._note(error.args[0])
            return len(self._producer)

    def _offer(self) -> None:
        offered, self._waiting = self._waiting, []
        accepted = self._producer.produce_batch(self._kafka.topic, offered)
        self._accepted += accepted
        if accepted == len(offered):
            return
        for message in offered:
            error = message.pop("_error", None)  # put there by produce_batch, on all after the first without room
            if not isinstance(error, KafkaError):
                continue
            if error.code() == KafkaError._QUEUE_FULL:  # noqa: SLF001
                self._waiting.append(message)
            else:
                self._give_up(error)

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        self._failed += 1
        if self._again is None or error.code() != KafkaError._PURGE_QUEUE:  # noqa: SLF001
            self._give_up(error)
        else:
            self._again.append({"key": message.key(), "value": message.value()})

    def _give_up(self, error: KafkaError) -> None:
        self.undelivered[AT_THE_END.get(error.code()) or error.str()] += 1

    def _note(self, error: KafkaError) -> None:
        self._complaints.note(error)
        if error.fatal():
            self.fatal_error = error.str()
