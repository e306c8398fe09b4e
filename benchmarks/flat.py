"""
Whether speed and memory stay what they are: with a full table, many customers, a long queue, more consumers.

Each row is measured beside the one it is compared with, in turn.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

from benchmarks.drain import Run, arguments, collect, drain
from benchmarks.stack import Stack, readings, stack

Kind = tuple[str, Callable[[], Run]]
DAYS = (7, 0)  # a full table for each: of so many days before, 0: of the same day


def compare(kinds: Sequence[Kind], rounds: int) -> dict[str, Run]:
    """Measure in turn; return the median run of each kind."""
    runs = collect((name, measure()) for _ in range(rounds) for name, measure in kinds)
    return {name: sorted(found, key=lambda run: run.rows_per_s)[len(found) // 2] for name, found in runs.items()}


def measure(running: Stack, rows: int, rounds: int, full: int, days: Sequence[int], **settings: str) -> dict[str, Run]:
    """
    Measure everything; each full table is that of another database on the same server.

    `days` says of how many days the rows are that fill a table, before the day of the topic; 0: of that same day, which
    is what a day's partition holds when it ends.
    """
    began = datetime.now(UTC) - timedelta(seconds=rows // 1000 + 60)  # before the topics' first message
    day = began.replace(hour=0, minute=0, second=0, microsecond=0)
    for name, count, customers in (("few", rows, 1000), ("many", rows, 1_000_000), ("short", rows // 20, 1000)):
        running.make_topic(name, readings(count, customers))
    with ExitStack() as held:
        kinds = [("1,000 customers, 1 consumer", partial(drain, running, 1, rows, "few", **settings))]
        for number in days:
            times = (day - timedelta(days=number), day) if number else (day, began)
            filled = held.enter_context(running.beside(full, *times))
            name = f"{full:,} rows of {f'the {number} days before' if number else 'the same day'}"
            kinds.append((name, partial(drain, filled, 1, rows, "few", **settings)))
        kinds += [
            ("1,000,000 customers", partial(drain, running, 1, rows, "many", **settings)),
            (f"{rows // 20:,} waiting", partial(drain, running, 1, rows // 20, "short", **settings)),
            ("2 consumers", partial(drain, running, 2, rows, "few", **settings)),
            ("4 consumers", partial(drain, running, 4, rows, "few", **settings)),
        ]
        return compare(kinds, rounds)


def main() -> None:
    """Measure and print."""
    parser = arguments("flat", __doc__, 1_000_000, 3)
    parser.add_argument("--full", type=int, default=10_000_000, help="rows in a full table (default: %(default)s)")
    parser.add_argument("--days", type=int, nargs="*", default=DAYS, help="full of (default: %(default)s)")
    given = parser.parse_args()
    with stack() as running:
        measure(running, given.rows, given.rounds, given.full, given.days, **dict(given.set))


if __name__ == "__main__":
    main()
