"""
What COPY's format and size, the indexes and the server's settings cost: plain COPY of the same rows, in turn.

Nothing of this changes a default: `synchronous_commit` stays on, and every index is asked for by the spec.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import psycopg

from benchmarks.drain import COPY, DUMP, TOPIC, Run, arguments, drain
from benchmarks.stack import Stack, readings, stack
from contracts.heartbeats import HEARTBEATS
from store.insert import copy_statement
from store.rows import Encode

ROWS: Final = """
SELECT id, customer_id, (extract(epoch FROM "timestamp") * 1000000)::bigint, heart_rate FROM heartbeats
"""
Row = tuple[int, str, int, int]  # id, customer, microseconds since 1970, bpm
ENCODE: Final = Encode(HEARTBEATS)
COPY_BINARY: Final = copy_statement(HEARTBEATS, ENCODE)
INDEXES: Final = {
    "idx_timestamp": 'CREATE INDEX idx_timestamp ON heartbeats ("timestamp")',
    "idx_customer_id": 'CREATE INDEX idx_customer_id ON heartbeats (customer_id, "timestamp")',
}
USUAL: Final = 20_000


@dataclass(frozen=True)
class Variant:
    """What differs from COPY of 20,000 rows in binary."""

    name: str
    text: bool = False
    size: int = USUAL
    settings: Sequence[str] = ()
    without: Sequence[str] = ()


VARIANTS: Final = (
    Variant("text, 20,000 rows a COPY (the floor)", text=True),
    Variant("binary, 20,000"),
    Variant("binary, 1,000", size=1_000),
    Variant("binary, 10,000", size=10_000),
    Variant("binary, 100,000", size=100_000),
    Variant("binary, 20,000, synchronous_commit = off", settings=["synchronous_commit = off"]),
    Variant("binary, 20,000, wal_compression = pglz", settings=["wal_compression = pglz"]),
    Variant("binary, 20,000, without idx_timestamp", without=["idx_timestamp"]),
    Variant("binary, 20,000, without idx_customer_id", without=["idx_customer_id"]),
    Variant("binary, 20,000, without both", without=list(INDEXES)),
)


def block(rows: Sequence[Row]) -> bytes:
    """Write rows in COPY's binary format."""
    ids, *columns = map(list, zip(*rows, strict=True))
    return ENCODE(ids, columns)


def copy(running: Stack, variant: Variant, text: Sequence[bytes], rows: Sequence[Row]) -> Run:
    """Copy all rows once, a transaction for each block."""
    starts = range(0, len(rows), variant.size)
    if variant.text:
        blocks = [b"".join(text[first : first + variant.size]) for first in starts]
    else:
        blocks = [block(rows[first : first + variant.size]) for first in starts]
    running.empty()
    for index in variant.without:
        running.connection.execute(f"DROP INDEX {index}")
    try:
        with psycopg.connect(running.postgres.conninfo(running.database), autocommit=True) as connection:
            for setting in variant.settings:
                connection.execute(f"SET {setting}")
            before, start = running.cpu_s()["PostgreSQL"], time.perf_counter()
            for each in blocks:
                with connection.cursor().copy(COPY if variant.text else COPY_BINARY) as stream:
                    stream.write(each)
            took = time.perf_counter() - start
        server = running.cpu_s()["PostgreSQL"] - before
    finally:
        running.empty()
        for index in variant.without:
            running.connection.execute(INDEXES[index])
    return Run(len(rows) / took, {"PostgreSQL": server / len(rows) * 1e6})


def measure(running: Stack, rows: int, rounds: int) -> dict[str, list[Run]]:
    """Copy what a consumer stores of a topic in all ways, round after round."""
    running.make_topic(TOPIC, readings(rows, 1000))
    drain(running, 1, rows)
    stored = running.connection.execute(ROWS).fetchall()
    with running.connection.cursor().copy(DUMP) as stream:
        text = [bytes(line) for line in stream]
    runs: dict[str, list[Run]] = {variant.name: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant in VARIANTS:
            runs[variant.name].append(copy(running, variant, text, stored))
            print(f"{variant.name:45} {runs[variant.name][-1]}", flush=True)
    return runs


def table(runs: dict[str, list[Run]], rows: int) -> str:
    """Return the medians, in Markdown."""
    floor = next(iter(runs.values()))
    lines = [
        f"{rows:,} rows in one session, {len(floor)} rounds in turn; the ratio is the median of the rounds'.",
        "",
        "| | rows/s | of the floor | PostgreSQL's CPU s per million |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, found in runs.items():
        ratio = median(run.rows_per_s / base.rows_per_s for run, base in zip(found, floor, strict=True))
        cpu = median(run.cpu_s_per_million["PostgreSQL"] for run in found)
        lines.append(f"| {name} | {median(run.rows_per_s for run in found):,.0f} | {ratio:.2f} | {cpu:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    given = arguments("variants", __doc__, 1_000_000, 3).parse_args()
    with stack() as running:
        print(table(measure(running, given.rows, given.rounds), given.rows))


if __name__ == "__main__":
    main()
