"""Which topic it is: a name can be used twice, and what was read of one topic must not count for its successor."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from common.errors import ConfigError, OutageError, TopicReplacedError
from common.topic import TopicAdmin, TopicState


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """Which topic: its name can be used again, its id cannot."""

    name: str
    topic_id: str


def identify(topic: TopicAdmin, name: str) -> tuple[TopicIdentity, int]:
    """
    Return what the topic is now, and how many partitions it has.

    Raises:
        OutageError: The broker does not answer, or there is no such topic (yet).
        ConfigError: The broker gives topics no ids.
    """
    state = topic.look()
    if state is None:
        raise OutageError(
            f"topic {name} does not exist",
            hint="Create it again, or restart the producer or the consumer, which create it at their start.",
        )
    return identity(name, state), state.partitions


def identity(name: str, state: TopicState) -> TopicIdentity:
    """Return the identity of a topic that was found; raise a `ConfigError` if its broker gives topics no ids."""
    if state.topic_id is None:  # the ledger would take this topic and the next one of its name for one
        raise ConfigError(
            f"cannot read topic {name}: its broker gives topics no ids, and the ledger knows a topic by its id",
            hint="Use Kafka 2.8 or newer (with ZooKeeper, inter.broker.protocol.version 2.8 or newer);"
            " Azure Event Hubs and older Redpanda versions give no ids.",
        )
    return TopicIdentity(name, state.topic_id)


class Check(Protocol):
    """Something that must hold when the ledger advances: asked while rows are copied, awaited before that."""

    def start(self) -> None:
        """Ask now, without waiting; anew if it was asked before."""

    def wait(self) -> None:
        """Wait for the answer, and ask first if `start` has not; raise a `HeartbeatError` if it does not hold."""


class TopicCheck:
    """A `Check` that the topic is still the one that was read, `expected`."""

    def __init__(self, topic: TopicAdmin, expected: TopicIdentity) -> None:
        self._topic = topic
        self._expected = expected
        self._answer: Callable[[], TopicState | None] = topic.look

    def start(self) -> None:
        """Ask the broker, without waiting."""
        self._answer = self._topic.ask()

    def wait(self) -> None:
        """Wait for the answer; raise `TopicReplacedError` if it is another topic or gone, or as `Topic.look`."""
        state, expected = self._answer(), self._expected
        if state is None or state.topic_id != expected.topic_id:
            raise TopicReplacedError(
                f"topic {expected.name} is not the one that was read: expected id {expected.topic_id},"
                f" found {state.topic_id if state else 'none'}",
                hint="It was deleted or made again; what was read of it is dropped, and reading starts on the new one.",
            )
