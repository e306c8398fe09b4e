"""How the loop's own parts fail."""

from common.errors import HeartbeatError


class PredecessorFailedError(HeartbeatError):
    """The batch before this one was not stored, so this one must not be either; both are read again."""


class MembershipLostError(HeartbeatError):
    """The Kafka client can go on no more, for example since the broker forgot the group: a new one is needed."""
