"""Kafka and PostgreSQL keep what the loop's ends promise."""

from collections.abc import Iterator

import pytest

from common.settings import Consumer, Kafka, Settings
from consumer.interfaces import Source
from consumer.kafka_consumer import KafkaSource
from consumer.worker import leave_group
from local.waiting import wait_until
from store.events import Events
from store.postgres import PostgresStore
from tests.memory import RecordId
from tests.pipeline import Database, Topic
from tests.records import GOOD
from tests.source_claims import SourceClaims
from tests.store import open_store
from tests.store_claims import StoreClaims

pytestmark = pytest.mark.integration

PLACES = 'SELECT (kafka_place(id)).generation, (kafka_place(id)).partition, (kafka_place(id))."offset" FROM '


class KafkaLog:
    """The test's own topic, and the sessions that read it."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._topic.create(partitions=2)
        kafka = Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name, group_id=topic.name)
        self._settings = Settings().model_copy(update={"kafka": kafka})
        self.opened: list[KafkaSource] = []

    def send(self, partition: int, messages: int) -> None:
        self._topic.send(((None, GOOD) for _ in range(messages)), partition=partition)

    def open(self) -> KafkaSource:
        self.opened.append(KafkaSource(self._settings, lambda: None, Events("consumer")))
        self.opened[-1].subscribe()
        return self.opened[-1]

    def take_away(self, source: Source) -> int:
        """Let another session of the group ask for its share."""
        other = self.open()

        def is_shared() -> bool:
            other.rest()
            source.rest()
            return len(source.log_ends()) == 1

        wait_until(is_shared)
        return 1 - next(iter(source.log_ends()))

    def replace(self) -> None:
        self._topic.delete()
        self._topic.create(partitions=2)


class PostgresTables:
    """The test's own database, and the sessions that write into it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.opened: list[PostgresStore] = []

    def open(self) -> PostgresStore:
        self.opened.append(open_store(PostgresStore, self._database, Consumer(retention_days=0)))
        return self.opened[-1]

    def rows(self) -> list[RecordId]:
        return self._database.query(f"{PLACES} heartbeats ORDER BY id")

    def rejected(self) -> list[RecordId]:
        return self._database.query(f"{PLACES} rejected_heartbeats ORDER BY id")


@pytest.fixture
def log(topic: Topic) -> Iterator[KafkaLog]:
    made = KafkaLog(topic)
    yield made
    for source in made.opened:
        leave_group(source)


@pytest.fixture
def tables(database: Database) -> Iterator[PostgresTables]:
    made = PostgresTables(database)
    yield made
    for store in made.opened:
        store.close()


class TestKafkaSource(SourceClaims):
    """The claims of tests/source_claims.py."""


class TestPostgresStore(StoreClaims):
    """The claims of tests/store_claims.py."""
