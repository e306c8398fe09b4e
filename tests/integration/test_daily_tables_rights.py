"""What a stolen role can do with the functions that create and drop the days of any registered table."""

from collections.abc import Iterator
from typing import Final

import pytest
from psycopg import errors as pg

from tests.daily import DAYS, REGISTER, TABLE, store_days
from tests.pipeline import Database
from tests.roles import Roles, made_for

pytestmark = pytest.mark.integration

LOOKALIKE: Final = """
CREATE TABLE others (id bigint, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE others_default PARTITION OF others DEFAULT;
CREATE TABLE others_20200101 PARTITION OF others FOR VALUES FROM ('2020-01-01Z') TO ('2020-01-02Z');
INSERT INTO others VALUES (1, '2020-01-01 12:00Z'), (2, '2019-01-01Z')
"""
TODAY: Final = "(now() AT TIME ZONE 'UTC')::date"
REFUSED: Final = [
    "INSERT INTO daily_tables VALUES ('others')", "UPDATE daily_tables SET table_name = 'others'",
    "DELETE FROM daily_tables", "TRUNCATE daily_tables", "SELECT partition_by_day('others')",
    "SELECT attach_partition('visits', 'x', '-infinity', 'infinity')", "DELETE FROM visits", "TRUNCATE visits",
    f"SELECT drop_day('visits', {TODAY})", f"SELECT drop_day('visits', {TODAY} - 1)", "SELECT drop_strays('visits', 0)",
    "SELECT drop_day('visits', NULL)", "SELECT drop_strays('visits', NULL)", "SELECT days_to_drop('visits', 0)",
]  # fmt: skip
# They do nothing, or what the owner allows.
HARMLESS: Final = [
    "INSERT INTO kafka_topics VALUES (9, 'x', 'x', now(), 'others')",
    "SELECT drop_day('others', '2020-01-01')", "SELECT drop_strays('others', 1)", "SELECT days_to_drop('others', 1)",
    f"SELECT make_day('others', {TODAY})", "SELECT days_to_make('others', 9, 9)",
    "SELECT drop_day('public.others', '2020-01-01')", "SELECT drop_strays('others; DROP TABLE others', 1)",
    f"SELECT make_day('visits', {TODAY} - 61)", f"SELECT make_day('visits', {TODAY} + 8)",
    "SELECT make_day('visits', 'infinity')", "SELECT drop_day(NULL, '2020-01-01')", "SELECT drop_strays(NULL, 1)",
]  # fmt: skip


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


def test_stolen_role_reaches_no_other_table_and_no_recent_row(visits: Database, subtests: pytest.Subtests) -> None:
    """It names any table: only those that the owner has registered are touched, and none younger than the floor."""
    visits.query(LOOKALIKE)
    store_days(visits, 0, 1)
    held = (
        "SELECT (SELECT count(*) FROM visits), (SELECT count(*) FROM others), (SELECT count(*) FROM pg_inherits),"
        " (SELECT array_agg(table_name ORDER BY 1) FROM daily_tables)"
    )
    before = visits.query(held)
    with made_for(visits) as roles, roles.connect(roles.consumer) as stolen:
        stolen.execute("SET \"TimeZone\" = 'Pacific/Kiritimati'; SET \"DateStyle\" = 'SQL, DMY'")
        for statement in [*REFUSED, *HARMLESS]:
            with subtests.test(statement):
                try:
                    stolen.execute(statement.encode())
                except (pg.InsufficientPrivilege, pg.RaiseException, pg.InvalidName):
                    assert statement not in HARMLESS or "; DROP" in statement
                else:
                    assert statement in HARMLESS

                assert visits.query(held) == before


def test_temporary_table_is_not_maintained_with_the_owners_rights(visits: Database, roles: Roles) -> None:
    """The role may have TEMPORARY, for unique fields: defaults and checks of its own table would run as the owner."""
    visits.query("DROP TABLE visits")
    visits.query(f"GRANT TEMPORARY ON DATABASE {visits.name} TO {roles.consumer}")
    with roles.connect(roles.consumer) as stolen:
        stolen.execute(f"{TABLE.replace('TABLE', 'TEMPORARY TABLE')};".encode())
        stolen.execute("CREATE TEMPORARY TABLE visits_default PARTITION OF visits DEFAULT")
        stolen.execute("INSERT INTO visits VALUES (1, 'a', now()), (2, 'b', '2020-01-01Z')")
        done = stolen.execute(f"SELECT make_day('visits', {TODAY}), drop_strays('visits', 1)".encode()).fetchone()
        left = stolen.execute("SELECT count(*) FROM visits").fetchone()

    assert (done, left) == ((False, 0), (2,))


def test_table_that_was_given_away_is_left_alone(visits: Database, roles: Roles) -> None:
    """Its new owner's triggers would run with the rights of the owner of the heartbeats."""
    store_days(visits, 9)
    visits.query(f"GRANT CREATE ON SCHEMA public TO {roles.reader}")
    visits.query(f"ALTER TABLE visits OWNER TO {roles.reader}")
    for call in (f"make_day('visits', {TODAY} - 20)", f"drop_day('visits', {TODAY} - 9)", "drop_strays('visits', 7)"):
        with pytest.raises(pg.RaiseException, match="its owner is not the one of heartbeats"):
            visits.query(f"SELECT {call}")
    visits.query("ALTER TABLE visits OWNER TO CURRENT_USER")

    assert visits.query(DAYS.format("visits")) == [([9],)]
