"""The options of the consumer's Kafka client."""

from typing import Final

from common.kafka_client import client_options
from common.settings import Options, Settings

OWN_OPTIONS: Final[Options] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # a hole in the log stops us, it is never jumped over
    "isolation.level": "read_committed",
    "fetch.queue.backoff.ms": 20,  # 1 s by default: a queue that ran full would idle for that long
    "queued.min.messages": 20_000,  # two batches ahead; 100,000 by default, which memory grew with
    # Of each partition at a time. The default of 1 MB is ten thousand messages and more, once it is unpacked.
    "fetch.message.max.bytes": 256 * 1024,
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
    return client_options(kafka, own, settings.consumer.librdkafka)
