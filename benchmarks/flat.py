"""
Whether speed and memory stay what they are: with a full table, many customers, a long queue, more consumers.

Each row is measured beside the one it is compared with, in turn.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from benchmarks.drain import Run, arguments, collect, drain
from benchmarks.stack import Stack, readings, stack

Kind = tuple[str, Callable[[], Run]]


def compare(kinds: list[Kind], rounds: int) -> dict[str, Run]:
    """Measure in turn; give the median run of each kind."""
    runs = collect((name, measure()) for _ in range(rounds) for name, measure in kinds)
    return {name: sorted(found, key=lambda run: run.rows_per_s)[len(found) // 2] for name, found in runs.items()}


def measure(running: Stack, rows: int, rounds: int, full: int, **settings: str) -> dict[str, Run]:
    """Measure everything; the full table is that of a second database on the same server."""
    until = datetime.now(UTC) - timedelta(seconds=rows // 1000 + 60)  # before the topics' first message
    for name, count, customers in (("few", rows, 1000), ("many", rows, 1_000_000), ("short", rows // 20, 1000)):
        running.make_topic(name, readings(count, customers))
    with running.beside(full, until) as filled:
        return compare(
            [
                ("1,000 customers, 1 consumer", lambda: drain(running, 1, rows, "few", **settings)),
                (f"{full:,} rows in the table", lambda: drain(filled, 1, rows, "few", **settings)),
                ("1,000,000 customers", lambda: drain(running, 1, rows, "many", **settings)),
                (f"{rows // 20:,} waiting", lambda: drain(running, 1, rows // 20, "short", **settings)),
                ("2 consumers", lambda: drain(running, 2, rows, "few", **settings)),
                ("4 consumers", lambda: drain(running, 4, rows, "few", **settings)),
            ],
            rounds,
        )


def main() -> None:
    """Measure and print."""
    parser = arguments("flat", __doc__, 1_000_000, 3)
    parser.add_argument("--full", type=int, default=10_000_000, help="rows in the full table (default: %(default)s)")
    given = parser.parse_args()
    with stack() as running:
        measure(running, given.rows, given.rounds, given.full, **dict(given.set))


if __name__ == "__main__":
    main()
