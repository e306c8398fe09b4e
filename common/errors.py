"""
The errors that a person may see: one line that says what was tried, one HINT line that says what to do.

Every error that is raised on purpose derives from `HeartbeatError`. Its class has the exit code.
"""

from collections.abc import Iterable

from common.secrets import without_secrets
from common.text import visible


class HeartbeatError(Exception):
    """
    Base class of errors that a person can act on.

    Args:
        message: Lower case, what was tried and the values, no full stop.
        hint: A full sentence saying what to do.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return visible(f"{self.message}\nHINT: {self.hint}", keep="\n")

    @property
    def fields(self) -> dict[str, str]:
        """The fields of a log event that reports this error."""
        return {"error": self.message, "hint": self.hint}


class ConfigError(HeartbeatError):
    """A setting, a credential or a name is wrong. Retrying does not help."""

    exit_code = 2


class OutageError(HeartbeatError):
    """Kafka or PostgreSQL cannot be used now. A retry may succeed later."""


class RefusedError(OutageError):
    """
    A server rejects our login, certificate or rights.

    At a service's start this is an operator's mistake, and the service stops. Later, a password or a certificate may be
    about to change, so the step is retried as in any outage.
    """

    exit_code = 2


class LedgerError(HeartbeatError):
    """Kafka, the ledger and the rows contradict each other. Continuing could lose or repeat heartbeats."""

    exit_code = 3


class TopicReplacedError(HeartbeatError):
    """The topic was deleted or re-created: what was read belongs to the old one."""


class NoLeaderError(OutageError):
    """
    Some partitions have no leader and cannot be read. The others can.

    Args:
        topic: Its name.
        partitions: Those without a leader.
    """

    def __init__(self, topic: str, partitions: Iterable[int]) -> None:
        super().__init__(
            f"cannot read {topic}[{', '.join(map(str, sorted(partitions)))}]: no leader answers for it",
            hint="Start or repair the broker that holds them. The other partitions are read meanwhile.",
        )


class StoppedError(HeartbeatError):
    """A person pressed Ctrl-C before a command had finished."""

    exit_code = 130  # 128 + SIGINT, as shells have it


def one_line(error: BaseException) -> str:
    """Return the first line of an error's text, without secrets. Drivers append whole paragraphs."""
    return without_secrets(next(iter(str(error).strip().splitlines()), type(error).__name__))
