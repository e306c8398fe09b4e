"""
Whether speed and memory stay what they are: with a full table, many customers, a long queue, more consumers.

Each row is measured beside the one it is compared with, in turn.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable

from benchmarks.drain import Run, drain
from benchmarks.stack import Stack, readings, stack

Kind = tuple[str, Callable[[], Run]]


def compare(kinds: list[Kind], rounds: int) -> dict[str, Run]:
    """Measure in turn; give the median run of each kind."""
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    for _ in range(rounds):
        for name, measure in kinds:
            runs[name].append(run := measure())
            print(f"{name:34} {run.rows_per_s:9,.0f} rows/s   {run.memory_mb:.0f} MB", flush=True)
    return {name: sorted(found, key=lambda run: run.rows_per_s)[len(found) // 2] for name, found in runs.items()}


def measure(running: Stack, rows: int, rounds: int, full: int) -> dict[str, Run]:
    """Measure everything; the full table last, since it stays full."""
    for name, count, customers in (("few", rows, 1000), ("many", rows, 1_000_000), ("short", rows // 20, 1000)):
        running.make_topic(name, readings(count, customers))
    found = compare(
        [
            ("1,000 customers, 1 consumer", lambda: drain(running, 1, rows, "few")),
            ("1,000,000 customers", lambda: drain(running, 1, rows, "many")),
            (f"{rows // 20:,} waiting", lambda: drain(running, 1, rows // 20, "short")),
            ("2 consumers", lambda: drain(running, 2, rows, "few")),
            ("4 consumers", lambda: drain(running, 4, rows, "few")),
        ],
        rounds,
    )
    running.fill(full)
    return found | compare([(f"{full:,} rows in the table", lambda: drain(running, 1, rows, "few"))], rounds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flat", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="messages that wait (default: %(default)s)")
    parser.add_argument("--full", type=int, default=10_000_000, help="rows in the full table (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (default: %(default)s)")
    given = parser.parse_args()
    with stack() as running:
        found = measure(running, given.rows, given.rounds, given.full)
    base = next(iter(found.values())).rows_per_s
    for name, run in found.items():
        print(f"median {name:34} {run.rows_per_s:9,.0f} rows/s   {run.rows_per_s / base:.2f}   {run.memory_mb:.0f} MB")


if __name__ == "__main__":
    main()
