"""The consumer's Kafka client and its options."""

from contextlib import suppress
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException

from common.kafka_client import client_log, client_options, explain
from common.settings import Options, Settings

MAX_FETCH_BYTES: Final = 256 * 1024
OVERHEAD_BYTES: Final = 512  # of an answer beyond the batches in it; the client insists on it

OWN_OPTIONS: Final[Options] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # a hole in the log stops us, it is never jumped over
    "isolation.level": "read_committed",
    "fetch.queue.backoff.ms": 20,  # 1 s by default: a queue that ran full would idle for that long
    "queued.min.messages": 20_000,  # two batches ahead; 100,000 by default, which memory grew with
    # Of each partition at a time. The default of 1 MB is ten thousand messages and more, once it is unpacked.
    "fetch.message.max.bytes": MAX_FETCH_BYTES,
    # Of one answer. A gzip batch unpacks to a thousand times its size at most: an answer full of them, to 270 MB.
    "fetch.max.bytes": MAX_FETCH_BYTES,
    "message.max.bytes": MAX_FETCH_BYTES,  # a producer's option, but the client wants it to be the smaller one
    "receive.message.max.bytes": 32 * 1024**2,  # also of one zstd batch, unpacked; 100 MB by default
    "check.crcs": True,  # a bit that flipped on a disk would become a wrong row
    "enable.partition.eof": True,  # says that the offsets before the log's end hold no record
    "queued.max.messages.kbytes": 32 * 1024,  # bounds memory, whatever the lag
}
# With the new protocol the broker holds the session's settings and refuses them from the client.
CLASSIC_OPTIONS: Final[Options] = {"session.timeout.ms": 10_000, "partition.assignment.strategy": "cooperative-sticky"}


def consumer_options(settings: Settings) -> Options:
    """Put the client's options together: ours, those of the group's protocol, and what the settings pass through."""
    kafka = settings.kafka
    own: Options = {"group.id": kafka.group_id, "group.protocol": kafka.group_protocol, **OWN_OPTIONS}
    if kafka.group_protocol == "classic":
        own |= CLASSIC_OPTIONS
    options = client_options(kafka, own, settings.consumer.librdkafka)
    with suppress(ValueError):  # no number: the client reports it
        # The client refuses options that do not fit each other, even if only one of them was set.
        options["fetch.max.bytes"] = fetch = max(int(options["fetch.max.bytes"]), int(options["message.max.bytes"]))
        options["receive.message.max.bytes"] = max(int(options["receive.message.max.bytes"]), fetch + OVERHEAD_BYTES)
    return options


def open_consumer(settings: Settings, **over: Any) -> Consumer:  # noqa: ANN401 - also callbacks
    """Return a client with the consumer's options and those `over` them; raise as `explain` if it cannot be set up."""
    try:
        return Consumer({**consumer_options(settings), **over}, logger=client_log())
    except KafkaException as error:
        raise explain(error, settings.kafka, "set up a Kafka consumer") from error
