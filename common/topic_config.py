"""The topic's configuration, and how an existing topic differs from it."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from common.settings import Kafka

TIMESTAMP_TYPE: Final = "message.timestamp.type"
FEWEST_COPIES: Final = "min.insync.replicas"
# The broker looks for old segments every five minutes and deletes their files a minute later (log.retention.check.
# interval.ms, file.delete.delay.ms), both doubled here.
DELETED_WITHIN: Final = timedelta(minutes=12)
# The setting of each value, and what another value means if that is not obvious.
SOURCES: Final = {
    "retention.ms": "kafka.retention_hours",
    "retention.bytes": "kafka.retention_bytes",
    "max.message.bytes": "kafka.max_message_bytes",
    FEWEST_COPIES: "kafka.replication_factor",
}
MEANINGS: Final = {
    TIMESTAMP_TYPE: "records have their senders' times; timestamps are compared with the later of that and this clock",
    "cleanup.policy": "compaction deletes all but the newest message of each customer, also before they are read",
}


def wanted_config(kafka: Kafka) -> dict[str, str]:
    """Return the configuration of a new topic."""
    return {
        TIMESTAMP_TYPE: "LogAppendTime",  # validation compares timestamps with the broker's time
        "cleanup.policy": "delete",
        "retention.ms": str(kafka.retention_hours * 3_600_000 if kafka.retention_hours >= 0 else -1),
        "retention.bytes": str(kafka.retention_bytes),
        "max.message.bytes": str(kafka.max_message_bytes),
        # A message is acknowledged once so many brokers have it: of 3, one may lose its disk while another is away.
        FEWEST_COPIES: str((kafka.replication_factor + 1) // 2),
    }


def kept_for(found: Mapping[str, str | None]) -> timedelta | None:
    """
    Return how long Kafka keeps a record at most, by a topic's configuration; None if there is no limit that is known.

    A segment is deleted as a whole, when its newest record is old enough. It takes records for `segment.ms`.
    """
    if found.get("cleanup.policy") != "delete" or found.get(TIMESTAMP_TYPE) != "LogAppendTime":
        return None
    kept_ms, segment_ms = (int(found.get(name) or -1) for name in ("retention.ms", "segment.ms"))
    if kept_ms < 0 or segment_ms < 0:
        return None
    try:
        return timedelta(milliseconds=kept_ms + segment_ms) + DELETED_WITHIN
    except OverflowError:
        return None


def differences(
    kafka: Kafka, partitions: int, replication: int, found: Mapping[str, str | None]
) -> Iterator[tuple[str, str]]:
    """
    Compare an existing topic with the settings, which take effect only when a topic is created.

    Args:
        kafka: The settings.
        partitions: The number of the topic's partitions.
        replication: The copies of each partition.
        found: The topic's configuration; values that the broker does not report are not compared.
    Returns:
        For each difference, a line with both values, and a hint with the command that changes the topic.
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
    if replication < kafka.replication_factor:
        yield (
            f"{topic} has replication {replication}, and kafka.replication_factor is {kafka.replication_factor}",
            "Add copies with `kafka-reassign-partitions.sh`; until then, a broker that loses its disk loses messages.",
        )
    for name, wanted in wanted_config(kafka).items():
        value = found.get(name)
        if value is None or value == wanted:
            continue
        # More copies than asked for are no fault, and a topic with too few would accept no message.
        if name == FEWEST_COPIES and (int(value) > int(wanted) or replication < kafka.replication_factor):
            continue
        source = SOURCES.get(name)
        why = f"{source} asks for {wanted}" if source else f"not {wanted}: {MEANINGS[name]}"
        command = f"--entity-type topics --entity-name {kafka.topic} --add-config {name}={wanted}"
        run = f"kafka-configs.sh --bootstrap-server {kafka.bootstrap_servers} --alter {command}"
        yield (
            f"{topic} has {name}={value}, {why}",
            f"Change the topic with `{run}`{', or the setting' if source else ''}.",
        )
