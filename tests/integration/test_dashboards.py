"""Every query of the dashboards, as Grafana sends it, on a real PostgreSQL. Just over 250 lines: one table of data."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.integration import dashboard_queries
from tests.integration.dashboard_queries import DASHBOARDS, read
from tests.integration.grafana_macros import View, expand
from tests.pipeline import Database
from tests.roles import made_for

pytestmark = pytest.mark.integration

NUMBERS = {20, 21, 23, 701}  # PostgreSQL's type oids: bigint, smallint, integer, double precision
TEXTS = {25, 1043}  # text, varchar
TIMES = {1184}  # timestamptz
ODD_CUSTOMERS = ("O'Brien", 'back\\slash "quoted"', "$1 $customer %s {x}", "ünï ☃", "'; DROP TABLE heartbeats; --")
ODD_PAYLOADS = (b"", bytes(range(256)), b"\xff\xfe\x00", b'{"a": "\\u0000"}', "Zoë ☃".encode(), b"\\" * 300, None)

# The table's own check lists them: a kind that is added there needs an annotation.
KINDS_OF_EVENTS = """
SELECT (regexp_matches(pg_get_constraintdef(oid), $$'(\\w+)'::text$$, 'g'))[1]
FROM pg_constraint WHERE conname = 'pipeline_events_kind_check'
"""

Connection = psycopg.Connection[tuple[Any, ...]]
Rows = list[tuple[Any, ...]]


def targets() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Return every query of both dashboards: its name for people, its panel, its SQL."""
    for dashboard in DASHBOARDS:
        for panel, sql in dashboard_queries.targets(dashboard):
            yield f"{dashboard}: {panel['title']}", panel, sql


def list_of_customers() -> str:
    """Return the query of the variable that lists customers."""
    (sql,) = (one["query"] for one in read("heartbeats")["templating"]["list"] if one["name"] == "customer")
    return str(sql)


def annotation() -> str:
    """Return the query of the alarms that mark the lines."""
    (alarms,) = read("heartbeats")["annotations"]["list"]
    return str(alarms["target"]["rawSql"])


def sql_of(title: str) -> str:
    """Return a panel's SQL, the first if there are several."""
    return next(sql for _, panel, sql in targets() if panel["title"] == title)


def show(connection: Connection, view: View, sql: str) -> Rows:
    """Run a query as Grafana does."""
    return connection.execute(expand(sql, view).encode()).fetchall()


def show_in_panel(connection: Connection, view: View, panel: dict[str, Any], sql: str) -> Rows:
    """Run a panel's query and hold the result against what its type of panel needs."""
    cursor = connection.execute(expand(sql, view).encode())
    rows = cursor.fetchall()
    types = {column.name: column.type_code for column in cursor.description or ()}
    numbers = [name for name, oid in types.items() if oid in NUMBERS]
    dressed = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    quoted = {name for target in panel["targets"] for name in re.findall(r'"([^"]+)"', target["rawSql"])}

    assert set(types.values()) <= NUMBERS | TEXTS | TIMES
    assert dressed <= quoted | set(types)
    assert numbers
    if panel["type"] == "timeseries":
        moments = [row[list(types).index("time")] for row in rows]
        assert types["time"] in TIMES
        assert moments == sorted(moments)
    elif panel["type"] == "stat":
        assert len(rows) == 1
        assert None not in rows[0]
        assert len(types) == len(numbers)
    elif panel["type"] == "barchart":
        assert types[panel["options"]["xField"]] in TEXTS
    else:
        assert panel["type"] == "table"
        assert len(rows) <= 200
    return rows


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """Connect to the test's own database."""
    with database.connect() as opened:
        yield opened


@pytest.fixture
def view() -> View:
    """Look at five minutes of yesterday: whatever the time of day, they lie in one partition and in the past."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    return View(noon, noon + timedelta(minutes=5), customers=("CUST-000001", "CUST-000002", *ODD_CUSTOMERS))


def fill(connection: Connection, view: View, count: int, *, without: range = range(0)) -> None:
    """Let every customer send once a second, in all of the view's seconds but those `without`."""
    connection.execute(
        """INSERT INTO heartbeats (customer_id, "timestamp", heart_rate)
           SELECT 'CUST-' || lpad(c::text, 6, '0'), %(start)s + (s + c / %(count)s::float8) * interval '1 second',
                  50 + abs(hashint8(s * 1000 + c)) %% 71
           FROM generate_series(0, %(seconds)s - 1) AS s, generate_series(0, %(count)s - 1) AS c
           WHERE s <> ALL (%(without)s::integer[])""",
        {
            "start": view.start,
            "seconds": (view.end - view.start) // timedelta(seconds=1),
            "count": count,
            "without": list(without),
        },
    )
    connection.execute(
        "INSERT INTO heartbeats_touched SELECT DISTINCT date_trunc('minute', \"timestamp\") FROM heartbeats"
    )
    connection.execute("ANALYZE heartbeats")


def quarantine(connection: Connection, view: View) -> None:
    """Reject every odd payload once, one a second."""
    connection.execute("INSERT INTO kafka_topics VALUES (1, 'id', 'heartbeats')")
    connection.execute("INSERT INTO kafka_ledger VALUES (1, 0, 0, %s, 0, %s)", [len(ODD_PAYLOADS)] * 2)
    for n, payload in enumerate(ODD_PAYLOADS):
        at = view.start + timedelta(seconds=n)
        connection.execute(
            "INSERT INTO rejected_heartbeats VALUES (%s, 'heartbeats', 0, %s, %s, %s, %s, 'no \"reason\" \\', %s, %s)",
            [n, n, payload, payload, len(payload or b""), at, at],
        )


def alarm(connection: Connection, view: View) -> None:
    """Put every odd customer in alarm from the view's start on."""
    connection.cursor().executemany(
        "INSERT INTO alarms VALUES (%s, 'high', %s, %s, NULL, 130, 60, 100.4)",
        [(customer, view.start, view.start + timedelta(seconds=60)) for customer in view.customers],
    )


def test_alarms_mark_the_chosen_customers_lines(connection: Connection, view: View) -> None:
    """An annotation: its columns are named as Grafana wants them, in lower case as PostgreSQL gives them."""
    alarm(connection, view)
    connection.execute("INSERT INTO alarms VALUES ('SOMEBODY-ELSE', 'low', now(), now(), NULL, 40, 60, 100)")

    cursor = connection.execute(expand(annotation(), view).encode())
    rows = cursor.fetchall()

    assert [column.name for column in cursor.description or ()] == ["time", "timeend", "text", "tags"]
    assert {text for *_, text, _ in rows} == {f"{customer} high" for customer in view.customers}
    assert {(begins, ends) for begins, ends, *_ in rows} == {(view.start, view.end)}


def test_events_of_the_pipeline_mark_its_panels(connection: Connection, view: View) -> None:
    """Each kind once: an outage as a region also if it began before the view, the others as points."""
    kinds = connection.execute(KINDS_OF_EVENTS).fetchall()
    for (kind,) in kinds:
        ended = view.start + timedelta(seconds=5) if kind == "outage" else None
        began = view.start - timedelta(seconds=5) if kind == "outage" else view.start
        for source, moment in (("consumer here", began), ("consumer tomorrow", view.end + timedelta(days=1))):
            connection.execute(
                "INSERT INTO pipeline_events (started_at, ended_at, kind, source, detail)"
                " VALUES (%s, %s, %s, %s, 'why')",
                [moment, ended and moment + (ended - began), kind, source],
            )

    shown: Rows = []
    for annotation in read("pipeline")["annotations"]["list"]:
        cursor = connection.execute(expand(annotation["target"]["rawSql"], view).encode())
        shown += cursor.fetchall()
        assert [column.name for column in cursor.description or ()] == ["time", "timeend", "text", "tags"]

    assert sorted(tag for *_, tag in shown) == sorted(kind for (kind,) in kinds)
    assert len(shown) == 8
    for begins, ends, text, kind in shown:
        assert text == f"consumer here: {kind.replace('_', ' ')}, why"
        if kind == "outage":
            assert (begins, ends) == (view.start - timedelta(seconds=5), view.start + timedelta(seconds=5))
        else:
            assert (begins, ends) == (view.start, None)


def test_every_query_gives_what_its_panel_needs(connection: Connection, view: View, subtests: pytest.Subtests) -> None:
    """A renamed column leaves a panel blank without an error. Times are printed, and bounded far above the usual."""
    fill(connection, view, 1000)
    quarantine(connection, view)
    alarm(connection, view)
    spent_s = 0.0

    for name, panel, sql in targets():
        with subtests.test(name):
            started = time.perf_counter()
            rows = show_in_panel(connection, view, panel, sql)
            spent_s += time.perf_counter() - started
            print(f"{(time.perf_counter() - started) * 1000:7.1f} ms  {name}")

            assert rows or "customer_history" in sql
            assert not rows or rows[-1][-1] is not None
    assert spent_s < 10


def test_every_query_answers_while_there_is_nothing(
    connection: Connection, view: View, subtests: pytest.Subtests
) -> None:
    """An empty system is the first thing a person sees: it must say so, not fail."""
    for name, panel, sql in targets():
        with subtests.test(name):
            rows = show_in_panel(connection, view, panel, sql)

            assert not rows or panel["type"] == "stat" or {rate for _, rate in rows} == {0}
            assert panel["fieldConfig"]["defaults"]["noValue"]


def test_grafanas_role_may_run_every_query(database: Database, view: View) -> None:
    """Grafana is no superuser: a table that the role may not read costs a panel."""
    with made_for(database) as roles, roles.connect(roles.reader) as reader:
        for sql in [list_of_customers(), annotation(), *(sql for _, _, sql in targets())]:
            show(reader, view, sql)


def test_no_customer_and_no_payload_breaks_a_query(connection: Connection, view: View) -> None:
    """Customers may be called anything, and quarantine holds whatever somebody sent."""
    for customer in ODD_CUSTOMERS:
        connection.execute("INSERT INTO heartbeats VALUES (DEFAULT, %s, %s, 300)", [customer, view.end])
    quarantine(connection, view)

    shown: dict[str, Rows] = {}
    for _, panel, sql in targets():
        shown.setdefault(panel["title"], []).extend(show_in_panel(connection, view, panel, sql))

    assert {row[2] for row in shown["Heartbeat Rate Over Time"]} == set(ODD_CUSTOMERS)
    assert {row[0] for row in shown["Out of range now, by customer"]} == set(ODD_CUSTOMERS)
    payloads = [row[5] for row in reversed(shown["Latest in quarantine"])]
    assert max(len(payload) for payload in payloads) < 800
    assert payloads[3:5] == ['{"a": "\\\\u0000"}', "Zo\\303\\253 \\342\\230\\203"]
    assert payloads[-1] == "(none)"


def test_chosen_customers_are_drawn_reading_by_reading(connection: Connection, view: View) -> None:
    """People know this panel by its title and its query."""
    fill(connection, view, 3)
    sql = sql_of("Heartbeat Rate Over Time")
    two = replace(view, customers=("CUST-000000", "CUST-000002"))
    expected = connection.execute(
        """SELECT "timestamp", heart_rate, customer_id FROM heartbeats
           WHERE customer_id <> 'CUST-000001' ORDER BY "timestamp" """
    ).fetchall()

    drawn = show(connection, two, sql)
    nobody = show(connection, replace(two, customers=()), sql)

    assert re.fullmatch(
        r'\(SELECT "timestamp" AS "time", "heart_rate" AS "value", customer_id\s+FROM heartbeats\s+'
        r'WHERE \$__timeFilter\("timestamp"\)\s.*\sORDER BY "timestamp" ASC\)\s+UNION ALL\s.*',
        sql,
        re.DOTALL,
    )
    assert drawn == expected
    assert nobody == []


def test_the_fleets_figures_are_postgresqls_own(connection: Connection, view: View) -> None:
    """Average, percentiles and shares come from counts per heart rate; ordinary aggregates must agree."""
    fill(connection, view, 50)
    whole = connection.execute(
        """SELECT date_bin('10 s', "timestamp", 'epoch'), avg(heart_rate)::float8,
                  percentile_disc(0.95) WITHIN GROUP (ORDER BY heart_rate),
                  percentile_disc(0.05) WITHIN GROUP (ORDER BY heart_rate),
                  avg((heart_rate < 60)::integer)::float8, avg((heart_rate > 100)::integer)::float8
           FROM heartbeats GROUP BY 1 ORDER BY 1"""
    ).fetchall()

    band = show(connection, view, sql_of("Fleet average and 5th to 95th percentile"))
    shares = show(connection, view, sql_of("Readings out of range over time"))
    bars = show(connection, view, sql_of("Distribution of heart rates"))

    assert [row[0] for row in band] == [row[0] for row in shares] == [row[0] for row in whole]
    assert [row[1:] for row in band] == [pytest.approx(row[1:4]) for row in whole]
    assert [row[1:] for row in shares] == [pytest.approx(row[4:]) for row in whole]
    assert [int(row[0]) for row in bars] == list(range(50, 121))
    assert sum(share for row in bars for share in row[1:] if share is not None) == pytest.approx(1)


def test_an_outage_is_drawn_as_zero(connection: Connection, view: View) -> None:
    """A line from before to after the outage would hide it."""
    outage = range(100, 120)
    fill(connection, view, 10, without=outage)

    rates = show(connection, view, sql_of("Stored and rejected per second"))

    assert {at for at, rate in rates if rate == 0} == {
        view.start + timedelta(seconds=100),
        view.start + timedelta(seconds=110),
    }
    assert {rate for _, rate in rates} == {0, 10}


@pytest.mark.parametrize("hours", [2, 12, 72])
def test_buckets_whose_rollup_is_to_come_are_no_drop(connection: Connection, view: View, hours: int) -> None:
    """Rollups follow the rows by a minute: each bucket would fall, to 0 or by a part, until its last minute is in."""
    now = datetime.now(UTC)
    begins = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    fill(connection, replace(view, start=begins, end=now), 2)
    connection.execute("UPDATE heartbeats_touched SET noted_at = now() - interval '1 h' WHERE minute < %s",
                       [now - timedelta(minutes=2)])  # fmt: skip
    while connection.execute("SELECT refresh_rollups(20)").fetchone() != (0,):
        pass

    rates = show(connection, View(now - timedelta(hours=hours), now), sql_of("Stored and rejected per second"))
    stored = [rate for at, rate in rates if at >= begins]

    assert {rate for at, rate in rates if at < begins} <= {0}
    assert set(stored) == {2}


def test_the_list_of_customers_stays_short_and_finds_everybody(connection: Connection, view: View) -> None:
    """A million names would stop the browser; typing finds customers beyond the first thousand."""
    fill(connection, replace(view, end=view.start + timedelta(seconds=1)), 3000)
    sql = list_of_customers()

    for nothing in ("%", "", None):
        assert show(connection, replace(view, typed=nothing), sql) == [(f"CUST-{n:06d}",) for n in range(1000)]
    for typed in ("CUST-00299%", "CUST-00299"):
        assert show(connection, replace(view, typed=typed), sql) == [(f"CUST-{n:06d}",) for n in range(2990, 3000)]
    assert show(connection, replace(view, typed="CUST-002999"), sql) == [("CUST-002999",)]


def test_the_list_of_customers_holds_only_those_that_have_sent(connection: Connection, view: View) -> None:
    """Grafana chooses the first of the list where the generator's first ones are not in it."""
    before = show(connection, view, list_of_customers())
    connection.execute("INSERT INTO heartbeats VALUES (DEFAULT, 'ward-7', %s, 70)", [view.start])

    assert before == [(f"CUST-00000{n}",) for n in range(1, 4)]
    assert show(connection, view, list_of_customers()) == [("ward-7",)]


def test_no_query_reads_a_whole_day_for_ten_seconds(connection: Connection, view: View) -> None:
    """They must cost the same in a day of 86 million rows, which only the indexes bring about."""
    fill(connection, view, 300)
    short = replace(view, start=view.end - timedelta(seconds=10))

    for sql in [list_of_customers(), *(sql for _, _, sql in targets())]:
        plan = show(connection, short, f"EXPLAIN {sql}")

        assert not any(f"Seq Scan on heartbeats_{view.start:%Y%m%d}" in line for (line,) in plan), (sql, plan)
