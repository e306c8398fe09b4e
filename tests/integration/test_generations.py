"""A row's id has room for 127 generations of topics: numbers whose rows are gone are used again, no others."""

from collections.abc import Iterator

import pytest

from common.errors import ConfigError
from common.event import MAX_FUTURE
from common.topic_identity import TopicIdentity
from contracts.heartbeats import HEARTBEATS
from store.batch import Batch, Slice
from store.postgres import PostgresStore
from store.row_id import LAST_GENERATION, LAST_OFFSET, pack, unpack
from store.validation import Decode
from tests.memory import MemoryCheck
from tests.pipeline import Database
from tests.records import MemoryRecord
from tests.store import open_store

pytestmark = pytest.mark.integration

AGAIN = TopicIdentity("again", "id of now")


@pytest.fixture
def store(database: Database) -> Iterator[PostgresStore]:
    """All numbers are given: 126 to a topic that was made again, one to another that was not."""
    database.query(
        "INSERT INTO kafka_topics (generation, topic_id, topic, first_seen_at)"
        " SELECT n, 'id ' || n, CASE n WHEN 40 THEN 'another' ELSE 'again' END,"
        # Not in the order of the numbers: some were used again before.
        " now() - interval '1 year' + (n + 60) % 127 * interval '1 day' FROM generate_series(1, 127) AS n"
    )
    database.query(
        "INSERT INTO kafka_ledger (generation, partition, start_offset, next_offset, stored, rejected, stored_dropped)"
        " SELECT n, p, 0, 10, 9, 1, 9 FROM generate_series(1, 127) AS n, generate_series(0, 1) AS p"
    )
    opened = open_store(PostgresStore, database)
    yield opened
    opened.close()


def number(store: PostgresStore, topic: TopicIdentity = AGAIN) -> int:
    return store.positions(topic, {0: (0, 100)})[0]


def drop_rejected(database: Database, *generations: int) -> None:
    database.query("UPDATE kafka_ledger SET rejected_dropped = rejected WHERE generation = ANY (%s)", list(generations))


def test_number_of_the_oldest_topic_without_rows_is_used_again(store: PostgresStore, database: Database) -> None:
    """Its ledger is not used again, and the new topic's rows get unused ids."""
    drop_rejected(database, 66, 7, 100, 40)  # 67 is the oldest of all, 66 the newest: that is current
    generation, positions = store.positions(AGAIN, {0: (5, 100)})
    batch = Batch.of([Slice(0, 5, 6, [MemoryRecord(0, 5)])], generation, Decode(HEARTBEATS, MAX_FUTURE))
    store.write(batch, AGAIN, MemoryCheck())

    assert (generation, positions[0].next_offset) == (100, 5)
    assert number(store) == 100
    assert database.query("SELECT topic_id FROM kafka_topics WHERE generation = 100") == [("id of now",)]
    assert database.query("SELECT partition, start_offset, stored FROM kafka_ledger WHERE generation = 100") == [
        (0, 5, 1)
    ]
    assert database.passed() == {0: 6}
    assert number(store, TopicIdentity("again", "yet another")) == 7


def test_number_that_somebody_freed_by_hand_is_used_unless_there_are_rows(
    store: PostgresStore, database: Database
) -> None:
    """A ledger that was deleted says nothing about the rows."""
    for generation in (3, 9):
        database.query("DELETE FROM kafka_ledger WHERE generation = %s", generation)
        database.query("DELETE FROM kafka_topics WHERE generation = %s", generation)
    database.query("INSERT INTO heartbeats VALUES (kafka_place_id(3, 65535, 1099511627775), 'CUST-1', now(), 70)")

    assert number(store) == 9


def test_database_whose_numbers_all_have_rows_takes_no_more_topics(store: PostgresStore, database: Database) -> None:
    """Neither those of a topic that is current, nor if a row contradicts the ledger, or rows vanished uncounted."""
    drop_rejected(database, 66, 40, 7)
    database.query("INSERT INTO heartbeats VALUES (kafka_place_id(7, 1, 3), 'CUST-1', now(), 70)")
    with pytest.raises(ConfigError, match="cannot read topic again: this database has had 127 generations") as raised:
        number(store)

    assert "retention_days" in raised.value.hint
    assert database.query("SELECT count(*) FROM kafka_topics") == [(127,)]


def test_numbers_rise_while_there_are_any(database: Database) -> None:
    """A number that was free for a while is not mistaken for that of an earlier topic."""
    database.query("INSERT INTO kafka_topics VALUES (5, 'x', 'again'), (126, 'y', 'again')")
    opened = open_store(PostgresStore, database)

    assert number(opened) == 127
    assert number(opened, TopicIdentity("again", "next")) == 1
    opened.close()


@pytest.mark.parametrize("place", [(1, 0, 0), (2, 3, 4), (LAST_GENERATION, 65535, LAST_OFFSET)])
def test_row_ids_are_the_same_in_python_and_in_sql(database: Database, place: tuple[int, int, int]) -> None:
    """Python packs them; SQL unpacks them, to count what retention drops."""
    found = database.query("SELECT kafka_place_id(%s, %s, %s), (kafka_place(%s)).*", *place, pack(*place))

    assert found == [(pack(*place), *unpack(pack(*place)))] == [(pack(*place), *place)]
