"""Identifies a topic by its id: a name can be used again, and one topic's offsets must not count for the next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from common.errors import ConfigError, OutageError, TopicReplacedError
from common.topic import TopicAdmin, TopicState


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """A topic's name, which can be used again, and its id, which cannot."""

    name: str
    topic_id: str


def identify(topic: TopicAdmin, name: str) -> tuple[TopicIdentity, int]:
    """
    Return the topic's present identity, and the number of its partitions.

    Raises:
        OutageError: The broker does not answer, or there is no such topic (yet).
        ConfigError: The broker's topics have no ids.
    """
    state = topic.look()
    if state is None:
        raise OutageError(
            f"topic {name} does not exist",
            hint="Create it, or restart the producer or the consumer, which create it at their start.",
        )
    return identity(name, state), state.partitions


def identity(name: str, state: TopicState) -> TopicIdentity:
    """Return the identity of a topic; raise a `ConfigError` if its broker's topics have no ids."""
    if state.topic_id is None:  # the ledger could not distinguish this topic from the next one of its name
        raise ConfigError(
            f"cannot read topic {name}: its broker gives topics no ids, and the ledger identifies a topic by its id",
            hint="Use Kafka 2.8 or newer (with ZooKeeper, inter.broker.protocol.version 2.8 or newer);"
            " Azure Event Hubs and older Redpanda versions give no ids.",
        )
    return TopicIdentity(name, state.topic_id)


class Check(Protocol):
    """A condition for the ledger to advance. It is checked while rows are copied."""

    def start(self) -> None:
        """Start a check, without waiting."""

    def wait(self) -> None:
        """Wait for the result, and start the check first if needed; raise a `HeartbeatError` if it failed."""


class TopicCheck:
    """A `Check` that the topic is still the `expected` one."""

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
                hint="It was deleted or re-created. What was read of it is dropped, and the new one is read.",
            )
