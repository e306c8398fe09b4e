"""The list of forgotten people: the store obeys it from the moment at which it is there, and only up to its offsets."""

from collections.abc import Iterator

import pytest

from common.event import MAX_FUTURE
from common.topic_identity import TopicIdentity
from contracts.heartbeats import HEARTBEATS
from store.batch import Batch, Slice
from store.forgotten import hash_of
from store.postgres import PostgresStore
from store.validation import Decode
from tests.corpus.case import event
from tests.memory import MemoryCheck
from tests.pipeline import Database
from tests.records import MemoryRecord
from tests.store import open_store

pytestmark = pytest.mark.integration

TOPIC = TopicIdentity("heartbeats", "id of now")
GONE = '"CUST-000002"'
LEDGER = "SELECT partition, next_offset, stored, rejected, erased FROM kafka_ledger ORDER BY partition"


@pytest.fixture
def store(database: Database) -> Iterator[PostgresStore]:
    opened = open_store(PostgresStore, database)
    opened.positions(TOPIC, {0: (0, 100), 1: (0, 100)})
    yield opened
    opened.close()


def forget(database: Database, *before_offsets: int, name: bytes = b"CUST-000002") -> None:
    """Do what `forget` does to the list."""
    database.query("INSERT INTO forgotten VALUES (1, %s, %s)", hash_of(name), list(before_offsets))
    database.query("UPDATE kafka_ledger SET forgotten_version = forgotten_version + 1")


def batch(first: int, *payloads: bytes, partition: int = 0) -> Batch:
    records = [MemoryRecord(partition, offset, payload) for offset, payload in enumerate(payloads, first)]
    part = Slice(partition, first, first + len(payloads), records)
    return Batch.of([part], 1, Decode(HEARTBEATS, MAX_FUTURE))


def test_session_that_read_the_list_before_stores_by_the_new_one(store: PostgresStore, database: Database) -> None:
    """A consumer keeps the list in memory. The ledger refuses its batch, and it reads the list again by itself."""
    other = event(customer_id=GONE)
    store.write(batch(0, event(), other), TOPIC, MemoryCheck())
    forget(database, 5, 5)
    for first in (2, 4, 6):
        written = batch(first, other, event())
        store.write(written, TOPIC, MemoryCheck())

    assert database.query("SELECT (kafka_place(id)).\"offset\" FROM heartbeats WHERE customer_id = 'CUST-000002'") == [
        (1,),
        (6,),  # sent after the moment of forgetting: a new matter
    ]
    assert database.query(LEDGER) == [(0, 8, 6, 0, 2), (1, 0, 0, 0, 0)]
    assert written.messages == 2


@pytest.mark.parametrize(
    "payload",
    [
        b'{"customer_id": "CUST-000002"}',
        b'{"customer_id": "CUST\\u002d000002", "heart_rate": "x"}',
        b'{"customer_id": "CUST-000002", "heart_r',
        b'"{\\"customer_id\\": \\"CUST-000002\\"}"',
        b"CUST-000002;70;2026-11-28",
        b"CUST-000002|70|2026-11-28",
        b"customer_id=CUST-000002&heart_rate=70",
        b'\xff{"customer_id":"CUST-000002"}',
        b'[{"customer_id": "CUST-000002"}]',
    ],
)
def test_message_that_is_no_event_is_not_quarantined_again(
    store: PostgresStore, database: Database, payload: bytes
) -> None:
    """Nobody can say what the key of a broken payload is: any word of it may be the name."""
    forget(database, 9)
    store.write(batch(0, payload, b'{"customer_id": "CUST-0000021"}', b'{"customer_id": 7, "a": "CUST-000002"}'), TOPIC,
                MemoryCheck())  # fmt: skip

    assert database.query(LEDGER)[0] == (0, 3, 0, 2, 1)


def test_message_whose_kafka_key_is_the_name_is_not_quarantined_again(store: PostgresStore, database: Database) -> None:
    """The key says whose it is when the payload says nothing. An event's payload decides alone."""
    forget(database, 9, name=b"CUST-000001")  # the key of every MemoryRecord
    store.write(batch(0, b"broken", event(customer_id=GONE)), TOPIC, MemoryCheck())

    assert database.query(LEDGER)[0] == (0, 2, 1, 0, 1)


def test_list_of_an_older_topic_does_not_count_for_the_next_one(store: PostgresStore, database: Database) -> None:
    """A topic that is made again starts at offset 0."""
    forget(database, 9)
    store.write(batch(0, event(customer_id=GONE)), TOPIC, MemoryCheck())
    again = TopicIdentity("heartbeats", "id of the next")
    generation, _ = store.positions(again, {0: (0, 100)})
    part = Slice(0, 0, 1, [MemoryRecord(0, 0, event(customer_id=GONE))])
    store.write(Batch.of([part], generation, Decode(HEARTBEATS, MAX_FUTURE)), again, MemoryCheck())

    assert database.count() == 1
