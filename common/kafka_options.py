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
    "auto.offset.reset": "error",  # a hole in the log stops the consumer and is never skipped
    "isolation.level": "read_committed",
    "fetch.queue.backoff.ms": 20,  # 1 s by default: after a full queue, fetching would pause for so long
    "queued.min.messages": 20_000,  # two batches ahead; 100,000 by default, which takes more memory
    # Of one partition in one answer. The default of 1 MB can be ten thousand messages or more.
    "fetch.message.max.bytes": MAX_FETCH_BYTES,
    # Of one answer. gzip unpacks to at most a thousand times the size, so an answer to at most 270 MB.
    "fetch.max.bytes": MAX_FETCH_BYTES,
    "message.max.bytes": MAX_FETCH_BYTES,  # a producer's option; the client allows no larger value than above
    "receive.message.max.bytes": 32 * 1024**2,  # also of one zstd batch, unpacked; 100 MB by default
    "check.crcs": True,  # otherwise a bit flipped on a disk would become a wrong row
    "enable.partition.eof": True,  # confirms that offsets before the log's end hold no record
    "queued.max.messages.kbytes": 32 * 1024,  # bounds memory at any lag
}
# With the new group protocol, the broker has these settings and rejects them from a client.
CLASSIC_OPTIONS: Final[Options] = {"session.timeout.ms": 10_000, "partition.assignment.strategy": "cooperative-sticky"}


def consumer_options(settings: Settings) -> Options:
    """Return the client's options: ours, those of the group protocol, and those in the settings."""
    kafka = settings.kafka
    own: Options = {"group.id": kafka.group_id, "group.protocol": kafka.group_protocol, **OWN_OPTIONS}
    if kafka.group_protocol == "classic":
        own |= CLASSIC_OPTIONS
    options = client_options(kafka, own, settings.consumer.librdkafka)
    with suppress(ValueError):  # not a number: the client rejects it
        # The client rejects inconsistent options, also if the settings have only one of them.
        options["fetch.max.bytes"] = fetch = max(int(options["fetch.max.bytes"]), int(options["message.max.bytes"]))
        options["receive.message.max.bytes"] = max(int(options["receive.message.max.bytes"]), fetch + OVERHEAD_BYTES)
    return options


def open_consumer(settings: Settings, **over: Any) -> Consumer:  # noqa: ANN401 - also callbacks
    """Return a client with the consumer's options, overridden by `over`. Raises as `explain` returns."""
    try:
        return Consumer({**consumer_options(settings), **over}, logger=client_log())
    except KafkaException as error:
        raise explain(error, settings.kafka, "set up a Kafka consumer") from error
