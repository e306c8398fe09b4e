"""A contract or a table that is changed while the table holds rows: each mistake is one line, and no row is damaged."""

from contextlib import closing
from typing import Any, Final

import pytest

from common.errors import ConfigError
from common.settings import Event
from contracts.contract import Contract
from contracts.fields import AnyField, Float, Integer, Json, Text, Timestamp
from store.postgres import PostgresStore
from store.replay import replay
from tests.conftest import StartService
from tests.daily import TOPIC, store_days
from tests.pipeline import Database, Topic
from tests.store import credentials_for, settings_on

pytestmark = pytest.mark.integration

AT: Final = Timestamp("at")
CODE: Final = Text("code")
SIZE: Final = Integer("size", size=8)
TABLE: Final = "CREATE TABLE visits (id bigint PRIMARY KEY, code text NOT NULL, at timestamptz NOT NULL, size bigint)"
LATER: Final = b'{"code": "b", "at": "2020-01-01T00:00:00Z", "size": 7, "rank": 1.5}'  # in quarantine


def contract(*fields: AnyField, **others: Any) -> Contract:  # noqa: ANN401 - any argument of a contract
    given: dict[str, Any] = {"table": "visits", "key": "code", "time": "at", **others}
    return Contract(title="Visit", description="A visit", fields=fields, **given)


BEFORE: Final = contract(CODE, AT, Integer("size", size=8, nullable=True))
CHANGES: Final[dict[str, tuple[Contract, str | None]]] = {
    "added": (contract(*BEFORE.fields, Float("rank", nullable=True)), "column rank is missing"),
    "removed": (contract(CODE, AT), None),
    "renamed": (
        contract(Text("name"), AT, key="name"), "column name is missing; column code is NOT NULL, but no field fills it"
    ),
    "type": (contract(CODE, AT, Float("size")), "column size is bigint, not double precision"),
    "smaller": (contract(CODE, AT, Integer("size", size=4)), "column size is bigint, not integer"),
    "required": (contract(CODE, AT, SIZE), None),
    "nullable": (contract(Text("code", nullable=True), AT, SIZE, key="size"), "column code is NOT NULL"),
    "narrower": (contract(Text("code", max_characters=1), AT), None),
    "unique": (contract(Text("code", max_characters=9), AT, unique=("code",)), r"unique index on \(code\) is missing"),
    "kept": (contract(CODE, AT, keep_unknown_in="more"), "column more is missing"),
    "json": (contract(CODE, AT, Json("size")), "column size is bigint, not jsonb"),
    "time": (contract(CODE, Timestamp("since"), time="since"), "column since is missing"),
}  # fmt: skip
EVENT: Final = Event(contract=f"{__name__}:CHANGED")
HELD: Final = "SELECT array_agg(visits ORDER BY id) FROM visits"


@pytest.fixture
def filled(database: Database) -> Database:
    """A database whose table holds three events; a fourth waits in quarantine."""
    database.query(TABLE)
    store_days(database, 0, 1, 2)
    database.query(
        """INSERT INTO rejected_heartbeats (id, topic, partition, "offset", payload, payload_length, reason,
                                            appended_at)
           VALUES (kafka_place_id(1, 0, 3), 'visits', 0, 3, %s, %s, 'size_range', now())""",
        LATER, len(LATER),
    )  # fmt: skip
    database.query("UPDATE kafka_ledger SET next_offset = 4, rejected = 1")
    return database


def begin(database: Database) -> None:
    """Do what a consumer does before it stores."""
    with closing(PostgresStore(settings_on(database, event=EVENT), credentials_for(database))) as store:
        store.positions(TOPIC, {0: (0, 4)})


def replay_all(database: Database) -> int:
    """Return how many messages moved."""
    settings = settings_on(database, event=EVENT)
    return replay(settings, credentials_for(database), reason=None, dry_run=False, say=lambda _: None).moved


@pytest.mark.parametrize("name", CHANGES)
def test_change_that_does_not_fit_the_table_is_told_before_a_row_is_stored(
    name: str, filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replay stores, too: it copied the bits of a float into an integer's column, unnoticed by PostgreSQL."""
    changed, fault = CHANGES[name]
    monkeypatch.setitem(globals(), "CHANGED", changed)
    before = filled.query(HELD)
    if fault is None:
        begin(filled)
        assert replay_all(filled) == 1
        assert filled.query("SELECT count(*) FROM visits") == [(4,)]
        return
    for act in (begin, replay_all):
        with pytest.raises(ConfigError, match=fault) as told:
            act(filled)

        assert "\n" not in told.value.message
        assert told.value.hint
    assert filled.query(HELD) == before
    assert len(filled.rejected()) == 1


def test_renamed_table_goes_on_where_it_was(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger knows the table by its name; the hint says how its owner tells it the new one."""
    filled.query("ALTER TABLE visits RENAME TO guests")
    monkeypatch.setitem(globals(), "CHANGED", contract(CODE, AT, table="guests"))
    with pytest.raises(ConfigError, match="its events are stored in visits") as told:
        begin(filled)
    statement = "UPDATE kafka_topics SET table_name = 'guests' WHERE table_name = 'visits';"
    assert statement in told.value.hint
    filled.query(statement)
    begin(filled)

    assert replay_all(filled) == 1
    assert filled.query("SELECT count(*) FROM guests") == [(4,)]


@pytest.mark.parametrize("command", [("replay",), ("verify", "--full")])
def test_command_without_the_table_says_so(command: tuple[str, ...], start: StartService, topic: Topic) -> None:
    """A person types it before the SQL file, or with a contract that names another table."""
    topic.create(partitions=1)
    done = start("consumer", *command, HEARTBEAT_EVENT__CONTRACT="examples.oxygen.contract:OXYGEN")

    assert done.wait() == 1
    assert any(words in done.text() for words in ("there is no table oxygen", '"oxygen\\" does not exist'))
    assert "Traceback" not in done.text()
