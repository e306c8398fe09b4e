"""How the way into the tables fails, in the words that every engine understands."""

from common.errors import BooksError, HeartbeatError


class StaleOwnerError(HeartbeatError):
    """Another consumer has advanced the books past this batch: it is dropped, and read again from the books."""


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
