"""Which topic it is: a name can be used twice, and what was read of one topic must not be booked for its successor."""

from collections.abc import Callable

from common.errors import OutageError
from common.topic import Topic
from consumer.batch import TopicIdentity
from consumer.errors import TopicReplacedError


def identify(topic: Topic, name: str) -> tuple[TopicIdentity, int]:
    """
    Give what the topic is now, and how many partitions it has.

    Raises:
        OutageError, ConfigError: The broker does not say, or there is no such topic (yet).
    """
    state = topic.look()
    if state is None:
        raise OutageError(
            f"topic {name} does not exist",
            hint="Create it again, or restart the producer or the consumer, which create it at their start.",
        )
    return TopicIdentity(name, state.topic_id), state.partitions


def confirm(topic: Topic, expected: TopicIdentity) -> Callable[[], None]:
    """
    Ask now whether the topic is still the one that was read.

    Returns:
        A function that waits for the answer and raises `TopicReplacedError` if it is another one or gone,
        `OutageError` if the broker does not answer.
    """
    answer = topic.ask()

    def wait() -> None:
        state = answer()
        if state is None or state.topic_id != expected.topic_id:
            raise TopicReplacedError(
                f"topic {expected.name} is not the one that was read: expected id {expected.topic_id},"
                f" found {state.topic_id if state else 'none'}",
                hint="It was deleted or made again; what was read of it is dropped, and reading starts on the new one.",
            )

    return wait
