"""Errors of the loop's parts."""

from common.errors import HeartbeatError, OutageError


class PredecessorFailedError(HeartbeatError):
    """The previous batch was not stored, so this one must not be stored either. Both are read again."""


class MembershipLostError(HeartbeatError):
    """The Kafka client cannot continue, for example because the broker forgot the group. A new client is needed."""


class NoCoordinatorError(OutageError):
    """
    The consumer gets no partition, because no broker coordinates its group.

    Args:
        servers: The broker's addresses.
        group_id: The group's name.
    """

    def __init__(self, servers: str, group_id: str) -> None:
        super().__init__(
            f"cannot get a partition from group {group_id} at {servers}: the group has no coordinator",
            hint="Check with kafka-topics.sh --describe that the topic __consumer_offsets exists and that each of its"
            " partitions has a leader. Kafka cannot create it on fewer brokers than the broker's setting"
            " offsets.topic.replication.factor asks for (by default 3).",
        )
