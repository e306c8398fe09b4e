"""
How fast a waiting topic becomes rows, against plain COPY of the same rows into the same table.

Consumers start before a gate (a lock on the ledger), so that neither starting nor joining the group is measured; the
gate opens once every one of them holds its partitions. Floor and consumers take turns on one server.

With `--backlog`: messages of earlier days, whose partitions are not there yet, against as many of today; and the
longest time in which nothing was stored.
"""

import argparse
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

import psycopg
from psycopg.sql import SQL, Identifier

from benchmarks.cost import PeakMemory, cpu_s
from benchmarks.stack import PASSED, Stack, readings, stack
from local.waiting import wait_until

TOPIC: Final = "drain"
FLOOR: Final = "plain COPY"
BLOCK: Final = 20_000  # rows in a COPY of the floor
COPY: Final = SQL("COPY {} FROM STDIN")
DUMP: Final = SQL("COPY (SELECT * FROM {}) TO STDOUT")
WAITING: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'heartbeat-consumer' AND wait_event_type = 'Lock'"
)
BACKLOGS: Final = {"today": (0,), "five days ago": (5,), "six days in turn": (5, 2, 4, 1, 3, 0)}  # days ago
EARLIER_DAYS: Final = """
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'heartbeats'::regclass AND relname ~ '^heartbeats_[0-9]{8}$'
  AND relname < 'heartbeats_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')
"""


@dataclass
class Run:
    """One measurement: rows a second, CPU seconds per million rows by process, peak of memory (MB)."""

    rows_per_s: float
    cpu_s_per_million: dict[str, float]
    memory_mb: float = 0.0

    def __str__(self) -> str:
        costs = "  ".join(f"{part} {cpu:.2f}" for part, cpu in self.cpu_s_per_million.items())
        return f"{self.rows_per_s:9,.0f} rows/s   CPU s per million: {costs}   {self.memory_mb:.0f} MB"


def drain(running: Stack, consumers: int, rows: int, topic: str = TOPIC, **settings: str) -> Run:
    """Have so many consumers store a topic that holds `rows` messages."""
    running.empty()
    with ExitStack() as held:
        with psycopg.connect(running.postgres.conninfo(running.database)) as gate:
            gate.execute("LOCK TABLE kafka_ledger IN ACCESS EXCLUSIVE MODE")
            services = [held.enter_context(running.start("consumer", topic, **settings)) for _ in range(consumers)]
            pids, peak = [service.process.pid for service in services], PeakMemory(services)
            wait_until(lambda: running.connection.execute(WAITING).fetchone() == (consumers,), 120)
            time.sleep(0.5)  # lets the fetch queues fill up, and the machine calm down
            before, cpu_before = running.cpu_s(), cpu_s(*pids)
        start = time.perf_counter()
        running.wait_for(rows, services, meanwhile=peak.look)
        took = time.perf_counter() - start
        after = running.cpu_s()
        cpu = {name: after[name] - before[name] for name in after}
        cpu["consumer"] = cpu_s(*pids) - cpu_before
    if (count := running.count()) != rows:
        raise RuntimeError(f"{count} rows are stored, not {rows}")
    return Run(rows / took, {name: used / rows * 1e6 for name, used in cpu.items()}, peak.mb)


def dump(running: Stack) -> list[bytes]:
    """Return the table's rows as COPY's own text, in the order in which they were stored, in blocks."""
    blocks, lines = [], []
    with running.connection.cursor().copy(DUMP.format(Identifier(running.table))) as copy:
        for line in copy:
            lines.append(bytes(line))
            if len(lines) == BLOCK:
                blocks.append(b"".join(lines))
                lines = []
    return [*blocks, b"".join(lines)] if lines else blocks


def floor(running: Stack, blocks: list[bytes], rows: int) -> Run:
    """Copy the same rows into the same table, a transaction for each block, and do nothing else."""
    running.empty()
    with psycopg.connect(running.postgres.conninfo(running.database), autocommit=True) as connection:
        before = running.cpu_s()["PostgreSQL"]
        start, used = time.perf_counter(), time.process_time()
        for block in blocks:
            with connection.cursor().copy(COPY.format(Identifier(running.table))) as copy:
                copy.write(block)
        took = time.perf_counter() - start
    server = running.cpu_s()["PostgreSQL"] - before
    return Run(rows / took, {"PostgreSQL": server / rows * 1e6, "client": (time.process_time() - used) / rows * 1e6})


def measure(running: Stack, rows: int, rounds: int, consumers: list[int], **settings: str) -> Iterator[tuple[str, Run]]:
    """Yield floor and consumers in turn, round after round, without a first one for warming up."""
    drain(running, 1, rows, **settings)
    blocks = dump(running)
    for _ in range(rounds):
        yield FLOOR, floor(running, blocks, rows)
        for number in consumers:
            yield f"{number} consumer{'s' if number > 1 else ''}", drain(running, number, rows, **settings)


def measure_backlog(running: Stack, rows: int, rounds: int, **settings: str) -> Iterator[tuple[str, Run]]:
    """Yield backlogs of several days in turn, round after round, without a first one for warming up."""
    for name, days in BACKLOGS.items():
        running.make_topic(name.replace(" ", "-"), readings(rows, 1000, days_ago=days))
    for number in range(-1, rounds * len(BACKLOGS)):
        name = list(BACKLOGS)[max(number, 0) % len(BACKLOGS)]
        for (day,) in running.connection.execute(EARLIER_DAYS).fetchall():
            running.connection.execute(SQL("DROP TABLE {}").format(Identifier(day)))
        with longest_pause(running, name):
            run = drain(running, 1, rows, name.replace(" ", "-"), **settings)
        if number >= 0:
            yield name, run


@contextmanager
def longest_pause(running: Stack, name: str) -> Iterator[None]:
    """Watch the ledger meanwhile, and print the longest time between two of its steps."""
    done = threading.Event()
    paused = 0.0

    def watch() -> None:
        nonlocal paused
        before, since = 0, time.monotonic()
        with psycopg.connect(running.postgres.conninfo(running.database), autocommit=True) as connection:
            while not done.wait(0.02):
                row = connection.execute(PASSED).fetchone()
                passed = row[0] if row else 0
                if passed != before:
                    paused = max(paused, time.monotonic() - since if before else 0)
                    before, since = passed, time.monotonic()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()
        print(f"{name:34} longest pause {paused:.2f} s", flush=True)


def arguments(name: str, description: str | None, rows: int, rounds: int) -> argparse.ArgumentParser:
    """Make the parser of a benchmark that drains a topic."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--rows", type=int, default=rows, help="messages that wait (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, help="measurements of each kind (default: %(default)s)")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", type=lambda text: text.split("=", 1), help="settings"
    )
    return parser


def collect(measured: Iterable[tuple[str, Run]]) -> dict[str, list[Run]]:
    """Print each run when it ends, and the medians at the end; return the runs of each kind."""
    runs: dict[str, list[Run]] = {}
    for name, run in measured:
        runs.setdefault(name, []).append(run)
        print(f"{name:34} {run}", flush=True)
    base = median(run.rows_per_s for run in next(iter(runs.values())))
    for name, found in runs.items():
        rate = median(run.rows_per_s for run in found)
        cpu = median(sum(run.cpu_s_per_million.values()) for run in found)
        print(f"median {name:27} {rate:9,.0f} rows/s   {rate / base:.2f} of the first   CPU s per million: {cpu:.2f}")
    return runs


def main() -> None:
    """Measure and print."""
    parser = arguments("drain", __doc__, 2_000_000, 5)
    parser.add_argument("--consumers", type=int, nargs="*", default=[1, 2], help="how many (default: %(default)s)")
    parser.add_argument("--backlog", action="store_true", help="of earlier days, against today's")
    given = parser.parse_args()
    with stack() as running:
        if given.backlog:
            collect(measure_backlog(running, given.rows, given.rounds, **dict(given.set)))
            return
        running.make_topic(TOPIC, readings(given.rows, 1000))
        collect(measure(running, given.rows, given.rounds, given.consumers, **dict(given.set)))


if __name__ == "__main__":
    main()
