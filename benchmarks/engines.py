"""
The engines side by side: how fast each drains a waiting topic, what it costs, and plain COPY of the same rows.

What an engine stores first is not measured: Java compiles while it runs. `make spark-test` installs what Spark needs.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.cost import PeakMemory, cpu_s, memory_mb
from benchmarks.drain import FLOOR, TOPIC, Run, arguments, collect, dump, floor
from benchmarks.stack import Stack, readings, stack
from local.waiting import wait_until

MODULES = {"consumer": "consumer", "spark": "local.spark"}


@dataclass
class EngineRun(Run):
    """One measurement of an engine."""

    growth_mb: float = 0.0  # of its memory since the measurement began
    first_row_s: float = 0.0  # from its start

    def __str__(self) -> str:
        return f"{super().__str__()} ({self.growth_mb:+.0f})   first row after {self.first_row_s:.1f} s"


def drain(running: Stack, engine: str, rows: int, warm_up: int, **settings: str) -> EngineRun:
    """Have an engine store `warm_up` messages, and then the rest of `rows`, which is measured."""
    running.empty()
    began = time.perf_counter()
    with running.start(MODULES[engine], TOPIC, **settings) as service:
        pid, peak = service.process.pid, PeakMemory([service])
        wait_until(running.passed, 120)
        first_row_s = time.perf_counter() - began
        running.wait_for(warm_up, [service])
        start, passed, before = time.perf_counter(), running.passed(), {**running.cpu_s(), engine: cpu_s(pid)}
        memory = memory_mb(pid)
        running.wait_for(rows, [service], meanwhile=peak.look)
        took = time.perf_counter() - start
        after = {**running.cpu_s(), engine: cpu_s(pid)}
        cpu = {name: (after[name] - before[name]) / (rows - passed) * 1e6 for name in after}
        return EngineRun((rows - passed) / took, cpu, peak.mb, memory_mb(pid) - memory, first_row_s)


def measure(
    running: Stack, rows: int, rounds: int, engines: list[str], warm_up: int, **settings: str
) -> Iterator[tuple[str, Run]]:
    """Yield floor and engines in turn, round after round."""
    drain(running, "consumer", rows, 0)
    blocks = dump(running)
    for _ in range(rounds):
        yield FLOOR, floor(running, blocks, rows)
        for engine in engines:
            yield engine, drain(running, engine, rows, warm_up, **settings)


def main() -> None:
    """Measure and print."""
    parser = arguments("engines", __doc__, 2_000_000, 3)
    parser.add_argument("--warm-up", type=int, default=600_000, help="of them, not measured (default: %(default)s)")
    parser.add_argument("--engines", nargs="*", default=list(MODULES), choices=list(MODULES))
    given = parser.parse_args()
    with stack() as running:
        running.make_topic(TOPIC, readings(given.rows, 1000))
        collect(measure(running, given.rows, given.rounds, given.engines, given.warm_up, **dict(given.set)))


if __name__ == "__main__":
    main()
