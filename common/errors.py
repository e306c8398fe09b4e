"""
The errors a person may see: one line that says what was tried, one HINT line that says what to do.

Everything raised on purpose derives from `HeartbeatError`; the exit code belongs to the class.
"""

from collections.abc import Iterable

from common.secrets import without_secrets
from common.text import visible


class HeartbeatError(Exception):
    """
    Something went wrong that a person can do something about.

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


class ConfigError(HeartbeatError):
    """A setting, a credential or a name is wrong: waiting does not heal it."""

    exit_code = 2


class OutageError(HeartbeatError):
    """Kafka or PostgreSQL cannot be used now; the same step may succeed later, so it is waited out."""


class RefusedError(OutageError):
    """
    A server refuses who we are or what we may do.

    At a service's start that is a person's mistake and ends the service. Later, a password or a certificate may be
    about to be changed, so it is waited out like every outage.
    """

    exit_code = 2


class LedgerError(HeartbeatError):
    """Kafka and the ledger contradict each other: going on could lose or repeat heartbeats, so the service stops."""

    exit_code = 3


class TopicReplacedError(HeartbeatError):
    """The topic was deleted, or made again under the same name: what was read belongs to the old one."""


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


class StoppedError(HeartbeatError):
    """A person pressed Ctrl-C before a command was through."""

    exit_code = 130  # 128 + SIGINT, as shells have it


def one_line(error: BaseException) -> str:
    """Return the first line of an error's text, without secrets: drivers append whole paragraphs."""
    return without_secrets(next(iter(str(error).strip().splitlines()), type(error).__name__))
