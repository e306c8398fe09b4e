"""
The engines side by side: how fast each drains a waiting topic, what it costs, and plain COPY of the same rows.

What an engine stores first is not measured: Java compiles while it runs. `make spark-test` installs what Spark needs.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from benchmarks.drain import FLOOR, dump, floor
from benchmarks.stack import Service, Stack, median, readings, stack, wait_until

TOPIC = "drain"
MODULES = {"consumer": "consumer", "spark": "local.spark"}


@dataclass
class Run:
    """One measurement of an engine; CPU seconds per million rows by process."""

    rows_per_s: float
    cpu_s_per_million: dict[str, float]
    memory_mb: float = 0.0  # of all its processes, at the end
    growth_mb: float = 0.0  # since the measurement began
    first_row_s: float = 0.0  # from its start


def memory_mb(service: Service) -> float:
    """Give the memory of a service's processes, what they share counted once (PSS)."""
    root = psutil.Process(service.process.pid)
    return float(sum(part.memory_full_info().pss for part in [root, *root.children(recursive=True)]) / 1e6)


def drain(running: Stack, engine: str, rows: int, warm_up: int, **settings: str) -> Run:
    """Have an engine store `warm_up` messages, and then the rest of `rows`, which is measured."""
    running.empty()
    began = time.perf_counter()
    with running.start(MODULES[engine], TOPIC, **settings) as service:
        wait_until(running.passed)
        first_row_s = time.perf_counter() - began
        wait_until(lambda: running.passed() >= warm_up)
        start, passed, before = time.perf_counter(), running.passed(), {**running.cpu_s(), engine: service.cpu_s()}
        memory = memory_mb(service)
        while running.passed() < rows:
            service.check()
            time.sleep(0.05)
        took = time.perf_counter() - start
        after = {**running.cpu_s(), engine: service.cpu_s()}
        count = rows - passed
        cpu = {name: (after[name] - before[name]) / count * 1e6 for name in after}
        peak = memory_mb(service)
        return Run(count / took, cpu, peak, peak - memory, first_row_s)


def measure(
    running: Stack, rows: int, rounds: int, engines: list[str], warm_up: int, **settings: str
) -> Iterator[tuple[str, Run]]:
    """Give floor and engines in turn, round after round."""
    drain(running, "consumer", rows, 0)
    blocks = dump(running)
    for _ in range(rounds):
        copied = floor(running, blocks, rows)
        yield FLOOR, Run(copied.rows_per_s, copied.cpu_s_per_million)
        for engine in engines:
            yield engine, drain(running, engine, rows, warm_up, **settings)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="messages that wait (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=600_000, help="of them, not measured (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind (default: %(default)s)")
    parser.add_argument("--engines", nargs="*", default=list(MODULES), choices=list(MODULES))
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the engines")
    given = parser.parse_args()
    settings = dict(item.split("=", 1) for item in given.set)
    results: dict[str, list[Run]] = {}
    with stack() as running:
        running.make_topic(TOPIC, readings(given.rows, 1000))
        for name, run in measure(running, given.rows, given.rounds, given.engines, given.warm_up, **settings):
            results.setdefault(name, []).append(run)
            costs = "  ".join(f"{part} {cpu:.2f}" for part, cpu in run.cpu_s_per_million.items())
            print(
                f"{name:12} {run.rows_per_s:9,.0f} rows/s   CPU s per million: {costs}   {run.memory_mb:.0f} MB"
                f" ({run.growth_mb:+.0f})   first row after {run.first_row_s:.1f} s",
                flush=True,
            )
    base = median(run.rows_per_s for run in results[FLOOR])
    for name, runs in results.items():
        rate = median(run.rows_per_s for run in runs)
        print(f"{name:12} median {rate:9,.0f} rows/s = {rate / base:.2f} of plain COPY")


if __name__ == "__main__":
    main()
