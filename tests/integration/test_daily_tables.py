"""A table of one's own that is partitioned by day has the retention that heartbeats have."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import errors as pg

from common.errors import ConfigError, OutageError
from examples.trades.contract import TRADES
from examples.trades.producer import trade
from local.waiting import wait_until
from store.maintenance import Maintenance
from tests.conftest import StartService
from tests.daily import COLUMNS, DAY, DAYS, DROPPED, PLACES, REGISTER, TABLE, open_maintenance, store_days
from tests.events import prepare
from tests.pipeline import Database, Topic
from tests.roles import PASSWORD, Roles, made_for

pytestmark = pytest.mark.integration


@pytest.fixture
def visits(database: Database) -> Database:
    """A database with a daily table beside the heartbeats."""
    database.query(TABLE)
    assert database.query(REGISTER) == [(True,)]
    return database


@pytest.fixture
def roles(visits: Database) -> Iterator[Roles]:
    with made_for(visits) as made:
        visits.query(f"GRANT SELECT, INSERT ON visits TO {made.consumer}")
        yield made


@pytest.fixture
def forgotten(visits: Database) -> Iterator[psycopg.Connection]:
    """A transaction that somebody left open in a terminal."""
    with visits.connect() as connection:
        connection.execute("BEGIN")
        yield connection


def maintain(database: Database, login: tuple[str, str] | None = None, days: int = 7) -> Maintenance:
    """Run each step once."""
    maintenance = open_maintenance(database, login, days)
    maintenance.run_due()
    maintenance.stop()
    return maintenance


def day_of(ago: int) -> str:
    return f"visits_{datetime.now(UTC) - ago * DAY:%Y%m%d}"


def test_trades_are_dropped_after_their_consumers_retention_and_counted(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Each event has its own topic, table and retention in one database, and its own proof from the ledger."""
    setting = prepare(database, TRADES)
    topic.create(partitions=1)
    with made_for(database) as roles:
        database.query(f"GRANT SELECT, INSERT ON trades TO {roles.consumer}")
        database.query("INSERT INTO heartbeats VALUES (1, 'CUST-1', now() - interval '20 days', 70)")
        now = datetime.now(UTC).isoformat()[:10].encode()
        for ago in (0, 3, 20, 400):
            day = f"{datetime.now(UTC) - ago * DAY:%Y-%m-%d}".encode()
            topic.send([(b"ABC", trade("ABC").replace(now, day, 1))] * 5)
        consumer = start("consumer", **setting, **roles.as_consumer, HEARTBEAT_CONSUMER__RETENTION_DAYS="5")
        wait_until(lambda: database.passed() == topic.ends(1), within_s=60, what="all messages passed")
        wait_until(lambda: database.query(DROPPED) == [(20, 10)], within_s=90, what="the old trades dropped")
        assert consumer.stop() == 0

        assert start("consumer", "verify", "--full", **setting, **roles.as_consumer).wait() == 0
    assert "Traceback" not in consumer.text()
    kept = database.query("SELECT DISTINCT tableoid::regclass::text FROM trades ORDER BY 1")
    assert kept == [(f"trades_{datetime.now(UTC) - ago * DAY:%Y%m%d}",) for ago in (3, 0)]
    assert database.count() == 1
    assert database.query("SELECT count(*) FROM heartbeats_horizon") == [(0,)]


def test_days_of_a_backlog_are_made_before_its_rows_in_the_consumers_role(visits: Database, roles: Roles) -> None:
    """No row has to be moved later; days that retention drops at once make no table."""
    store_days(visits, 0, 5, 9, 40, login=(roles.consumer, PASSWORD))

    assert dict(visits.query(PLACES)) == {day_of(0): 1, day_of(5): 1, day_of(9): 1, "visits_default": 1}


def test_maintenance_makes_coming_days_moves_strays_and_drops_old_rows(visits: Database, roles: Roles) -> None:
    """What waits in the default partition gets its day, or is deleted there; the ledger counts both."""
    store_days(visits, 0, 2, 9, 40)
    stray, coming = day_of(2), day_of(-7)
    visits.query(f"ALTER TABLE visits DETACH PARTITION {stray}")
    visits.query(f"WITH moved AS (TABLE {stray}) INSERT INTO visits TABLE moved")
    visits.query(f"DROP TABLE {stray}, {coming}")
    maintain(visits, (roles.consumer, PASSWORD))

    assert dict(visits.query(PLACES)) == {day_of(0): 1, stray: 1}
    assert visits.query("SELECT to_regclass(%s)::text, to_regclass(%s)", coming, day_of(9)) == [(coming, None)]
    assert visits.query(DROPPED) == [(4, 2)]


def test_floor_of_the_owner_holds_for_every_table(visits: Database, roles: Roles) -> None:
    """A consumer whose setting is too short, or is a thief's, drops nothing that the owner keeps."""
    visits.query("UPDATE retention_floor SET retention_days = 30")
    store_days(visits, 0, 9, 29)
    maintain(visits, (roles.consumer, PASSWORD), days=1)

    assert visits.query(DAYS.format("visits")) == [([0, 9, 29],)]


def test_day_in_use_is_dropped_later_and_holds_nobody_up(visits: Database, forgotten: psycopg.Connection) -> None:
    """A drop waits at most 0.2 s for a lock, because every reader and writer queues behind it."""
    store_days(visits, 0, 9, 10)
    maintenance = open_maintenance(visits)
    forgotten.execute(f"LOCK TABLE {day_of(10)} IN ACCESS SHARE MODE".encode())
    began = time.monotonic()
    with pytest.raises(OutageError, match=f"cannot drop {day_of(10)}: a transaction uses it"):
        maintenance.drop_days()
    took_s = time.monotonic() - began
    assert visits.query(DAYS.format("visits")) == [([0, 10],)]

    forgotten.execute("ROLLBACK")
    maintenance.drop_days()
    maintenance.stop()
    assert took_s < 1
    assert visits.query(DAYS.format("visits")) == [([0],)]


def test_table_that_allows_no_new_day_still_stores(visits: Database) -> None:
    """An owner's trigger refuses to move rows: taken for an outage, it stopped the partition for good."""
    visits.query("INSERT INTO visits VALUES (1, 'a', now() - interval '5 days')")
    visits.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'nothing is deleted here'; END $$"
    )
    visits.query("CREATE TRIGGER refuse BEFORE DELETE ON visits_default FOR EACH ROW EXECUTE FUNCTION refuse()")

    assert store_days(visits, 5, 0) == []
    assert dict(visits.query(PLACES)) == {day_of(0): 1, "visits_default": 2}
    maintenance = maintain(visits)
    (failure,) = [step.failure for step in maintenance.steps if step.name == "coming_days"]
    assert failure is not None
    assert "nothing is deleted here" in failure


def test_identity_and_generated_columns_move_to_the_day(database: Database) -> None:
    """PostgreSQL attaches no partition with an identity of its own, and takes no value for a generated column."""
    columns = COLUMNS.replace("id bigint NOT NULL", "id bigint GENERATED BY DEFAULT AS IDENTITY")
    database.query(
        f"CREATE TABLE visits (gone integer, {columns}, size integer GENERATED ALWAYS AS (length(code)) STORED)"
        " PARTITION BY RANGE (at)"
    )
    database.query("ALTER TABLE visits DROP gone")
    database.query(REGISTER)
    database.query("INSERT INTO visits (code, at) VALUES ('abc', now() - interval '5 days')")
    store_days(database, 5)

    assert database.query("SELECT code, size, tableoid::regclass::text FROM visits ORDER BY code") == [
        ("a", 1, day_of(5)), ("abc", 3, day_of(5)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("SELECT", "there is no table visits"),
        (f"CREATE TABLE visits ({COLUMNS}) PARTITION BY HASH (id)", "partitioned by the range of one timestamptz"),
        (f"CREATE TABLE visits ({COLUMNS}) PARTITION BY RANGE (id)", "partitioned by the range of one timestamptz"),
        (f"CREATE TABLE visits ({COLUMNS}) PARTITION BY RANGE ((id + 1))", "partitioned by the range of one"),
        (TABLE.replace("id bigint", "id integer"), "a column id of the type bigint"),
        (
            f"{TABLE}; CREATE TABLE rest PARTITION OF visits DEFAULT",
            "default partition must have the name visits_default",
        ),
    ],
    ids=["missing", "hash", "id", "expression", "integer", "default"],
)
def test_table_that_cannot_be_kept_by_day_is_told(database: Database, statement: str, fault: str) -> None:
    """The message appears when the person applies the table's SQL file, not a week later."""
    database.query(statement)
    with pytest.raises(pg.RaiseException, match=fault):
        database.query(REGISTER)

    assert database.query("TABLE daily_tables") == [("heartbeats",)]


def test_older_table_without_partitions_keeps_all_its_rows(database: Database) -> None:
    """The SQL file of a later version finds the table of an earlier one: it says so, and the consumer stores on."""
    database.query(f"CREATE TABLE visits ({COLUMNS})")
    with database.connect() as connection:
        told: list[str] = []
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        assert connection.execute(REGISTER).fetchone() == (False,)
    store_days(database, 0, 400)
    maintain(database)

    assert told == ["visits is not a partitioned table: its rows are kept for ever"]
    assert database.query(DAYS.format("visits")) == [([0, 400],)]


def test_applying_the_sql_file_again_changes_nothing(database: Database) -> None:
    """Compose applies it at each start."""
    for _ in range(2):
        prepare(database, TRADES)

    assert database.query("TABLE daily_tables ORDER BY 1") == [("heartbeats",), ("trades",)]
    assert database.query("SELECT count(*) FROM pg_inherits WHERE inhparent = 'trades'::regclass") == [(10,)]


def test_partitions_by_another_time_than_the_events_are_refused(database: Database) -> None:
    """Retention would drop by a time that may be years ahead, or behind."""
    database.query(f"CREATE TABLE visits ({COLUMNS}, until timestamptz) PARTITION BY RANGE (until)")
    database.query(REGISTER)

    with pytest.raises(ConfigError, match="partitioned by day of until, but the time of the event is at"):
        store_days(database, 0)
