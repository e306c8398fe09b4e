"""Servers that somebody else set up: other date styles and zones, row level security."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.sql import SQL, Identifier, Literal

from local.waiting import wait_until
from tests import roles
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats
from tests.roles import Roles, client

pytestmark = pytest.mark.integration

BOUNDS = r"""
SELECT relname, pg_get_expr(relpartbound, pg_class.oid) FROM pg_class
WHERE relname ~ '^heartbeats_[0-9]{8}$' ORDER BY 1
"""
# All styles but ISO write the zone's abbreviation, which PostgreSQL reads as another zone (Kolkata: IST, before version
# 18) or not at all (Guam: ChST). The last one is furthest from UTC.
ZONES = ["Asia/Kolkata", "Pacific/Guam", "Pacific/Kiritimati"]


def set_for_database(database: Database, **settings: str) -> None:
    """What a person sets for all sessions of a database."""
    for name, value in settings.items():
        alter = SQL("ALTER DATABASE {} SET {} = {}").format(Identifier(database.name), Identifier(name), Literal(value))
        database.query(alter.as_string())


@pytest.mark.parametrize("zone", ZONES)
def test_days_are_utc_days_whatever_the_database_is_set_to(database: Database, zone: str) -> None:
    """A day that begins five hours late takes the rows of another day, and overlaps when its neighbour is made."""
    expected = database.query(BOUNDS)
    for name, _ in expected:
        database.query(SQL("DROP TABLE {}").format(Identifier(name)).as_string())
    database.query("INSERT INTO heartbeats (customer_id, \"timestamp\", heart_rate) VALUES ('a', now(), 70)")
    set_for_database(database, DateStyle="SQL, DMY", TimeZone=zone, IntervalStyle="sql_standard")
    kept = client("psql", database, "-qAt", "-f", "db/schema.sql", "-c", "SHOW DateStyle").stdout.splitlines()
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO heartbeats_touched VALUES (date_trunc('minute', now()), now() - interval '1 h')"
        )
        refreshed = connection.execute("SELECT refresh_rollups()").fetchone()
    set_for_database(database, DateStyle="ISO", TimeZone="UTC")

    assert database.query(BOUNDS) == expected
    assert database.query("SELECT count(*) FROM heartbeats_default") == [(0,)]
    assert database.query("SELECT sum(readings) FROM heartbeats_per_minute") == [(1,)]
    assert (kept, refreshed) == (["SQL, DMY"], (1,))


def test_services_work_with_any_style_of_dates(start: StartService, topic: Topic, database: Database) -> None:
    """`replay` read times in the session's style, and ended in a traceback."""
    set_for_database(
        database, DateStyle="SQL, DMY", TimeZone="Asia/Kolkata", IntervalStyle="iso_8601", bytea_output="escape",
        default_transaction_isolation="serializable",
    )  # fmt: skip
    topic.create()
    rows = heartbeats(100, start=datetime.now(UTC) + timedelta(days=2))
    topic.send((row[0].encode(), encode(row)) for row in rows)
    sent = topic.send_heartbeats(100, seed=8)
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    replay = start("consumer", "replay", HEARTBEAT_CONSUMER__MAX_FUTURE_S="864000")

    assert replay.wait() == 0, replay.text()
    assert consumer.stop() == 0
    set_for_database(database, DateStyle="ISO", TimeZone="UTC")
    assert database.lost_and_surplus(rows + sent) == ([], [])
    assert start("consumer", "verify", "--full").wait() == 0


@pytest.fixture
def named(database: Database) -> Iterator[Roles]:
    """The roles that compose has: a superuser sees every row."""
    with roles.made_for(database) as made:
        yield made


@pytest.mark.parametrize(
    "table",
    ["heartbeats", "rejected_heartbeats", "kafka_topics", "kafka_ledger", "heartbeats_touched", "retention_floor"],
)
def test_row_level_security_is_named_with_its_table(
    table: str, start: StartService, topic: Topic, database: Database, named: Roles
) -> None:
    """It fails a COPY with every retry, and an UPDATE that matches nothing looks like another consumer's work."""
    topic.create()
    database.query(SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(Identifier(table)).as_string())
    consumer = start("consumer", **named.as_consumer)

    assert consumer.wait() == 2
    (error,) = [event for event in consumer.events() if event["level"] == "error"]
    assert f"row level security hides {table} from {named.consumer}" in error["error"]
    assert "Traceback" not in consumer.text()


def test_row_level_security_that_begins_later_is_named_as_well(
    start: StartService, topic: Topic, database: Database, named: Roles
) -> None:
    """Either hint helps: the role that may pass it stores what waited."""
    topic.create()
    first = topic.send_heartbeats(10)
    consumer = start("consumer", **named.as_consumer)
    wait_until(lambda: database.count() == 10)
    database.query("ALTER TABLE kafka_ledger ENABLE ROW LEVEL SECURITY")
    second = topic.send_heartbeats(10, seed=8)

    wait_until(lambda: "row level security hides kafka_ledger" in consumer.text())
    consumer.end()
    database.query(SQL("ALTER ROLE {} BYPASSRLS").format(Identifier(named.consumer)).as_string())
    again = start("consumer", **named.as_consumer)
    wait_until(lambda: database.passed() == topic.ends())
    assert again.stop() == 0
    assert database.lost_and_surplus(first + second) == ([], [])


def test_row_level_security_that_is_forced_on_the_owner_is_named(
    start: StartService, topic: Topic, database: Database, named: Roles
) -> None:
    """Rollups and retention run as the owner. For readers alone, it may be switched on: it concerns no function."""
    topic.create()
    sent = topic.send_heartbeats(10)
    database.query("ALTER TABLE heartbeats_fleet ENABLE ROW LEVEL SECURITY")
    consumer = start("consumer", **named.as_consumer)
    wait_until(lambda: database.passed() == topic.ends())
    assert consumer.stop() == 0
    assert database.lost_and_surplus(sent) == ([], [])
    database.query("ALTER TABLE heartbeats_fleet FORCE ROW LEVEL SECURITY")
    database.query(SQL("ALTER TABLE heartbeats_fleet OWNER TO {}").format(Identifier(named.reader)).as_string())
    consumer = start("consumer", **named.as_consumer)

    assert consumer.wait() == 2
    assert f"row level security hides heartbeats_fleet from {named.reader}" in consumer.text()


@pytest.mark.parametrize("table", ["heartbeats_old", "heartbeats_outdated", "retention_floor", "alarms"])
def test_row_level_security_is_named_for_every_table_that_the_functions_use(
    table: str, start: StartService, topic: Topic, database: Database, named: Roles
) -> None:
    """Of a hidden retention_floor, one day would be left; from a hidden heartbeats_old, nothing would be dropped."""
    topic.create()
    database.query(
        SQL("ALTER TABLE {0} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY").format(Identifier(table)).as_string()
    )
    database.query(SQL("ALTER TABLE {} OWNER TO {}").format(Identifier(table), Identifier(named.reader)).as_string())
    consumer = start("consumer", **named.as_consumer)

    assert consumer.wait() == 2
    assert f"row level security hides {table} from " in consumer.text()
