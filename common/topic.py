"""The topic: the first service that starts creates it. Its id identifies it, because a name can be used again."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Self

import structlog
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    ListConsumerGroupsResult,
    ListOffsetsResultInfo,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from common.errors import HeartbeatError, OutageError, RefusedError
from common.kafka_client import REPEAT_S, Complaints, client_options, explain
from common.runtime import StopFlag
from common.settings import Kafka
from common.topic_config import differences, wanted_config

REQUEST_TIMEOUT_S: Final = 5.0
RETRY_S: Final = 1.0
FLAP_S: Final = 2.0  # the client reconnects at once after a broker has closed an idle connection: that is no outage
PATIENCE_S: Final = 10.0  # for partitions to get a leader; then the others are used without them
NO_ID: Final = str(Uuid(0, 0))  # the answer of a broker whose topics have no ids


@dataclass(frozen=True, slots=True)
class TopicState:
    """
    The topic as the broker describes it.

    Args:
        topic_id: As Kafka's tools print it; None if the broker's topics have no ids.
        partitions: Their number.
        replication: The copies that the partition with the fewest has. A topic stays the same when it gets more.
    """

    topic_id: str | None
    partitions: int
    replication: int = field(default=1, compare=False)

    @classmethod
    def of(cls, found: TopicDescription) -> Self:
        """Return the state in a broker's answer."""
        topic_id = str(found.topic_id)
        replication = min((len(one.replicas) for one in found.partitions), default=1)
        return cls(None if topic_id == NO_ID else topic_id, len(found.partitions), replication)


class TopicAdmin:
    """Asks brokers about the topic and creates it, over a client of its own."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._asked_ends: Mapping[TopicPartition, Future[ListOffsetsResultInfo]] = {}
        self._complaints = Complaints()
        self._down_since = self._down_at = self._told_at = -math.inf
        try:
            options = {**client_options(kafka, {}, {}), "error_cb": self._complaints.note}
            self._admin = AdminClient(options, logger=self._complaints)  # type: ignore[arg-type]  # a gap in its stub
        except KafkaException as error:
            raise explain(error, kafka, "set up a Kafka client") from error

    def look(self) -> TopicState | None:
        """
        Return the topic's present state; None if there is no such topic.

        Raises:
            OutageError, ConfigError: The broker does not answer.
        """
        return self.ask()()

    def serve(self, failing: str = "") -> None:
        """
        Read the client's reports. Otherwise they accumulate in memory, most of all in an outage.

        Args:
            failing: What fails while no broker can be reached, as in `cannot <failing>`; logged every ten seconds.
                Empty if a request is waiting: its failure is logged.
        """
        self._admin.poll(0)
        if not self._complaints.fails_again():
            return
        now = time.monotonic()
        if now - self._down_at > REPEAT_S:
            self._down_since = now
        self._down_at = now
        if failing and now - self._down_since > FLAP_S and now - self._told_at > REPEAT_S:
            self._told_at = now
            error = explain(KafkaError(KafkaError._ALL_BROKERS_DOWN), self._kafka, failing, self._complaints)  # noqa: SLF001
            structlog.get_logger().warning("server unavailable", server="kafka", **error.fields)

    @property
    def is_down(self) -> bool:
        """Return whether connections to all brokers have failed for seconds, as of `serve`."""
        return self._down_at - self._down_since > FLAP_S and time.monotonic() - self._down_at < REPEAT_S

    def ask(self) -> Callable[[], TopicState | None]:
        """Ask as `look` does, without waiting. The function that is returned waits for the answer."""
        name = self._kafka.topic
        self.serve()
        try:
            future = self._admin.describe_topics(TopicCollection([name]), request_timeout=REQUEST_TIMEOUT_S)[name]
        except KafkaException as error:
            raise self._explained(error, f"look up topic {name}") from error

        def wait() -> TopicState | None:
            try:
                found = future.result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return None
                raise self._explained(error, f"look up topic {name}") from error
            self._complaints.clear()
            return TopicState.of(found)

        return wait

    def ask_groups(self) -> Future[ListConsumerGroupsResult]:
        """Ask all brokers, without waiting, for the consumer groups that they coordinate; raises as `look`."""
        try:
            return self._admin.list_consumer_groups(request_timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise self._explained(error, "look up the consumer groups") from error

    def is_led(self, partitions: int) -> bool:
        """
        Return whether every partition has a leader that answers.

        A broker reports a topic a moment before it accepts messages for it. It could reject a producer's first request
        and accept the next, and their order would be lost (https://issues.apache.org/jira/browse/KAFKA-15591).
        """
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        latest_of = {TopicPartition(self._kafka.topic, partition): latest for partition in range(partitions)}
        answers = self._admin.list_offsets(latest_of, request_timeout=REQUEST_TIMEOUT_S).values()
        # Without a leader there is no error, but the offset -1001.
        return all(answer.exception() is None and answer.result().offset >= 0 for answer in answers)

    def poll_ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the ends of logs from the answers to the last call's request, without waiting, and ask again."""
        answers, self._asked_ends = self._asked_ends, {}
        if not all(answer.done() for answer in answers.values()):
            self._asked_ends = answers
            return {}
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        with contextlib.suppress(KafkaException):  # the next call asks again
            self._asked_ends = self._admin.list_offsets(
                {TopicPartition(self._kafka.topic, partition): latest for partition in partitions},
                request_timeout=REQUEST_TIMEOUT_S,
                isolation_level=IsolationLevel.READ_COMMITTED,
            )
        found = {one.partition: answer.result().offset for one, answer in answers.items() if answer.exception() is None}
        return {partition: end for partition, end in found.items() if end >= 0}

    def create(self) -> bool:
        """
        Create the topic with the settings. Return False if it exists already.

        Raises:
            OutageError, ConfigError: The broker does not create it.
        """
        kafka = self._kafka
        topic = NewTopic(
            kafka.topic,
            num_partitions=kafka.partitions,
            replication_factor=kafka.replication_factor,
            config=wanted_config(kafka),
        )
        try:
            self._admin.create_topics([topic], request_timeout=REQUEST_TIMEOUT_S)[kafka.topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise self._explained(error, f"create topic {kafka.topic}") from error
        return True

    def _explained(self, error: KafkaException, tried: str) -> HeartbeatError:
        self.serve()  # reads the reason
        return explain(error, self._kafka, tried, self._complaints)

    def warn_of_differences(self, state: TopicState) -> None:
        """Log how an existing topic differs from the settings, if the broker lets us read its configuration."""
        if values := self.read_config():
            for difference, hint in differences(self._kafka, state.partitions, state.replication, values):
                structlog.get_logger().warning("topic differs from the settings", difference=difference, hint=hint)

    def read_config(self) -> dict[str, str | None]:
        """Return the topic's configuration; nothing if the broker does not let us read it, or does not answer."""
        resource = ConfigResource(ResourceType.TOPIC, self._kafka.topic)
        try:
            found = self._admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)[resource].result()
        except KafkaException:
            return {}
        return {name: entry.value for name, entry in found.items()}


def ensure_topic(kafka: Kafka, stop: StopFlag, known: TopicState | None = None) -> TopicState | None:
    """
    Wait until the topic accepts messages. Create it if it does not exist.

    Args:
        kafka: Addresses, and settings of the topic.
        stop: Ends the wait.
        known: The topic's state before. While it is the same, different settings are not logged again.
    Returns:
        The topic's state; None if `stop` was set first.
    Raises:
        ConfigError, RefusedError: The broker rejects the settings or us. An outage is retried, and so is a rejection
            if the topic is `known`.
    """
    log = structlog.get_logger()
    topic = TopicAdmin(kafka)
    logged, logged_at = "", 0.0
    patience_ends = math.inf
    while not stop.is_set():
        try:
            if (state := topic.look()) is not None:
                patience_ends = min(patience_ends, time.monotonic() + PATIENCE_S)
                if topic.is_led(state.partitions) or time.monotonic() > patience_ends:
                    if state != known:
                        topic.warn_of_differences(state)
                    return state
            elif topic.create():
                log.info("topic created", topic=kafka.topic, partitions=kafka.partitions)
        except OutageError as error:
            if isinstance(error, RefusedError) and known is None:
                raise
            if error.message != logged or time.monotonic() - logged_at > REPEAT_S:
                log.warning("server unavailable", server="kafka", **error.fields)
                logged, logged_at = error.message, time.monotonic()
        stop.wait(RETRY_S if logged else 0.1)
    return None
