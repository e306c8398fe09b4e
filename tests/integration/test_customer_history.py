"""The heart rates of chosen customers over long ranges: from the coarsest rollup that still draws a line."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.integration.dashboard_queries import targets
from tests.integration.grafana_macros import View, expand
from tests.pipeline import Database

pytestmark = pytest.mark.integration

(PANEL,) = (sql for panel, sql in targets("heartbeats") if panel["title"] == "Heartbeat Rate Over Time")
BOTH = ("CUST-000001", "CUST-000002")
# A reading every 20 s of three customers for two hours, and of one second of each of 60 days before.
FILL = """
INSERT INTO heartbeats (customer_id, "timestamp", heart_rate)
SELECT 'CUST-00000' || c, moment, 50 + abs(hashint8(extract(epoch FROM moment)::bigint + c)) %% 71
FROM generate_series(1, 3) AS c, (
    SELECT generate_series(%(end)s - interval '2 h', %(end)s - interval '1 s', interval '20 s') AS moment
    UNION SELECT generate_series(%(end)s - interval '60 d', %(end)s - interval '3 h', interval '1 d')) AS moments
"""
NOTE = """
INSERT INTO heartbeats_touched
SELECT DISTINCT date_trunc('minute', "timestamp"), now() - interval '1 h' FROM heartbeats
"""
AVERAGES = """
SELECT date_bin(make_interval(secs => %s), "timestamp", 'epoch') AS bucket, avg(heart_rate)::float8, customer_id
FROM heartbeats WHERE "timestamp" BETWEEN %s AND %s AND customer_id = ANY (%s) GROUP BY bucket, customer_id
ORDER BY bucket, customer_id
"""
Connection = psycopg.Connection[tuple[Any, ...]]


def refresh(connection: Connection) -> None:
    while connection.execute("SELECT refresh_rollups(100)").fetchone() != (0,):
        pass


@pytest.fixture
def view() -> View:
    """End at the beginning of an hour, so that every range holds whole buckets."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return View(end - timedelta(hours=1), end - timedelta(milliseconds=1), customers=BOTH)


@pytest.fixture
def connection(database: Database, view: View) -> Iterator[Connection]:
    """A database filled and summed up to the view's end."""
    with database.connect() as opened:
        opened.execute(FILL, {"end": view.end + timedelta(milliseconds=1)})
        opened.execute(NOTE)
        refresh(opened)
        yield opened


def show(connection: Connection, view: View, sql: str) -> list[tuple[Any, ...]]:
    """Return the points, without the NULLs between them (test_gaps.py)."""
    rows = connection.execute(expand(sql, view).encode()).fetchall()
    return sorted((row for row in rows if row[1] is not None), key=lambda row: (row[0], row[2]))


@pytest.mark.parametrize(("days", "width_s"), [(0.125, 60), (3, 60), (4, 600), (30, 600), (50, 3600)])
def test_long_ranges_show_the_averages_of_the_readings(
    connection: Connection, view: View, days: float, width_s: int
) -> None:
    """Zooming out, a person sees fewer points and the same heart rates."""
    long = replace(view, start=view.end + timedelta(milliseconds=1) - timedelta(days=days))
    expected = connection.execute(AVERAGES, [width_s, long.start, long.end, list(BOTH)]).fetchall()

    drawn = show(connection, long, PANEL)

    assert [(row[0], row[2]) for row in drawn] == [(row[0], row[2]) for row in expected]
    assert [row[1] for row in drawn] == [pytest.approx(row[1]) for row in expected]


def test_short_ranges_show_each_reading(connection: Connection, view: View) -> None:
    """And nothing twice."""
    assert len(show(connection, view, PANEL)) == 2 * 180


def test_the_last_minutes_come_from_the_readings(connection: Connection, view: View) -> None:
    """A rollup is a minute behind; what the panel shows is not."""
    late = view.end - timedelta(seconds=30, milliseconds=-1)
    long = replace(view, start=view.end - timedelta(hours=12), customers=("CUST-000009",))
    for rate in (100, 110):
        connection.execute("INSERT INTO heartbeats VALUES (DEFAULT, 'CUST-000009', %s, %s)", [late, rate])
    connection.execute("INSERT INTO heartbeats_touched VALUES (date_trunc('minute', %s::timestamptz))", [late])

    assert [row[1:] for row in show(connection, long, PANEL)] == [(105.0, "CUST-000009")]
    connection.execute("UPDATE heartbeats_touched SET noted_at = noted_at - interval '1 h'")
    refresh(connection)
    assert [row[1:] for row in show(connection, long, PANEL)] == [(105.0, "CUST-000009")]


@pytest.mark.parametrize("days", [1 / 24, 1, 30])
def test_only_the_chosen_source_is_read(connection: Connection, view: View, days: float) -> None:
    """A source that is read and then thrown away costs as much as one that is shown."""
    long = replace(view, start=view.end - timedelta(days=days))
    plan = " ".join(line for (line,) in connection.execute(expand(f"EXPLAIN {PANEL}", long).encode()))

    assert ("on heartbeats" in plan) == (days < 1)
