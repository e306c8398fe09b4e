"""
How long each panel's query takes, and all of a dashboard's one after the other, over 5 minutes to 30 days.

The queries are those of grafana/dashboards, expanded as Grafana does it and sent by the role that Grafana has, to a
PostgreSQL of the default settings. Every repeat ends a second earlier, as a dashboard that is refreshed every second
asks for another moment each time. The last minute has no rollups yet, as while all runs.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.dashboards_fill import as_reader, filled
from benchmarks.report import write_section
from benchmarks.stack import DATABASE, PLACE
from local.postgres import PostgresServer
from tests.integration.dashboard_queries import DASHBOARDS, targets
from tests.integration.grafana_macros import View, expand

# With Grafana's own steps for a panel about 1,000 pixels wide.
RANGES: Final = {
    "5 min": (timedelta(minutes=5), 1_000),
    "1 h": (timedelta(hours=1), 5_000),
    "24 h": (timedelta(days=1), 120_000),
    "30 days": (timedelta(days=30), 3_600_000),
}
CHOSEN: Final = tuple(f"CUST-{n:06d}" for n in range(1, 6))  # as on the dashboard
ALL: Final = "all panels together"
FEWEST, MOST = 1_000_000, 700_000_000  # a quarter of an hour is repeated into the past; partitions are made for 8 days
# What runs inside of the dashboards' functions as well, as notices.
EXPLAINED: Final = """
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on; SET auto_explain.log_buffers = on;
SET auto_explain.log_nested_statements = on; SET auto_explain.log_parameter_max_length = 100;
SET auto_explain.log_level = notice; SET client_min_messages = notice;
SET jit = off; SET max_parallel_workers_per_gather = 0;
"""
WORTH_SHOWING_MS: Final = 1  # of what runs within a function
Times = dict[tuple[str, str, str], list[float]]  # by dashboard, panel and range, in milliseconds


def queries(dashboard: str, span: timedelta, step_ms: int, end: datetime) -> Iterator[tuple[str, bytes]]:
    """Yield the SQL of a dashboard, as it arrives at PostgreSQL, with the panel's title."""
    view = View(end - span, end, interval_ms=step_ms, customers=CHOSEN)
    for panel, sql in targets(dashboard):
        yield panel["title"], expand(sql, view).encode()


def measure(connection: psycopg.Connection, end: datetime, repeats: int) -> Times:
    """Ask for everything that often; a first time, with cold caches, is left out."""
    times: Times = defaultdict(list)
    for dashboard in DASHBOARDS:
        for name, (span, step_ms) in RANGES.items():
            for turn in range(repeats + 1):
                spent: defaultdict[str, float] = defaultdict(float)
                for title, sql in queries(dashboard, span, step_ms, end - timedelta(seconds=turn)):
                    started = time.perf_counter()
                    connection.execute(sql).fetchall()
                    took_ms = (time.perf_counter() - started) * 1000
                    spent[title] += took_ms
                if turn:
                    times[dashboard, ALL, name].append(sum(spent.values()))
                    for title, took_ms in spent.items():
                        times[dashboard, title, name].append(took_ms)
    return times


def p95(values: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def table(times: Times, rows: int, days: int) -> str:
    """Write p95 by panel and range as a markdown table."""
    lines = [
        f"{rows:,} heartbeats as rows, {days} day{'s' if days > 1 else ''} as rollups:",
        "",
        f"| p95, ms | {' | '.join(RANGES)} |",
        f"| --- |{' ---: |' * len(RANGES)}",
    ]
    for dashboard, title in sorted(dict.fromkeys(key[:2] for key in times), key=lambda key: (key[0], key[1] == ALL)):
        name = f"{dashboard.capitalize()}: {title}"
        cells = [f"{p95(times[dashboard, title, span]):.0f}" for span in RANGES]
        lines.append(f"| {f'**{name}**' if title == ALL else name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plans(server: PostgresServer, end: datetime) -> list[str]:
    """Return what PostgreSQL says about each query and those within its functions, the slowest query first."""
    said: list[str] = []
    explained: list[tuple[float, str]] = []
    with psycopg.connect(server.conninfo(DATABASE), autocommit=True) as connection:
        connection.execute(EXPLAINED)
        connection.add_notice_handler(lambda diagnostic: said.append(diagnostic.message_primary or ""))
        for dashboard in DASHBOARDS:
            for name, (span, step_ms) in RANGES.items():
                for title, sql in queries(dashboard, span, step_ms, end):
                    said.clear()
                    connection.execute(sql)
                    *inner, outer = said
                    inner = [plan for plan in inner if duration_ms(plan) >= WORTH_SHOWING_MS]
                    text = "\n".join([f"==== {dashboard}: {title}, {name}", outer, *inner, ""])
                    explained.append((duration_ms(outer), text))
    return [text for _, text in sorted(explained, reverse=True)]


def duration_ms(plan: str) -> float:
    """Read how long a query took from the first line of what auto_explain says."""
    return float(plan.removeprefix("duration: ").partition(" ")[0])


def main() -> None:
    """Fill, measure, print and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboards", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of heartbeats, 1,000/s (default: %(default)s)")
    parser.add_argument("--days", type=int, default=1, help="that rollups reach back (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=40, help="of each query (default: %(default)s)")
    parser.add_argument("--plans", type=Path, help="file for the plans of the slowest queries")
    parser.add_argument("--slowest", type=int, default=5, help="how many plans (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the database is kept, filled once (default: temporary)")
    parser.add_argument("--report", action="store_true", help="write the table into docs/performance.md")
    given = parser.parse_args()
    if not FEWEST <= given.rows <= MOST or given.days < 1:
        parser.error(
            f"--rows must be {FEWEST:,} to {MOST:,} (got {given.rows:,}), --days at least 1 (got {given.days})"
        )
    with ExitStack() as held:
        folder = given.folder
        if folder is None:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="heartbeat-benchmark-", dir=PLACE)))
            folder.chmod(0o755)
        server, end = held.enter_context(filled(folder / "postgres", given.rows, given.days))
        with as_reader(server) as reader:
            times = measure(reader, end, given.repeats)
        shown = table(times, given.rows, given.days)
        print(shown)
        if given.report:
            write_section(f"dashboards-{given.rows}", shown)
        if given.plans:
            given.plans.write_text("\n".join(plans(server, end)[: given.slowest]), encoding="utf-8")


if __name__ == "__main__":
    main()
