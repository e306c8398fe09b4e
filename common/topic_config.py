"""What the topic's settings should be, and how an existing topic differs from that."""

from collections.abc import Iterator, Mapping
from typing import Final

from common.settings import Kafka

TIMESTAMP_TYPE: Final = "message.timestamp.type"
# Where each value comes from, and what another value means where that is not plain.
SOURCES: Final = {
    "retention.ms": "kafka.retention_hours",
    "retention.bytes": "kafka.retention_bytes",
    "max.message.bytes": "kafka.max_message_bytes",
}
MEANINGS: Final = {
    TIMESTAMP_TYPE: "records have their senders' times; timestamps are compared with the later of that and our clock",
    "cleanup.policy": "compaction deletes all but the newest message of each customer, also before they are read",
}


def wanted_config(kafka: Kafka) -> dict[str, str]:
    """Return the configuration that a topic is made with."""
    return {
        TIMESTAMP_TYPE: "LogAppendTime",  # the time that a verdict rests on is the broker's
        "cleanup.policy": "delete",
        "retention.ms": str(kafka.retention_hours * 3_600_000 if kafka.retention_hours >= 0 else -1),
        "retention.bytes": str(kafka.retention_bytes),
        "max.message.bytes": str(kafka.max_message_bytes),
    }


def differences(kafka: Kafka, partitions: int, found: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    """
    Compare an existing topic with the settings, which count only when a topic is made.

    Args:
        kafka: The settings.
        partitions: How many the topic has.
        found: Its configuration; what the broker does not name is not compared.
    Returns:
        For each difference a line that names both values, and a hint with the command that changes the topic.
    """
    topic = f"topic {kafka.topic}"
    if partitions != kafka.partitions:
        command = f"--topic {kafka.topic} --partitions {kafka.partitions}"
        yield (
            f"{topic} has {partitions} partitions, and kafka.partitions is {kafka.partitions}",
            f"Add partitions with `kafka-topics.sh --bootstrap-server {kafka.bootstrap_servers} --alter {command}`."
            if partitions < kafka.partitions
            else f"Partitions cannot be removed; set HEARTBEAT_KAFKA__PARTITIONS={partitions}.",
        )
    for name, wanted in wanted_config(kafka).items():
        value = found.get(name)
        if value is None or value == wanted:
            continue
        source = SOURCES.get(name)
        why = f"{source} asks for {wanted}" if source else f"not {wanted}: {MEANINGS[name]}"
        command = f"--entity-type topics --entity-name {kafka.topic} --add-config {name}={wanted}"
        run = f"kafka-configs.sh --bootstrap-server {kafka.bootstrap_servers} --alter {command}"
        yield (
            f"{topic} has {name}={value}, {why}",
            f"Change the topic with `{run}`{', or the setting' if source else ''}.",
        )
