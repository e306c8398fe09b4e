"""The tables of users' own contracts: their keys, indexes and triggers cost no event, and stop no partition."""

from collections.abc import Iterator
from typing import Final, Protocol

import pytest
from psycopg import errors as pg

from common.errors import ConfigError
from common.event import MAX_FUTURE
from common.settings import Event
from common.topic_identity import TopicIdentity
from contracts.contract import Contract
from contracts.fields import Text, Timestamp
from contracts.load import contract_of
from store.batch import Batch, Slice
from store.errors import StaleOwnerError
from store.postgres import PostgresStore
from store.postgres_errors import is_taken_id
from store.validation import Decode
from tests.memory import MemoryCheck
from tests.pipeline import Database
from tests.records import MemoryRecord
from tests.roles import PASSWORD, made_for
from tests.store import credentials_for, settings_on

pytestmark = pytest.mark.integration

ITEMS: Final = Contract(
    title="Item", description="An item", table="items", key="code", time="at",
    fields=(Text("code"), Timestamp("at")),
)  # fmt: skip
INCOMING: Final = Contract(
    title="Item", description="An item", table="incoming", key="code", time="at", unique=("code",),
    fields=(Text("code", max_characters=9), Timestamp("at")),
)  # fmt: skip
TABLE: Final = "CREATE TABLE items (id bigint PRIMARY KEY, code text NOT NULL, at timestamptz NOT NULL)"
UNIQUE_TABLE: Final = "CREATE TABLE incoming (id bigint PRIMARY KEY, code text UNIQUE, at timestamptz)"
TOPIC: Final = TopicIdentity("items", "its id")
SKIP_ODD: Final = """
CREATE FUNCTION skip_odd() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE WHEN new.code = 'odd' THEN NULL ELSE new END;
END
$$;
CREATE TRIGGER skip_odd BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION skip_odd()
"""


class Open(Protocol):
    """Opens a store."""

    def __call__(self, name: str, role: tuple[str, str] | None = None) -> PostgresStore:
        """Open a session for a contract of this module, as a role with a password, or as the superuser."""


@pytest.fixture
def open_store(database: Database) -> Iterator[Open]:
    """Close what was opened."""
    opened: list[PostgresStore] = []

    def make(name: str, role: tuple[str, str] | None = None) -> PostgresStore:
        event = Event(contract=f"{__name__}:{name}")
        settings = settings_on(database).model_copy(update={"event": event})
        opened.append(PostgresStore(settings, credentials_for(database, role)))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def write(store: PostgresStore, name: str, *codes: str, start: int = 0) -> tuple[list[str], int]:
    """Store events with these codes; return the details of those that PostgreSQL refused, and the duplicates."""
    generation = store.positions(TOPIC, {0: (0, 10_000)})[0]
    records = [
        MemoryRecord(0, offset, b'{"code": "%s", "at": "2020-01-01T00:00:00Z"}' % code.encode())
        for offset, code in enumerate(codes, start)
    ]
    decode = Decode(contract_of(Event(contract=f"{__name__}:{name}")), MAX_FUTURE)
    batch = Batch.of([Slice(0, start, start + len(codes), records)], generation, decode)
    rejected = store.write(batch, TOPIC, MemoryCheck())
    return [one.detail or one.reason for one in rejected], batch.duplicates.total()


def test_event_that_an_index_cannot_hold_is_quarantined_alone(database: Database, open_store: Open) -> None:
    """PostgreSQL reports it as a limit of its own (54000), not as bad data: the batch was retried for ever."""
    database.query(TABLE)
    database.query("CREATE INDEX ON items (code)")
    long = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(3000))
    (refused,), _ = write(open_store("ITEMS"), "ITEMS", "a", long, "b")

    assert refused.startswith("54000 index row ")
    assert database.query("SELECT code FROM items ORDER BY id") == [("a",), ("b",)]


def test_event_whose_key_is_the_primary_key_is_quarantined_when_it_is_sent_again(
    database: Database, open_store: Open
) -> None:
    """Its constraint has the name that a row id's usually has; taken for one, it stopped the consumer for good."""
    database.query("CREATE TABLE items (id bigint NOT NULL, code text PRIMARY KEY, at timestamptz NOT NULL)")
    (refused,), _ = write(open_store("ITEMS"), "ITEMS", "a", "b", "a")

    assert refused.startswith("23505 ")
    assert database.query("SELECT id & 255, code FROM items ORDER BY id") == [(0, "a"), (1, "b")]


def test_row_id_is_recognized_by_its_column_whatever_the_constraint_is_called(
    database: Database, open_store: Open
) -> None:
    """Another consumer stored the batch: read the ledger again. Taken for bad data, its rows stopped the consumer."""
    database.query("CREATE TABLE items (id bigint CONSTRAINT place UNIQUE, code text, at timestamptz)")
    codes = [f"{number}" for number in range(30)]
    write(open_store("ITEMS"), "ITEMS", *codes)
    with pytest.raises(StaleOwnerError):
        write(open_store("ITEMS"), "ITEMS", *codes)

    assert database.query("SELECT count(*) FROM items") == [(30,)]
    assert database.query("SELECT count(*) FROM rejected_heartbeats") == [(0,)]


def test_taken_id_beside_another_index_is_recognized(database: Database) -> None:
    """Only an index on the row id proves that a message was stored before, also a partition's; others refuse a row."""
    database.query("CREATE TABLE parted (id bigint, day integer, PRIMARY KEY (id, day)) PARTITION BY LIST (day)")
    database.query("CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1)")
    database.query("CREATE UNIQUE INDEX ON parted_1 (day) INCLUDE (id)")
    database.query("INSERT INTO parted VALUES (1, 1)")
    found = []
    with database.connect() as connection:
        for row_id in (1, 2):
            with pytest.raises(pg.UniqueViolation) as caught:
                connection.execute("INSERT INTO parted VALUES (%s, 1)", (row_id,))
            found.append(is_taken_id(connection, caught.value))

        assert not is_taken_id(connection, pg.UniqueViolation("duplicate key"))
        assert not is_taken_id(connection, pg.CheckViolation("heartbeats_pkey"))
    assert found == [True, False]


def test_event_that_a_trigger_skips_is_quarantined(database: Database, open_store: Open) -> None:
    """PostgreSQL reports no error; the event was counted as stored, and was nowhere."""
    database.query(TABLE)
    database.query(SKIP_ODD.format("items"))

    assert write(open_store("ITEMS"), "ITEMS", "a", "odd", "b") == (
        ["P0001 the table took 0 of 1 rows: a trigger skipped the others"],
        0,
    )
    assert database.query("SELECT code FROM items ORDER BY id") == [("a",), ("b",)]
    assert database.query("SELECT stored, rejected FROM kafka_ledger") == [(2, 1)]


def test_unique_fields_are_refused_beside_a_trigger_that_may_skip_rows(database: Database, open_store: Open) -> None:
    """An event that it skips could not be told from a duplicate, and would be lost."""
    database.query(UNIQUE_TABLE)
    database.query(SKIP_ODD.format("incoming"))
    with pytest.raises(ConfigError, match="unique fields cannot be used with the trigger skip_odd"):
        open_store("INCOMING").positions(TOPIC, {0: (0, 0)})


def test_refused_event_does_not_change_the_order_of_the_others(database: Database, open_store: Open) -> None:
    """All sessions insert in one order, also around a refused event: two with the same events kept deadlocking."""
    database.query(UNIQUE_TABLE.replace("UNIQUE", "UNIQUE CHECK (code <> 'odd')"))
    codes = ["d", "c", "\U0001f600", "\uffff", "odd", "b", "a", "B", "d"]
    refused, duplicates = write(open_store("INCOMING"), "INCOMING", *codes)

    assert [words[:5] for words in refused] == ["23514"]
    assert duplicates == 1
    inserted = database.query("SELECT code, id & 255 FROM incoming ORDER BY ctid")
    assert inserted == sorted((code, codes.index(code)) for code in {*codes} - {"odd"})


def test_table_may_have_the_name_of_the_temporary_one(database: Database, open_store: Open) -> None:
    """A session finds its temporary tables first: events would have gone from one into itself, for ever failing."""
    database.query(UNIQUE_TABLE.replace("bigint", "bigint GENERATED ALWAYS AS IDENTITY"))

    assert write(open_store("INCOMING"), "INCOMING", "a", "b", "a") == ([], 1)
    assert database.query("SELECT code FROM incoming ORDER BY id") == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (TABLE.replace("items", "held") + "; CREATE VIEW items AS TABLE held", "it is no table of this database"),
        (TABLE.replace("TABLE", "UNLOGGED TABLE"), "it is UNLOGGED, so a crash of PostgreSQL empties it"),
        (f"{TABLE.replace('code text NOT NULL', 'x text')[:-1]}, code text GENERATED ALWAYS AS (x) STORED)",
         "column code is generated"),
        (TABLE.replace("timestamptz", "timestamptz(3)"), r"column at is timestamp\(3\) with time zone"),
        (f"CREATE DOMAIN moment AS timestamptz(0); {TABLE.replace('timestamptz', 'moment')}", r"at is timestamp\(0\)"),
    ],
    ids=["view", "unlogged", "generated", "rounded", "domain"],
)  # fmt: skip
def test_table_that_cannot_keep_events_is_refused_at_the_start(
    database: Database, open_store: Open, table: str, words: str
) -> None:
    """Some of them fail at each batch, for ever; an unlogged one loses what the ledger has counted."""
    database.query(table)
    with pytest.raises(ConfigError, match=words):
        open_store("ITEMS").positions(TOPIC, {0: (0, 0)})


def test_domains_and_limits_of_a_column_are_no_other_type(database: Database, open_store: Open) -> None:
    database.query("CREATE DOMAIN moment AS timestamptz; CREATE DOMAIN short AS varchar(20)")
    database.query("CREATE TABLE items (id bigint, code short NOT NULL, at moment)")
    database.query("CREATE TABLE incoming (id bigint, code varchar(9) UNIQUE, at timestamptz(6))")
    write(open_store("ITEMS"), "ITEMS", "a")

    assert open_store("INCOMING").positions(TopicIdentity("incoming", "another id"), {0: (0, 0)})[0] == 2
    assert database.query("SELECT code FROM items") == [("a",)]


def test_row_level_security_on_the_own_table_is_refused_at_the_start(database: Database, open_store: Open) -> None:
    """COPY fails under it, for ever; and verify would count the rows that a policy shows."""
    database.query(TABLE)
    database.query("ALTER TABLE items ENABLE ROW LEVEL SECURITY")
    with made_for(database) as roles:
        store = open_store("ITEMS", (roles.consumer, PASSWORD))
        with pytest.raises(ConfigError, match="row level security hides items from consumer_"):
            store.positions(TOPIC, {0: (0, 0)})


def test_rights_to_insert_select_and_stage_are_enough_for_unique_fields(database: Database, open_store: Open) -> None:
    """What docs/your-own-event.md tells to grant; beside a refused event and a row id that is taken."""
    database.query(UNIQUE_TABLE.replace("UNIQUE", "UNIQUE CHECK (code <> 'odd')"))
    with made_for(database) as roles:
        database.query(f"GRANT SELECT, INSERT ON incoming TO {roles.consumer}")
        database.query(f"GRANT TEMPORARY ON DATABASE {database.name} TO {roles.consumer}")
        login = roles.consumer, PASSWORD
        refused, duplicates = write(open_store("INCOMING", login), "INCOMING", "a", "odd", "a", "b")
        with pytest.raises(StaleOwnerError):
            write(open_store("INCOMING", login), "INCOMING", "a", "odd", "a", "b")

    assert ([words[:5] for words in refused], duplicates) == (["23514"], 1)
