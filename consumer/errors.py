"""How the consumer's two ends fail, in the words the loop between them understands."""

from collections.abc import Iterable

from common.errors import BooksError, HeartbeatError, OutageError


class StaleOwnerError(HeartbeatError):
    """Another consumer has advanced the books past this batch: it is dropped, and read again from the books."""


class PredecessorFailedError(HeartbeatError):
    """The batch before this one was not stored, so this one must not be either; both are read again."""


class LogEndsEarlyError(BooksError):
    """
    Kafka's log ends before the books: it lost records, unless another engine stored some that came after we had looked.

    Args:
        message, hint: As for every error.
        partition: Whose log it is.
        expected: Where the books stand. A log that has reached it by now has lost nothing.
    """

    def __init__(self, message: str, *, hint: str, partition: int, expected: int) -> None:
        super().__init__(message, hint=hint)
        self.partition = partition
        self.expected = expected


class RecordReplacedError(BooksError):
    """
    Kafka holds another record where the last one was taken: its log lost records and has grown again.

    Args:
        topic, partition, offset: Where.
    """

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(
            f"cannot go on in {topic}[{partition}]: Kafka's log was cut and has grown again, it holds another record at"
            f" offset {offset} than the one that was taken from there",
            hint="Kafka lost records that are stored here, for example by a restored volume, and gave their offsets to"
            " new ones, which are not stored. Copy those if they matter, delete the topic, then start the consumer,"
            " which makes it again.",
        )


class TopicReplacedError(HeartbeatError):
    """The topic was deleted, or made again under the same name: what was read belongs to the old one."""


class MembershipLostError(HeartbeatError):
    """The Kafka client can go on no more, for example since the broker forgot the group: a new one is needed."""


class NoLeaderError(OutageError):
    """
    Partitions cannot be read, since no broker leads them now; the others can.

    Args:
        topic: Its name.
        partitions: Those without a leader.
    """

    def __init__(self, topic: str, partitions: Iterable[int]) -> None:
        super().__init__(
            f"cannot read {topic}[{', '.join(map(str, sorted(partitions)))}]: no leader answers for it",
            hint="The other partitions are read meanwhile; start or repair the broker that holds these.",
        )
