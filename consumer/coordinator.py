"""Detects a group without a coordinator: its members get no partitions, and Kafka's client does not say why."""

import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

from confluent_kafka.admin import ListConsumerGroupsResult

from common.errors import HeartbeatError
from common.settings import Kafka
from common.topic import TopicAdmin
from consumer.errors import NoCoordinatorError

PATIENCE_S: Final = 30.0  # without a partition; longer than a rebalance usually takes
ASK_EVERY_S: Final = 60.0  # a spare consumer never has a partition
ASK_AGAIN_S: Final = 5.0  # after an answer without the group
MISSES: Final = 2  # in a row; after one, a broker may just have been restarting


class Coordinator:
    """
    Asks the brokers, while this consumer has no partition, whether one of them coordinates its group.

    It does not call `describe_consumer_groups`: without a coordinator, librdkafka 2.16 runs into the timeout, and
    aborts the process (`eonce->refcnt > 0`) if a coordinator appears later.

    Args:
        admin: Sends the requests.
        kafka: Address and group.
    """

    def __init__(self, admin: TopicAdmin, kafka: Kafka) -> None:
        self._admin = admin
        self._kafka = kafka
        self._ask_at = time.monotonic() + PATIENCE_S
        self._asked: Future[ListConsumerGroupsResult] | None = None
        self._misses = 0  # answers in a row without the group

    def check(self, *, has_partitions: bool) -> None:
        """
        Ask once a minute while there is no partition, without waiting for the answer.

        If a broker coordinates the group, all is well: other members have the partitions, or will get them.

        Raises:
            NoCoordinatorError: The last answers show none. Each call raises it until an answer shows one.
        """
        now = time.monotonic()
        if has_partitions:
            self._asked, self._misses, self._ask_at = None, 0, now + PATIENCE_S
        elif self._asked is None and now >= self._ask_at:
            self._asked = self._admin.ask_groups()
        elif self._asked is not None and self._asked.done():
            self._count(self._asked)
            self._asked, self._ask_at = None, now + (ASK_AGAIN_S if self._misses else ASK_EVERY_S)
        if self._misses >= MISSES:
            raise NoCoordinatorError(self._kafka.bootstrap_servers, self._kafka.group_id)

    def _count(self, asked: Future[ListConsumerGroupsResult]) -> None:
        """Count an answer. A failed request changes nothing."""
        if asked.exception() is not None:
            return
        if any(group.group_id == self._kafka.group_id for group in asked.result().valid or []):
            self._misses = 0
            return
        with suppress(HeartbeatError):
            self._admin.look()
            self._misses += 1
