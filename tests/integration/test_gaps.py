"""Gaps in the dashboards' lines: Grafana connects two points unless a NULL is between them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.integration.dashboard_queries import targets
from tests.integration.grafana_macros import View, expand
from tests.pipeline import Database

pytestmark = pytest.mark.integration

PANELS = {panel["title"]: (panel, sql) for panel, sql in targets("heartbeats") if panel["type"] == "timeseries"}
CUSTOMERS = ("CUST-000001", "CUST-000002")
FILL = """
INSERT INTO heartbeats (customer_id, "timestamp", heart_rate)
SELECT customer, moment, 70
FROM unnest(%(customers)s::varchar[]) WITH ORDINALITY AS who (customer, n),
     generate_series(%(start)s + n * interval '100 ms', %(end)s - interval '1 s', %(step)s) AS moment
WHERE moment < %(stops)s OR moment >= %(starts)s OR (customer = %(unbroken)s)
"""
NOTE = """
INSERT INTO heartbeats_touched
SELECT DISTINCT date_trunc('minute', "timestamp"), now() - interval '1 h' FROM heartbeats
"""
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Outage:
    """A range, how often each customer sends, and between which moments nobody does."""

    range: timedelta
    step: timedelta
    stops: timedelta
    lasts: timedelta


OUTAGES = {
    "5 min": Outage(timedelta(minutes=5), timedelta(seconds=1), timedelta(seconds=100), timedelta(seconds=92)),
    "1 h": Outage(timedelta(hours=1), timedelta(seconds=1), timedelta(minutes=20), timedelta(seconds=92)),
    "24 h": Outage(timedelta(hours=24), timedelta(seconds=20), timedelta(hours=8), timedelta(minutes=35)),
}


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect() as opened:
        yield opened


def fill(connection: Connection, outage: Outage, unbroken: str | None = None) -> tuple[View, datetime, datetime]:
    """Let customers send and stop, sum up, and return the view and between which moments nobody (else) sent."""
    end = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    start = end - outage.range
    stops, starts = start + outage.stops, start + outage.stops + outage.lasts
    connection.execute(
        FILL,
        {
            "customers": list(CUSTOMERS), "start": start, "end": end, "step": outage.step,
            "stops": stops, "starts": starts, "unbroken": unbroken,
        },
    )  # fmt: skip
    connection.execute(NOTE)
    while connection.execute("SELECT refresh_rollups(200)").fetchone() != (0,):
        pass
    return View(start, end - timedelta(milliseconds=1), customers=CUSTOMERS), stops, starts


def drawn(connection: Connection, view: View, title: str) -> list[tuple[datetime, list[Any], list[Any]]]:
    """Return a panel's rows in their order: the moment, the values, and the texts that tell lines apart."""
    rows = connection.execute(expand(PANELS[title][1], view).encode()).fetchall()
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    texts = [[value for value in row if isinstance(value, str)] for row in rows]
    return [(at, [v for v in row if not isinstance(v, str)], who) for (at, *row), who in zip(rows, texts, strict=True)]


@pytest.mark.parametrize("title", PANELS)
@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_interrupts_every_line(connection: Connection, outage: Outage, title: str) -> None:
    """A straight line from before to after the outage would hide it."""
    view, stops, starts = fill(connection, outage)

    rows = drawn(connection, view, title)
    lines = {tuple(texts) for _, _, texts in rows}

    assert {tuple(texts) for at, (*values,), texts in rows if values[0] is None and stops <= at < starts} == lines
    assert len([at for at, (value, *_), _ in rows if value is None]) == len(lines)
    assert all(set(values) == {None} or None not in values for _, values, _ in rows)
    assert {at > stops for at, (value, *_), _ in rows if value is not None} == {False, True}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
def test_one_customers_gap_interrupts_no_other_line(connection: Connection, outage: Outage) -> None:
    """The others' readings went on."""
    view, stops, starts = fill(connection, outage, unbroken=CUSTOMERS[1])

    gaps = [(at, who) for at, (value,), (who,) in drawn(connection, view, "Heartbeat Rate Over Time") if value is None]
    fleet = [value for _, (value, *_), _ in drawn(connection, view, "Fleet average and 5th to 95th percentile")]

    assert [who for _, who in gaps] == [CUSTOMERS[0]]
    assert stops <= gaps[0][0] < starts
    assert None not in fleet


def test_readings_that_the_panel_connects_have_no_gap_between_them(connection: Connection) -> None:
    """The panel spans NULLs up to its own limit: gaps by another limit would be spanned, or cut lines in two."""
    panel, _ = PANELS["Heartbeat Rate Over Time"]
    limit = timedelta(milliseconds=panel["fieldConfig"]["defaults"]["custom"]["spanNulls"])
    start = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    view = View(start, start + timedelta(minutes=5), customers=CUSTOMERS[:1])
    moments = [start, start + limit, start + 2 * limit + timedelta(microseconds=1)]
    for moment in moments:
        connection.execute("INSERT INTO heartbeats VALUES (DEFAULT, %s, %s, 70)", [CUSTOMERS[0], moment])

    gaps = [at for at, (value,), _ in drawn(connection, view, "Heartbeat Rate Over Time") if value is None]

    assert gaps == [moments[1] + limit]
