"""
What rollups cost a consumer that stores a waiting topic as fast as it can.

Runs with and without them take turns; without means that no minute is noted, so that there is nothing to sum up. What
is left to sum up when the last message is stored is done afterwards, and shown: it is not part of the rate.
"""

import argparse
import time
from collections import defaultdict
from statistics import median
from typing import Final

from benchmarks.drain import TOPIC, Run, drain
from benchmarks.report import write_section
from benchmarks.stack import Stack, readings, stack

WITH, WITHOUT = "with rollups", "without"
FORGET: Final = """
CREATE OR REPLACE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE OR REPLACE TRIGGER forget BEFORE INSERT ON heartbeats_touched FOR EACH ROW EXECUTE FUNCTION forget();
"""
REMEMBER: Final = "DROP TRIGGER IF EXISTS forget ON heartbeats_touched"
MINUTES: Final = """
SELECT (SELECT count(DISTINCT minute) FROM heartbeats_per_minute),
       (SELECT count(*) FROM noted_minutes('-infinity', 'infinity'))
"""
AGE_NOTES: Final = """
UPDATE heartbeats_touched SET noted_at = noted_at - interval '1 h';
UPDATE heartbeats_outdated SET last_noted_at = last_noted_at - interval '1 h';
"""


def finish(running: Stack) -> str:
    """Sum up what is left; say how much was done before, and how long the rest takes."""
    done, left = running.connection.execute(MINUTES).fetchone() or (0, 0)
    running.connection.execute(AGE_NOTES)
    started = time.perf_counter()
    while running.connection.execute("SELECT refresh_rollups()").fetchone() != (0,):
        pass
    took_s = time.perf_counter() - started
    return f"{done} minutes summed up meanwhile; {left} to do still, or again, in {took_s:.1f} s"


def main() -> None:
    """Measure, print and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollup_cost", description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000_000, help="messages that wait (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--report", action="store_true", help="write the figures into docs/performance.md")
    given = parser.parse_args()
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    with stack() as running:
        running.make_topic(TOPIC, readings(given.rows, 1000))
        for _ in range(given.rounds):
            for kind, statement in ((WITHOUT, FORGET), (WITH, REMEMBER)):
                running.connection.execute(statement)
                run = drain(running, 1, given.rows)
                runs[kind].append(run)
                print(f"{kind:12} {run.rows_per_s:9,.0f} rows/s   {finish(running)}", flush=True)
    rates = {kind: median(run.rows_per_s for run in kind_runs) for kind, kind_runs in runs.items()}
    cpu = {kind: median(sum(r.cpu_s_per_million.values()) for r in kind_runs) for kind, kind_runs in runs.items()}
    lines = [
        f"{given.rows:,} waiting messages, one consumer, median of {given.rounds} runs each, in turns:",
        "",
        "| | rows/s | CPU s per million rows, all processes |",
        "| --- | ---: | ---: |",
        *(f"| {kind} | {rates[kind]:,.0f} | {cpu[kind]:.2f} |" for kind in (WITHOUT, WITH)),
        f"| cost | {1 - rates[WITH] / rates[WITHOUT]:.1%} | {cpu[WITH] / cpu[WITHOUT] - 1:.1%} |",
    ]
    print("\n".join(lines))
    if given.report:
        write_section("rollup-cost", "\n".join(lines))


if __name__ == "__main__":
    main()
