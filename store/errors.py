"""Errors of storing, for every engine."""

from common.errors import HeartbeatError, LedgerError


class StaleOwnerError(HeartbeatError):
    """Another consumer has advanced the ledger past this batch: drop it, and continue from the ledger's offsets."""


class ForgottenChangedError(HeartbeatError):
    """People were forgotten since this session read the list: read it again, and store the batch without them."""

    def __init__(self) -> None:
        super().__init__(
            "cannot store a batch: people were forgotten meanwhile", hint="It is stored again without them."
        )


class LogEndsEarlyError(LedgerError):
    """
    Kafka's log ends before the ledger's offset: it lost records, or another engine stored newer ones meanwhile.

    Args:
        message, hint: As for every error.
        partition: The partition of the log.
        expected: The ledger's offset. A log that has reached it by now has lost nothing.
    """

    def __init__(self, message: str, *, hint: str, partition: int, expected: int) -> None:
        super().__init__(message, hint=hint)
        self.partition = partition
        self.expected = expected


class NotHeldError(HeartbeatError):
    """Kafka does not hold, or cannot deliver, what shall be read again."""

    exit_code = 2


class RecordReplacedError(LedgerError):
    """
    Kafka holds another record at the offset of the last one that was taken: the log was cut and has grown again.

    Args:
        topic, partition, offset: The record's position.
    """

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(
            f"cannot continue {topic}[{partition}]: Kafka's log was cut and has grown again, it holds another record at"
            f" offset {offset} than the one that was read there",
            hint="Kafka lost records that are stored here, for example by a restored volume, and gave their offsets to"
            " new records, which are not stored. Copy those if you need them, delete the topic, then start the"
            " consumer, which creates it again.",
        )
